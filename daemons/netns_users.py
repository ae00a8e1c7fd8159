"""The right to make network namespaces: this user's own, or that of a user namespace that we make and live in.

Knows: uid_map and gid_map (user_namespaces(7)), subuid(5), newuidmap(1). Refuses to know: hosts and labs.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
from typing import Final, NamedTuple

from daemons.errors import UserError
from daemons.netns_calls import CLONE_NEWUSER, inside, unshare

ALL_IDS: Final = 0xFFFF_FFFF  # what is mapped where there is no user namespace of ours
_NEEDED: Final = 1 << 12 | 1 << 21  # CAP_NET_ADMIN, CAP_SYS_ADMIN: capabilities(7)
_MAP_SECONDS = 5.0


class Users(NamedTuple):
    """Who the programs in our namespaces may be.

    fd: the user namespace, None: the one that we were started in. ids: how many uids there are, from 0 on; 1: the
    programs are root there and can be nobody else.
    """

    fd: int | None
    ids: int


def become_able() -> Users:
    """From now on this process may make network namespaces, in a user namespace of its own if need be.

    For a process that has one thread, once. Raises UserError where this machine does not allow it.
    """
    if _has_rights():
        return Users(None, ALL_IDS)
    try:
        ids = _enter_user_namespace(os.geteuid(), os.getegid())
        inside(None, lambda: None)
    except OSError as error:
        raise UserError(
            f"this machine refuses user namespaces ({error.strerror}), so hosts of kind netns need root here; "
            "vfab doctor tells more"
        ) from None
    return Users(os.open("/proc/self/ns/user", os.O_RDONLY | os.O_CLOEXEC), ids)


def _has_rights() -> bool:
    """Asked and not tried: a thread that has tried it may still be there when unshare(CLONE_NEWUSER) wants just one."""
    with open("/proc/self/status") as file:
        mask = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:"))
    return mask & _NEEDED == _NEEDED


def _enter_user_namespace(uid: int, gid: int) -> int:
    """Returns how many ids there are. Raises OSError."""
    mapper = _mapper(uid, gid)
    try:
        unshare(CLONE_NEWUSER)
    except OSError:
        if mapper is not None:
            mapper.communicate("stop\n")
        raise
    if mapper is not None:
        said = _mapped(mapper)
        if mapper.returncode == 0:
            return int(said)
    if _unmapped("uid_map"):
        _write("uid_map", f"0 {uid} 1")
    if _unmapped("gid_map"):
        _write("setgroups", "deny")  # the kernel wants this of somebody without privileges
        _write("gid_map", f"0 {gid} 1")
    return 1


def _mapped(mapper: subprocess.Popen[str]) -> str:
    """What it says when it is told to go; "" where newuidmap hangs, asking a directory service that does not answer."""
    try:
        return mapper.communicate("go\n", timeout=_MAP_SECONDS)[0]
    except subprocess.TimeoutExpired:
        with contextlib.suppress(OSError):
            os.killpg(mapper.pid, signal.SIGKILL)
        mapper.communicate()
        return ""


def _unmapped(name: str) -> bool:
    with open(f"/proc/self/{name}") as file:
        return not file.read()


def _write(name: str, text: str) -> None:
    with open(f"/proc/self/{name}", "w") as file:
        file.write(text)


_MAP = (
    'read word && [ "$word" = go ] && newuidmap "$1" 0 "$2" 1 1 "$4" "$6" && newgidmap "$1" 0 "$3" 1 1 "$5" "$6" '
    "&& echo $(($6 + 1))"
)


def _mapper(uid: int, gid: int) -> subprocess.Popen[str] | None:
    """A process outside that writes our maps when told "go", if this user has ids to give away (subuid(5)).

    Only somebody outside may map more than one id, and it is newuidmap that has the privilege for it.
    """
    ranges = [_granted("/etc/subuid", uid), _granted("/etc/subgid", uid)]
    programs = all(shutil.which(name) for name in ("sh", "newuidmap", "newgidmap"))
    if not programs or ranges[0] is None or ranges[1] is None:
        return None
    (first_uid, uids), (first_gid, gids) = ranges[0], ranges[1]
    numbers = (os.getpid(), uid, gid, first_uid, first_gid, min(uids, gids))
    return subprocess.Popen(
        ["sh", "-c", _MAP, "sh", *map(str, numbers)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # if it refuses, one user is what there is
        text=True,
        start_new_session=True,
    )


def _granted(file: str, uid: int) -> tuple[int, int] | None:
    """(first, count) of the first range that a file such as /etc/subuid gives this user."""
    import pwd

    names = {str(uid)}
    try:
        names.add(pwd.getpwuid(uid).pw_name)
    except KeyError:
        pass  # one without a name
    try:
        with open(file) as lines:
            rows = [line.strip().split(":") for line in lines]
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EACCES):
            raise
        return None
    for row in rows:
        if len(row) == 3 and row[0] in names and row[1].isdigit() and row[2].isdigit() and int(row[2]):
            return int(row[1]), int(row[2])
    return None
