"""Looking into files without a lock, whoever has them open: what is in a folder, and which of it is in use.

Knows: system calls that change nothing, /proc/locks. Refuses to know: what is in a file; that what is read while
another process writes is one whole thing (who looks has checksums).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from storvirt.backing import locks
from storvirt.backing.errors import MemberError, reason
from storvirt.backing.member import PythonMember

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK  # a pipe in this place does not hang us
Identity = tuple[int, int]


class Peek:
    """The `inner` of a PythonMember. identity: device and inode, the same for every name of a file."""

    def __init__(self, path: str) -> None:
        """Raises MemberError."""
        try:
            self._fd = os.open(path, _FLAGS)
        except OSError as error:
            number = error.errno or 5
            raise MemberError(number, path, f"cannot open {path}: {reason(number)}") from None
        except ValueError:
            raise MemberError(22, path, f"{path!r} is no file name") from None
        try:
            status = os.fstat(self._fd)
            if not (stat.S_ISREG(status.st_mode) or stat.S_ISBLK(status.st_mode)):
                raise MemberError(22, path, f"{path} is neither a file nor a block device")
            self.size = os.lseek(self._fd, 0, os.SEEK_END)
            self.identity: Identity = (status.st_dev, status.st_ino)
        except BaseException:
            os.close(self._fd)
            raise

    def read(self, offset: int, length: int) -> bytes:
        parts = []
        while length:
            part = os.pread(self._fd, length, offset)
            if not part:
                raise OSError(5, "the file ends before")
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return b"".join(parts)

    def write(self, offset: int, data: bytes) -> None:
        raise OSError(30, "it is only looked at")

    @property
    def holder(self) -> int | None:
        """The process that has the file locked; None if none has, or it can't be told."""
        return locks.owner(self._fd)

    def close(self) -> None:
        os.close(self._fd)


class Peeked:
    """A file that is open for looking. Raises MemberError."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._peek = Peek(path)
        self.identity = self._peek.identity
        self.holder = self._peek.holder
        self.member = PythonMember(self._peek, path, read_only=True)


def is_folder(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def in_folder(path: str) -> list[str]:
    """The regular files of a folder, not those below it, links to files among them; by name. Raises MemberError."""
    try:
        with os.scandir(path) as entries:
            return sorted(entry.path for entry in entries if _is_file(entry))
    except OSError as error:
        number = error.errno or 5
        raise MemberError(number, path, f"cannot look into {path}: {reason(number)}") from None


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def distinct(paths: Iterable[str]) -> list[str]:
    """Each file once, by the name that comes first."""
    found: dict[Identity | str, str] = {}
    for path in paths:
        try:
            status = os.stat(path)
            found.setdefault((status.st_dev, status.st_ino), path)
        except (OSError, ValueError):
            found.setdefault(path, path)
    return list(found.values())
