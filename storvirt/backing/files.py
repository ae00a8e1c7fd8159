"""Several members at once: all of them made, or none; which of them are there.

Knows: paths, what must be undone. Refuses to know: pools, what is in a member.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Mapping, Sequence

from storvirt.backing.errors import MemberError, reason
from storvirt.backing.file import FileMember
from storvirt.backing.member import Member, PythonMember
from storvirt.backing.overlay import Overlay
from storvirt.backing.places import blank_again, is_elsewhere, is_made, must_be_blank, open_any


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


def create_all(paths: Sequence[str], size: int, free: Callable[[Member], bool] = lambda _: False) -> list[Member]:
    """New sparse files of `size` bytes, mode 0600, locked. When one can't be made, those made here are removed again.

    A block device or an export elsewhere has a size of its own, and must be blank; or `free` says that what it holds
    may go. Raises MemberError.
    """
    made: list[Member] = []
    try:
        for path in paths:
            if is_made(path):
                _has_folder(path)
                made.append(FileMember.create(path, size))
            else:
                made.append(_take(path, free))
    except BaseException:
        remove_all(made)
        raise
    return made


def _take(path: str, free: Callable[[Member], bool]) -> Member:
    member = open_any(path)
    try:
        if not free(member):
            must_be_blank(member)
    except BaseException:
        member.close()
        raise
    return member


def _has_folder(path: str) -> None:
    """ENOENT alone would say that the file is not there, which is what was wanted."""
    folder = os.path.dirname(path)
    if folder and "\0" not in path and not exists(folder):
        raise MemberError(errno.ENOENT, path, f"cannot create {path}: there is no folder {folder}; make it first")


def remove_all(members: Sequence[Member]) -> None:
    """Take back what create_all made. For members that never held anything."""
    for member in members:
        if isinstance(member, FileMember) and stat.S_ISREG(os.fstat(member.fileno()).st_mode):
            os.unlink(member.path)
        else:
            try:
                blank_again(member)
            except MemberError:
                pass  # it can't be reached any more, and says so when it is wanted again
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
    member = open_any(path, read_only)
    return PythonMember(Overlay(member), path) if read_only else member


def open_there(paths: Sequence[str], read_only: bool = False) -> list[Member]:
    """As open_all, without those that are not there or can't be reached. Raises MemberError."""
    opened: list[Member] = []
    try:
        for path in paths:
            try:
                if is_elsewhere(path) or exists(path):
                    opened.append(open_one(path, read_only))
            except MemberError:
                if not is_elsewhere(path):
                    raise
    except BaseException:
        close_all(opened)
        raise
    return opened


def sizes_of(paths: Mapping[int, str], least: int = 0) -> dict[int, int]:
    """Bytes of the files and devices that are there, but not fewer than `least`."""
    sizes = {}
    for number, path in paths.items():
        if not is_elsewhere(path):
            try:
                with open(path, "rb") as file:
                    sizes[number] = max(file.seek(0, os.SEEK_END), least)
            except OSError:
                continue  # whoever has it open is told so before long
    return sizes


def close_all(members: Sequence[Member]) -> None:
    for member in members:
        member.close()
