"""From a list of member files to an open pool: made when none of them is there, else opened with what is there.

Knows: which files are missing, which are no members, where a member may be that the list does not name.
Refuses to know: how a pool is assembled (storvirt.pool.assemble), volumes, LUNs.

Nothing is ever formatted over: a file is made only where there is none, and only when there is not one of them.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import NamedTuple

from daemons.errors import UserError
from storvirt.backing.errors import MemberError
from storvirt.backing.file import FileMember
from storvirt.backing.files import close_all, exists
from storvirt.block import BlockError
from storvirt.pool import format as f
from storvirt.pool.assemble import Found, look, open_pool
from storvirt.pool.files import create_core
from storvirt.pool.pool import Pool, PoolError, Suspended

# Files beside the members that are looked at for a member that is missing.
_MOST_STRANGERS = 1000


class Opened(NamedTuple):
    """paths: by the member's number, of those that are known; problems: listed files that were left out, and why."""

    pool: Pool
    paths: dict[int, str]
    problems: dict[str, str]
    created: bool


def open_or_create(name: str, paths: Sequence[str], size: int) -> Opened:
    """Raises UserError with one sentence."""
    try:
        if not any(exists(path) for path in paths):
            _folders_exist(paths)
            pool = create_core(paths, name=name, size=size)
            return Opened(pool, dict(enumerate(paths)), {}, True)
        return _open(name, paths)
    except (PoolError, MemberError, BlockError, Suspended) as error:
        raise UserError(f"pool {name}: {error}" if f"pool {name}" not in str(error) else str(error)) from None


def _folders_exist(paths: Sequence[str]) -> None:
    for folder in dict.fromkeys(os.path.dirname(path) for path in paths):
        if not os.path.isdir(folder):
            raise PoolError(f"the folder {folder} of its members is not there; make it, or change members:")


class _Members:
    """Files that are open, and what is wrong with the others."""

    def __init__(self) -> None:
        self.found: dict[str, Found] = {}
        self.problems: dict[str, str] = {}
        self.former: dict[str, str] = {}

    def take(self, path: str) -> None:
        """Raises MemberError when somebody else has the file open: then he has the pool."""
        try:
            member = FileMember.open(path)
        except MemberError as error:
            if error.errno == errno.EBUSY:
                raise
            missing = error.errno == errno.ENOENT
            self.problems[path] = f"member {path} is not there" if missing else str(error)
            return
        try:
            self.found[path] = look(member)
        except PoolError as error:
            self.problems[path] = str(error)
            member.close()

    def drop_strangers(self, newest: Found, commit: f.Commit) -> None:
        """Leave out files that were members once (others may have their places now), and copies of an earlier time."""
        rows = commit.members
        for path, one in list(self.found.items()):
            if one.super_.pool != newest.super_.pool:
                continue  # the assembly has a sentence for that
            row = rows[one.super_.number] if one.super_.number < len(rows) else None
            if row is None or row.member != one.super_.member or row.state == f.REMOVED:
                name = newest.super_.name
                self.former[path] = f"{path} was replaced in pool {name}; take it out of the lab file"
                self.found.pop(path).member.close()
            elif row.state == f.IN and one.newest < commit.durable and row.since <= commit.durable:
                self.problems[path] = f"{path} is an old copy, or lost writes: it is of an earlier time than its pool"
                self.found.pop(path).member.close()

    def close(self) -> None:
        close_all([one.member for one in self.found.values()])


def _open(name: str, paths: Sequence[str]) -> Opened:
    members = _Members()
    try:
        for path in paths:
            members.take(path)
        if not members.found:
            raise PoolError(
                "; ".join(members.problems.values()) + "; nothing was changed: move these files away to have a new pool"
            )
        newest = max(members.found.values(), key=lambda one: one.newest)
        if newest.newest >= 0:
            commit = f.unpack_commit(newest.ring[newest.newest])
            members.drop_strangers(newest, commit)
            _find_strays(paths, newest, commit, members)
            _within_tolerance(commit, members)
        pool = open_pool([one.member for one in members.found.values()], degraded=bool(members.problems))
    except BaseException:
        members.close()
        raise
    numbers = {one.super_.number: path for path, one in members.found.items()}
    _name_absent(numbers, paths, pool, newest.super_.pool, members.problems.keys() & set(paths))
    return Opened(pool, numbers, {**members.problems, **members.former}, False)


def _name_absent(numbers: dict[int, str], paths: Sequence[str], pool: Pool, ident: bytes, left_out: set[str]) -> None:
    """Members that were left out keep the names that the lab file gives them, so that people can replace them: by what
    the file says of itself; else by its place in the list, which is its number from the pool's creation on."""
    absent = [n for n, row in enumerate(pool.rows) if row.state in (f.IN, f.OUT) and n not in numbers]
    said = {_identity(path, ident): path for path in left_out}
    for number in absent:
        path = said.get(pool.rows[number].member)
        if path is None and len(absent) == len(left_out) == 1:
            (path,) = left_out
        if path is None and number < len(paths) and paths[number] in left_out:
            path = paths[number]
        if path is not None:
            numbers[number] = path


def _find_strays(paths: Sequence[str], newest: Found, commit: f.Commit, members: _Members) -> None:
    """Members that the list does not name but that lie beside the others: a member was replaced, and the file not
    changed. They are taken along; left out they would be degraded for nothing."""
    there = {one.super_.member for one in members.found.values()}
    wanted = {row.member for row in commit.members if row.state == f.IN} - there
    for path in _neighbours(paths) if wanted else ():
        ident = _identity(path, newest.super_.pool)
        if ident in wanted:
            members.take(path)
            wanted.discard(ident)


def _neighbours(paths: Sequence[str]) -> list[str]:
    """Regular files in the members' folders that are no listed members."""
    found: list[str] = []
    for folder in dict.fromkeys(os.path.dirname(path) for path in paths):
        try:
            with os.scandir(folder) as entries:
                found += [entry.path for entry in entries if entry.is_file(follow_symlinks=False)]
        except OSError:
            continue
    return [path for path in found if path not in paths][:_MOST_STRANGERS]


def _identity(path: str, pool: bytes) -> bytes | None:
    """Which member of this pool a file is, if it is one."""
    try:
        with open(path, "rb") as file:
            super_ = f.unpack_superblock(file.read(f.SUPER_SIZE))
    except (OSError, f.FormatError):
        return None
    return super_.member if super_.pool == pool else None


def _within_tolerance(commit: f.Commit, members: _Members) -> None:
    """A pool that lacks more than its volumes survive is not opened: the members that are there would go on without
    the others, which could not come back."""
    there = {one.super_.member for one in members.found.values()}
    missing = [n for n, row in enumerate(commit.members) if row.state == f.IN and row.member not in there]
    redundant = all(row.profile in (f.RAID1, f.RAID5) for row in commit.volumes)
    degraded = any(row.state == f.OUT for row in commit.members)
    survives = 1 if redundant and not degraded and len(commit.members) > 1 else 0
    if len(missing) > survives:
        which = "; ".join(members.problems.values()) or f"number {', '.join(map(str, missing))} is not listed"
        much = "no member" if not survives else "one member"
        back = "them" if len(missing) > 1 else "it"
        raise PoolError(f"{which}; its volumes can do without {much}: bring {back} back")
