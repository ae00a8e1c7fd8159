"""From a list of member files to an open pool: made when none of them is there, else opened with what is there.

Knows: which files are missing, which are no members, which are of another time than the pool was last seen in.
Refuses to know: how a pool is assembled (storvirt.pool.assemble), where else a member may be (stord_search), LUNs.

Nothing is ever formatted over: a file is made only where there is none, and only when there is not one of them.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import NamedTuple

from daemons import stord_search
from daemons.errors import UserError
from daemons.stord_config import Config, Witness
from storvirt.backing.errors import MemberError
from storvirt.backing.files import close_all, exists, open_one
from storvirt.backing.places import is_elsewhere, is_made, is_vacant
from storvirt.block import BlockError
from storvirt.pool import format as f
from storvirt.pool.assemble import Found, history, look, open_pool
from storvirt.pool.files import create_core
from storvirt.pool.pool import Pool, PoolError, Suspended
from storvirt.pool.space import survives
from storvirt.raid.layout import BY_NUMBER


class Opened(NamedTuple):
    """paths: by the member's number, of those that are known; problems: listed files that were left out, and why;
    unreached: those of them that nothing is known of."""

    pool: Pool
    paths: dict[int, str]
    problems: dict[str, str]
    created: bool
    unreached: frozenset[str] = frozenset()

    @property
    def wrong(self) -> set[str]:
        """Those that were looked at."""
        return set(self.problems) - self.unreached


class Waits(Exception):
    """The host has no space for what opening must write: nothing is lost, try again. volumes: what the pool has."""

    def __init__(self, sentence: str, volumes: tuple[f.VolumeRow, ...]) -> None:
        super().__init__(sentence)
        self.volumes = volumes


class Unreached(Waits):
    """Members elsewhere can't be reached: their servers may be about to begin, as this one is."""


def open_or_create(wanted: Config, degraded: bool = False, make: bool = True, patient: bool = False) -> Opened:
    """degraded: go on with what there is, whatever is missing or older than it was. make: a new pool may be made.
    patient: rather wait than go on without members elsewhere that can't be reached.

    Raises UserError with one sentence; Waits.
    """
    name, paths = wanted.pool, wanted.members
    try:
        if all(is_vacant(path) for path in paths):
            _may_be_made(wanted, make)
            pool = create_core(paths, name=name, size=wanted.size)
            return Opened(pool, dict(enumerate(paths)), {}, True)
        return _open(wanted, degraded, patient)
    except (PoolError, MemberError, BlockError, Suspended) as error:
        raise UserError(f"pool {name}: {error}" if f"pool {name}" not in str(error) else str(error)) from None


def _may_be_made(wanted: Config, make: bool) -> None:
    for folder in dict.fromkeys(os.path.dirname(path) for path in wanted.members if is_made(path)):
        if not os.path.isdir(folder):
            raise PoolError(f"the folder {folder} of its members is not there; make it, or change members:")
    if not make or wanted.witness is not None:
        raise PoolError(
            "none of its members is there any more: bring them back (vfab down, then vfab up makes a new, empty pool)"
        )


class _Members:
    """Files that are open, and what is wrong with the others."""

    def __init__(self) -> None:
        self.found: dict[str, Found] = {}
        self.problems: dict[str, str] = {}
        self.former: dict[str, str] = {}
        self.unreached: set[str] = set()

    def take(self, path: str) -> None:
        """Raises PoolError when somebody else has the file open: then he has the pool."""
        try:
            member = open_one(path)
        except MemberError as error:
            if error.errno == errno.EBUSY:
                why = f"{error}, and a pool has one opener at a time: end that one (another lab? vfab labs)"
                raise PoolError(why) from None
            missing = error.errno == errno.ENOENT and not is_elsewhere(path)
            if is_elsewhere(path) and error.errno != errno.EINVAL:
                self.unreached.add(path)
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
                self.former[path] = f"{path} was replaced in pool {name}, or removed; take it out of the lab file"
                self.found.pop(path).member.close()
            elif row.state == f.IN and one.newest < commit.durable and row.since <= commit.durable:
                self.problems[path] = f"{path} is an old copy, or lost writes: it is of an earlier time than its pool"
                self.found.pop(path).member.close()

    def find_strays(self, listed: Sequence[str], pool: bytes, commit: f.Commit) -> bool:
        """Members that the list does not name, because the lab file was not changed when they came. They are taken
        along; left out they would be degraded for nothing. True if there is one more."""
        there = {one.super_.member for one in self.found.values()}
        rows = [row for row in commit.members if row.state in (f.IN, f.SPARE) and row.member not in there]
        wanted = {row.member for row in rows}
        places = [*(row.hint for row in commit.members), *stord_search.neighbours(listed)] if wanted else []
        far = {row.hint for row in rows if is_elsewhere(row.hint)}  # nobody else's is dialled for nothing
        before = len(self.found)
        for path in dict.fromkeys(places):
            if path in self.found or path in self.problems:
                continue
            ident = (stord_search.identity_elsewhere if path in far else stord_search.identity)(path, pool)
            if ident in wanted:
                self.take(path)
                wanted.discard(ident)
        return len(self.found) > before

    def close(self) -> None:
        close_all([one.member for one in self.found.values()])


