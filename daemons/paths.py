"""Where a lab's folders, sockets, logs and keys are.

Knows: the XDG folders, who may look into them, and that a unix socket's path has 107 bytes at most.
Refuses to know: what is in the files, and what a node or port means.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat

from daemons.errors import UserError

# sun_path has 108 bytes (unix(7)), the last one is the terminating zero.
MAX_SOCKET_PATH = 107
# A lab id has at most 20 + 1 + 8 characters, and 48 are kept for "<node>-<port>.qemu" and its two slashes. The choice
# between the XDG folder and the fallback must not depend on one lab's names, or a command could not find the lab again.
_ROOM_BELOW_ROOT = 29 + 48 + 1
_NAME_IN_ID = 20
INSIDE = "VFAB_INSIDE"  # in the environment of what `vfab exec` starts: LabPaths.run, a slash, the host


class PathError(UserError):
    """A folder that cannot be used: which one, why, and what to do."""


def lab_id(name: str, file: str | os.PathLike[str]) -> str:
    """The lab's identity: its name and its file's real path, short enough for a socket's path."""
    slug = re.sub(r"[^A-Za-z0-9_-]", "-", name)[:_NAME_IN_ID] or "lab"
    digest = hashlib.sha256(os.fsencode(os.path.realpath(file))).hexdigest()
    return f"{slug}-{digest[:8]}"


def run_root() -> str:
    """`$XDG_RUNTIME_DIR/virtfab`, or the private fallback `/tmp/virtfab-<uid>`; checked if it is there, not made.

    Raises PathError.
    """
    folder = os.environ.get("XDG_RUNTIME_DIR", "")
    root = os.path.join(folder, "virtfab")
    if not _usable_runtime(folder) or len(os.fsencode(root)) + _ROOM_BELOW_ROOT > MAX_SOCKET_PATH:
        root = f"/tmp/virtfab-{os.getuid()}"
    _check_private(root)
    return root


def _usable_runtime(folder: str) -> bool:
    """Is it what the XDG specification promises: absolute, ours, and nobody else's?"""
    if not os.path.isabs(folder):
        return False
    try:
        status = os.stat(folder)
    except OSError:
        return False
    mine = status.st_uid == os.getuid() and stat.S_IMODE(status.st_mode) & 0o077 == 0
    return mine and stat.S_ISDIR(status.st_mode) and os.access(folder, os.W_OK | os.X_OK)


def _make_private(folder: str) -> None:
    """Make `folder` with mode 0700 if it is not there. Raises PathError when it is not ours alone."""
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        why = error.strerror
        raise PathError(f"cannot make the folder {folder} ({why}); set XDG_RUNTIME_DIR to a folder of yours") from None
    _check_private(folder)


def _check_private(folder: str) -> None:
    """Raises PathError when `folder` exists and is not a folder that only we can enter."""
    try:
        status = os.lstat(folder)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(status.st_mode):
        raise PathError(f"{folder} is no folder but a link or a file; remove it, or set XDG_RUNTIME_DIR")
    if status.st_uid != os.getuid():
        raise PathError(
            f"{folder} belongs to user {status.st_uid}, not to you; set XDG_RUNTIME_DIR to a folder of yours"
        )
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise PathError(f"others may look into {folder}; run: chmod 700 {folder}")


def state_root() -> str:
    """`$XDG_STATE_HOME/virtfab` or `~/.local/state/virtfab`; not made here. Raises PathError."""
    base = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(base):  # the XDG specification: a relative path is to be ignored
        home = os.environ.get("HOME", "")
        if not os.path.isabs(home):
            raise PathError(
                "neither XDG_STATE_HOME nor HOME is set; set one of them to a folder where state may be kept"
            )
        base = os.path.join(home, ".local", "state")
    return os.path.join(base, "virtfab")


def keys_folder() -> str:
    """Where CURVE keys are, made if it is not there. They are data: no command removes them."""
    folder = os.path.join(state_root(), "keys")
    _folder(folder)
    return folder


def data_folder(lab: str, make: bool = True) -> str:
    """Where the members of an example lab's pools are: `$XDG_DATA_HOME/virtfab/<lab>`, default `~/.local/share`.

    They are data: no command removes them. Raises PathError.
    """
    base = os.environ.get("XDG_DATA_HOME", "")
    if not os.path.isabs(base):
        home = os.environ.get("HOME", "")
        if not os.path.isabs(home):
            raise PathError("neither XDG_DATA_HOME nor HOME is set; set one of them to a folder where data may be kept")
        base = os.path.join(home, ".local", "share")
    folder = os.path.join(base, "virtfab", lab)
    if make:
        _folder(folder)
    return folder


def labs_root() -> str:
    """What holds the labs' state folders; not made here."""
    return os.path.join(state_root(), "labs")


def _folder(path: str) -> None:
    try:
        os.makedirs(path, 0o700, exist_ok=True)
    except OSError as error:
        where = error.filename or path
        raise PathError(
            f"cannot make the folder {path} ({where}: {error.strerror}); "
            "set XDG_STATE_HOME to a folder where you may write"
        ) from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise PathError(f"cannot write into {path}; set XDG_STATE_HOME to a folder where you may write")


def known_labs() -> list[str]:
    """The ids of the labs that have a state folder, running or not, in order."""
    try:
        with os.scandir(labs_root()) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise PathError(f"cannot read the folder {labs_root()}: {error.strerror}") from None


class LabPaths:
    """The places of one lab; it is the `Places` of the planner. Nothing is made before `create()`."""

    def __init__(self, identity: str) -> None:
        self.id = identity
        self.run = os.path.join(run_root(), identity)
        self.state = os.path.join(labs_root(), identity)
        self.logs = os.path.join(self.state, "logs")
        self.database = os.path.join(self.state, "state.sqlite")

    def create(self) -> None:
        """Make the run folder, the state folder and the log folder. Raises PathError."""
        _make_private(os.path.dirname(self.run))
        _make_private(self.run)
        _folder(self.state)
        _folder(self.logs)

    def socket(self, name: str) -> str:
        """A socket of that name in the run folder. Raises PathError if its path would be too long."""
        path = os.path.join(self.run, name)
        size = len(os.fsencode(path))
        if size > MAX_SOCKET_PATH:
            raise PathError(
                f"the socket {path} would have a path of {size} bytes, and {MAX_SOCKET_PATH} are possible;"
                " use a shorter name for the node or its port, or a shorter XDG_RUNTIME_DIR"
            )
        return path

    def control(self, node: str) -> str:
        """The control socket of a node, or of `fabricd`."""
        return self.socket(f"{node}.ctl")

    def zmq(self, node: str) -> str:
        """The socket file on which a switch listens for links."""
        return self.socket(f"{node}.zmq")

    def qemu(self, node: str, port: str) -> str:
        """The unix socket of a port of kind qemu."""
        return self.socket(f"{node}-{port}.qemu")

    def nbd(self, pool: str, lun: str) -> str:
        """The unix socket on which a LUN is offered."""
        return self.socket(f"{pool}-{lun}.nbd")

    def lock(self, node: str) -> str:
        """The lock file that a node, or fabricd, holds while it lives."""
        return os.path.join(self.run, f"{node}.lock")

    def counters(self, node: str) -> str:
        """The file in which a switch counts."""
        return os.path.join(self.run, f"{node}.counters")

    def log(self, node: str) -> str:
        """What a node, or fabricd, writes to stdout and stderr."""
        return os.path.join(self.logs, f"{node}.log")
