"""Socket files: is a path one, is it free, was it ours? For drivers that bind unix sockets.

Knows: the length that Linux allows, stale files, modes. Refuses to know: what is spoken over the socket.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from typing import Final

from netvirt.ports.errors import PortError

MAX_PATH: Final = 107  # sockaddr_un has 108 bytes, one of them the final NUL

Made = tuple[int, int]  # device and inode of a file that we made


def check_path(path: str, longest: int = MAX_PATH) -> None:
    """Raises PortError for a path that can be no socket's."""
    size = len(os.fsencode(path))
    if size > longest:
        room = "Linux allows" if longest == MAX_PATH else "there is room for"
        raise PortError(f"the socket path {path} has {size} bytes, {room} {longest}; use a shorter folder")
    if not path or "\0" in path:
        raise PortError(f"{path!r} is no path for a socket; give a file name")


def unix_socket(kind: int) -> socket.socket:
    """Not blocking. kind: SOCK_STREAM or SOCK_DGRAM."""
    return socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK)


def bind(sock: socket.socket, path: str) -> Made:
    """Binds with mode 0600, in place of a file that nobody is behind. Raises PortError."""
    _remove_stale(path, sock.type)
    try:
        # The kernel makes the file with the socket's own mode: so it is never open to others, not for a moment.
        os.fchmod(sock.fileno(), 0o600)
        sock.bind(path)
        made = os.stat(path)
    except OSError as error:
        raise PortError(f"cannot listen on {path}: {error.strerror}; check the folder") from None
    return made.st_dev, made.st_ino


def listening(path: str, backlog: int) -> tuple[socket.socket, Made]:
    """A stream socket that listens at `path` (0600), and what file it made. Raises PortError."""
    listener = unix_socket(socket.SOCK_STREAM)
    try:
        made = bind(listener, path)
        listener.listen(backlog)
    except OSError:  # PortError, too
        listener.close()
        raise
    return listener, made


def unlink(path: str, made: Made | None) -> None:
    """Removes the file that bind() made. Somebody may have put another socket in its place: that one stays."""
    with contextlib.suppress(OSError):
        found = os.lstat(path)
        if (found.st_dev, found.st_ino) == made:
            os.unlink(path)


def is_stale(path: str, kind: int) -> bool:
    """Is this a socket file with nobody behind it? OSError says what else it is, or that somebody is there."""
    with unix_socket(kind) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
    return False


def _remove_stale(path: str, kind: int) -> None:
    """Raises PortError if the file is in use, or no socket at all."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return  # nothing there; whatever else is wrong, bind says it better
    if not stat.S_ISSOCK(mode):
        raise PortError(f"{path} exists and is no socket; remove it or choose another path")
    try:
        stale = is_stale(path, kind)
    except (BlockingIOError, PermissionError):  # full, or one that talks to somebody else only: it is alive
        stale = False
    except OSError as error:
        raise PortError(f"cannot use {path}: {error.strerror}") from None
    if not stale:
        raise PortError(f"somebody listens on {path} already; end it or choose another path")
    with contextlib.suppress(OSError):  # then bind finds it in use, and says so
        os.unlink(path)