def _open(wanted: Config, degraded: bool, patient: bool) -> Opened:
    members = _Members()
    commit: f.Commit | None = None
    try:
        for path in (*wanted.members, *(spare for spare in wanted.spares if exists(spare))):
            members.take(path)
        if members.unreached and patient:
            raise Unreached(f"pool {wanted.pool} waits: {'; '.join(members.problems.values())}", ())
        if members.unreached and not members.found:
            raise PoolError("; ".join(members.problems.values()))
        if not members.found:
            raise PoolError(
                "; ".join(members.problems.values()) + "; nothing was changed: move these files away to have a new pool"
            )
        commit = _of_one_time(wanted.members, members)
        if commit is not None and not degraded:
            _within_tolerance(commit, members)
            if wanted.witness is not None:
                _agrees(wanted.pool, wanted.witness, list(members.found.values()))
        given = [one.member for one in members.found.values()]
        lacking = commit is not None and bool(_missing(commit, members))  # one that is not listed, too
        pool = open_pool(given, degraded=degraded, lacking=lacking or bool(members.problems))
    except Suspended as trouble:
        members.close()
        if commit is None:
            raise
        raise Waits(str(trouble), commit.volumes) from None
    except BaseException:
        members.close()
        raise
    numbers = {one.super_.number: path for path, one in members.found.items()}
    left_out = members.problems.keys() & set(wanted.members)
    stord_search.name_absent(numbers, wanted.members, pool, left_out)
    return Opened(pool, numbers, {**members.problems, **members.former}, False, frozenset(members.unreached))


def _of_one_time(listed: Sequence[str], members: _Members) -> f.Commit | None:
    """Everything that belongs to the newest record, which this returns; the rest is left out. None: there is none."""
    while True:
        newest = max(members.found.values(), key=lambda one: one.newest)
        if newest.newest < 0:
            return None  # the assembly has a sentence for that
        commit = f.unpack_commit(newest.ring[newest.newest])
        members.drop_strangers(newest, commit)
        if not members.found:
            raise PoolError("; ".join(members.former.values()))
        if not members.find_strays(listed, newest.super_.pool, commit):
            return commit


def _within_tolerance(commit: f.Commit, members: _Members) -> None:
    """A pool that lacks more than its volumes survive is not opened: the members that are there would go on without
    the others, which could not come back."""
    missing = _missing(commit, members)
    out = sum(row.state == f.OUT for row in commit.members)
    tolerance = min((BY_NUMBER[row.profile].parity for row in commit.volumes), default=1)
    promised = min(tolerance, len(commit.members) - 1)
    if len(missing) > (0 if _too_many(commit, set(missing)) else promised):
        which = "; ".join(members.problems.values()) or f"number {', '.join(map(str, missing))} is not listed"
        much = f"its volumes can do without {_MEMBERS.get(promised, f'{promised} members')}"
        if len(missing) <= promised:
            much += f", and {'another one is' if out == 1 else f'{out} others are'} out already" if out else " at most"
        back = "them" if len(missing) > 1 else "it"
        raise PoolError(f"{which}; {much}: bring {back} back")


def _missing(commit: f.Commit, members: _Members) -> list[int]:
    """Members that are in, and were not found: their numbers."""
    there = {one.super_.member for one in members.found.values()}
    return [n for n, row in enumerate(commit.members) if row.state == f.IN and row.member not in there]


_MEMBERS = {0: "no member", 1: "one member", 2: "two members", 3: "three members"}


def _too_many(commit: f.Commit, missing: set[int]) -> bool:
    """Whether any slab would lack more columns than it may, with those that were lost before. (After half a rebuild two
    members may be gone of which no slab has a column on both.)"""
    gone = missing | {n for n, row in enumerate(commit.members) if row.state != f.IN}
    for row in commit.slabs:
        lost = {column.member for column in row.columns}
        if lost & missing and not survives(row, gone):
            return True
    return False


def _agrees(name: str, witness: Witness, found: Sequence[Found]) -> None:
    """fabricd was told of a record that was durable on every member then: they may have newer ones, not older ones and
    not another one of that number. Raises PoolError."""
    newest = max(found, key=lambda one: one.newest)
    if newest.newest < witness.number:
        what = (
            f"is older than it was: its files are at commit {newest.newest}, and {witness.number} had been made durable"
        )
    elif history(found, newest).get(witness.number, witness.digest) != witness.digest and witness.digest:
        what = f"has another history than it had: commit {witness.number} is not the one that this lab saw"
    else:
        return
    raise PoolError(
        f"pool {name} {what}; they are copies of another time, or one half of it went on alone: bring the newest "
        f"members back, or go on with these and lose what they lack: vfab pool import {name} --degraded"
    )
