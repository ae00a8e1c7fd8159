"""Several members at once: all of them made, or none; which of them are there.

Knows: paths, what must be undone. Refuses to know: pools, what is in a member.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from storvirt.backing.errors import MemberError, reason
from storvirt.backing.file import FileMember
from storvirt.backing.member import Member, PythonMember
from storvirt.backing.overlay import Overlay


def exists(path: str) -> bool:
    """Whether there is anything of that name, a link that leads nowhere included. Raises MemberError."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        number = getattr(error, "errno", None) or 22
        raise MemberError(number, path, f"cannot look at {path}: {reason(number)}") from None
    return True


def create_all(paths: Sequence[str], size: int) -> list[FileMember]:
    """New sparse files of `size` bytes, mode 0600, locked. When one can't be made, those made here are removed again.

    Raises MemberError.
    """
    made: list[FileMember] = []
    try:
        for path in paths:
            _has_folder(path)
            made.append(FileMember.create(path, size))
    except BaseException:
        remove_all(made)
        raise
    return made


def _has_folder(path: str) -> None:
    """ENOENT alone would say that the file is not there, which is what was wanted."""
    folder = os.path.dirname(path)
    if folder and "\0" not in path and not exists(folder):
        raise MemberError(errno.ENOENT, path, f"cannot create {path}: there is no folder {folder}; make it first")


def remove_all(members: Sequence[FileMember]) -> None:
    """Take back what create_all made. For files that never held anything."""
    for member in members:
        os.unlink(member.path)
        member.close()


def open_all(paths: Sequence[str], read_only: bool = False) -> list[Member]:
    """Every file opened and locked, or none. read_only: what is written stays in memory. Raises MemberError."""
    opened: list[Member] = []
    try:
        for path in paths:
            opened.append(open_one(path, read_only))
    except BaseException:
        close_all(opened)
        raise
    return opened


def open_one(path: str, read_only: bool = False) -> Member:
    """Raises MemberError."""
    member = FileMember.open(path, read_only)
    return PythonMember(Overlay(member), path) if read_only else member


def close_all(members: Sequence[Member]) -> None:
    for member in members:
        member.close()
