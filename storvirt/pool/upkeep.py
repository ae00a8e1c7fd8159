"""What is done to the members of an open pool, through the library's door: they come, go, and come back; a scrub.

Knows: how a member is named, that a new one is a new file, one job at a time. Refuses to know: how a job works (job.py
and those that are one), who reads and writes meanwhile.
"""

from __future__ import annotations

import os.path
from abc import ABC, abstractmethod
from collections.abc import Callable
from os import PathLike, fspath
from typing import TypeVar

from storvirt.backing import identity
from storvirt.backing.files import create_all, open_one, remove_all, sizes_of
from storvirt.backing.member import Member
from storvirt.pool import format as f
from storvirt.pool.evacuate import Evacuate
from storvirt.pool.job import Job
from storvirt.pool.membership import add_member, best_spare, call_in, retire
from storvirt.pool.pool import Pool as Core
from storvirt.pool.pool import PoolError
from storvirt.pool.rejoin import Rejoin
from storvirt.pool.repair import Replace, Scrub
from storvirt.pool.unfinished import at_opening
from storvirt.pool.widen import Add, Rebalance, grow_members

Path = str | PathLike[str]
Begun = TypeVar("Begun", bound=Job)
Made = TypeVar("Made")


class Upkeep(ABC):
    """Of storvirt.Pool. Each job is given back at its beginning: call step() until it is False, or run(); `progress`
    is (done, total) in slots, `moved` in bytes; cancel() calls it off. Volumes may be used between two steps. A job
    that is dropped, by a crash or close(), is harmless; resume() goes on with it.

    member: its path, the last part of that, or its number. All raise PoolError, MemberError, BlockError with one
    sentence, and then nothing was changed; Suspended.
    """

    def __init__(self, core: Core) -> None:
        self.core = core
        self._job: Job | None = None

    def add(self, path: Path, size: int = 0) -> Job:
        """A member more, on a new file of `size` bytes (0: as the largest member). It is used at once; the job is about
        log and map."""
        return self._begin(lambda: self._on_new(path, size, lambda made: Add(self.core, made, identity.fresh())))

    def add_spare(self, path: Path, size: int = 0) -> None:
        """A new file that is kept until replace() takes it."""
        self._must_write()
        self._on_new(path, size, lambda made: add_member(self.core, made, identity.fresh(), spare=True))

    def remove(self, member: Path | int) -> Job | None:
        """Move what a member holds to the others, then take it out. None: it was a spare, and is none any more."""
        self._must_write()
        for number, spare in self.core.spares.items():
            if _matches(number, spare.name, member):
                retire(self.core, number, f.NOBODY)
                return None
        return self._begin(lambda: Evacuate(self.core, self._number(member)))

    def replace(self, member: Path | int, path: Path | None = None) -> Job:
        """A new file takes a member's place, or (None) a spare does. The old one is read as long as it is there."""
        if path is None:
            return self._begin(lambda: self._by_spare(self._number(member)))
        number = self._number(member)
        return self._begin(lambda: self._on_new(path, 0, lambda m: Replace(self.core, number, m, identity.fresh())))

    def rejoin(self, path: Path) -> Job:
        """Give a member that is out what it missed. path: where it is now."""
        return self._begin(lambda: self._back(fspath(path)))

    def rebalance(self) -> Job:
        """Spread what there is over all members, after some were added."""
        return self._begin(lambda: Rebalance(self.core))

    def grow(self, size: int = 0) -> list[str]:
        """Use members whose files were made larger; size: bytes that each is made to have first. Which have grown."""
        self._must_write()
        sizes = sizes_of({number: member.name for number, member in self.core.present().items()}, size)
        return [self.core.member_name(number) for number in grow_members(self.core, sizes)]

    def scrub(self) -> Scrub:
        """Read everything and mend what is bad: `healed`, `lost`, and `found` in sentences."""
        return self._begin(lambda: Scrub(self.core))

    def resume(self) -> Job | None:
        """The job that an earlier opener of the pool did not bring to its end."""
        self._must_write()
        if self._job is not None and self._job.running:
            return self._job
        self._job = at_opening(self.core)
        return self._job

    @abstractmethod
    def _must_write(self) -> None:
        """Raises PoolError."""

    def _begin(self, make: Callable[[], Begun]) -> Begun:
        self._must_write()
        if self._job is not None and self._job.running:
            raise PoolError(f"a job is under way in pool {self.core.name}: bring it to its end, or cancel it")
        job = make()
        self._job = job
        return job

    def _on_new(self, path: Path, size: int, use: Callable[[Member], Made]) -> Made:
        largest = max(row.size for row in self.core.rows if row.state != f.REMOVED)
        made = create_all([fspath(path)], size or largest)
        try:
            return use(made[0])
        except BaseException:
            if made[0] not in self.core.members:
                remove_all(made)
            raise

    def _by_spare(self, number: int) -> Replace:
        spare = best_spare(self.core, number)
        if spare is None:
            raise PoolError(f"pool {self.core.name} has no spare; name a new file")
        call_in(self.core, spare, number)
        return Replace(self.core, number, spare)

    def _back(self, path: str) -> Rejoin:
        member = open_one(path)
        try:
            return Rejoin(self.core, member)
        except BaseException:
            member.close()
            raise

    def _number(self, member: Path | int) -> int:
        core = self.core
        names = {
            number: core.member_name(number) if core.members[number] else row.hint
            for number, row in enumerate(core.rows)
            if row.state in (f.IN, f.OUT)
        }
        found = [number for number, name in names.items() if _matches(number, name, member)]
        if len(found) != 1:
            there = ", ".join(names.values())
            raise PoolError(f"pool {core.name} has no one member {str(member)!r}; its members are: {there}")
        return found[0]


def _matches(number: int, name: str, member: Path | int) -> bool:
    if isinstance(member, int):
        return number == member
    wanted = fspath(member)
    return wanted in (name, os.path.basename(name)) or os.path.abspath(wanted) == os.path.abspath(name)
