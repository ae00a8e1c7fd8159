"""What must hold after any crash of any pool: looked at by fsck, opened, read twice, scrubbed, and then once more
without every set of members that may be lost.

Knows: the order of these, and which of them are dear and so done in turn. Refuses to know: what the pool was doing
(plays are in the tests), which moments are tried.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from storvirt.backing.member import Member, PythonMember
from storvirt.pool import format as f
from storvirt.pool.assemble import look
from storvirt.pool.fsck import fsck
from storvirt.pool.mirrors import possible
from storvirt.pool.pool import Pool, PoolError
from storvirt.pool.repair import Scrub
from storvirt.pool.unfinished import at_opening
from tests.support.crashdisk import Crash, CrashDisk
from tests.support.poolrig import Story, audit, contents, reopen
from tests.support.simfile import SimFile

Files = Mapping[str, SimFile]
Found = dict[str, bytes]


class Court:
    """tolerates: members that may be lost at the same time; without: sets of files that may be no members (yet, or any
    more); turns: sets of losses that are tried at each crash, one after the other, of those that there are; every: what
    is dear is done at each crash, not at every third."""

    def __init__(
        self, story: Story, tolerates: int, *, without: Sequence[Sequence[str]] = ((),), every: bool = False,
        turns: int = 2, seed: int | str = 0,
    ) -> None:  # fmt: skip
        self.story, self.tolerates, self.without = story, tolerates, without
        self.every, self.turns, self.dice = every, turns, random.Random(seed)
        self.crashes = self.openings = 0
        self._turn = 0

    def judge(self, crash: Crash, finish: Callable[[Pool, Mapping[str, Member]], None] | None = None) -> None:
        """finish: what the pool was about, brought to its end by whoever opens it."""
        self.crashes += 1
        with crash:
            names = self._members(crash.files, list(crash.files))
            clean(crash.files, names, "before it is opened", torn=True)
            disk = crash.disk()
            members = {name: disk.members[name] for name in names}
            pool, found = self._opened(members, crash.kind, crash)
            out = sum(row.state == f.OUT for row in pool.rows)
            if self._now(3):
                self._read_is_there_for_good(disk, found)
                self._interrupted(crash, disk)
            self._without(
                crash.files, pool, out + not_yet(crash.files, pool),
                lambda files, names: self._opened(copies(files, self._members(files, names)), crash.kind, crash, True),
            )  # fmt: skip
            self._same_without(disk.files, pool, out + not_yet(disk.files, pool), found)
            if finish is not None:
                finish(pool, members)
                assert self._contents(pool) == found, "the end of what it was about changes what is read"
                audit(pool)
                still = sum(row.state == f.OUT for row in pool.rows)
                self._same_without(disk.files, pool, still, found)
            scrubbed(pool)
            assert self._contents(pool) == found
            pool.close()
            if finish is not None or self._now(3):
                clean(disk.files, [member.name for member in pool.present().values()], "after it was closed")

    def _now(self, every: int) -> bool:
        return self.every or self.crashes % every == 0

    def _members(self, files: Files, names: Sequence[str]) -> list[str]:
        """Those of these files that are members."""
        for without in self.without:
            left = [name for name in names if name not in without]
            try:
                reopen(copies(files, left), degraded=len(names) < len(files))
            except PoolError as error:
                said = error
            else:
                return left
        raise said

    def _opened(
        self, members: Mapping[str, Member], kind: str, crash: Crash, degraded: bool = False
    ) -> tuple[Pool, Found]:
        """Nothing but what is allowed, and the same when it is read twice."""
        self.openings += 1
        pool = reopen(members, degraded=degraded)
        found = self._contents(pool)
        wrong = self.story.allowed(kind, crash.marks).differences(found)
        assert not wrong, wrong[:5]
        assert self._contents(pool) == found, "the second reading differs from the first"
        audit(pool)
        return pool, found

    def _contents(self, pool: Pool) -> Found:
        """A volume that was not enlarged yet reads as zeros behind its end."""
        return {name: data.ljust(self.story.kinds[name].size, b"\0") for name, data in contents(pool).items()}

    def _read_is_there_for_good(self, disk: CrashDisk, found: Found) -> None:
        for again in disk.crashes(("power",), samples=1, exhaustive_below=1, at={disk.boundaries - 1}):
            with again:
                members = copies(again.files, self._members(again.files, list(again.files)))
                assert self._contents(reopen(members)) == found, "what was read is gone"

    def _interrupted(self, crash: Crash, disk: CrashDisk) -> None:
        """A crash at any moment of the opening. What a killed process left may still lose its power."""
        kind = self.dice.choice(("power", "kill"))
        allowed = "power" if kind == "power" else crash.kind
        for again in disk.crashes((kind,), samples=1, exhaustive_below=1, at={self.dice.randrange(disk.boundaries)}):
            with again:
                self._opened(copies(again.files, self._members(again.files, list(again.files))), allowed, crash)

    def _same_without(self, files: Files, pool: Pool, out: int, found: Found) -> None:
        def read(files: Files, names: Sequence[str]) -> None:
            left = reopen(copies(files, names), degraded=True)
            for _ in range(2):
                assert self._contents(left) == found, "there are other bytes than before"

        self._without(files, pool, out, read)

    def _without(self, files: Files, pool: Pool, out: int, read: Callable[[Files, Sequence[str]], object]) -> None:
        """read() is given what is left after every loss that is tolerated on top of those that are out."""
        names = sorted(member.name for member in pool.present().values())
        for lost in self._losses(names, self.tolerates - out):
            try:
                read(files, [name for name in names if name not in lost])
            except Exception as error:
                error.add_note(f"without {', '.join(lost)} of {', '.join(names)}")
                raise

    def _losses(self, names: Sequence[str], tolerated: int) -> Iterator[tuple[str, ...]]:
        found = [lost for count in range(1, tolerated + 1) for lost in itertools.combinations(names, count)]
        if len(found) <= self.turns:
            yield from found
            return
        for _ in range(self.turns):
            # Steps that have no divisor in common with the number of sets come to all of them.
            self._turn += 7
            yield found[self._turn % len(found)]


def copies(files: Files, names: Sequence[str]) -> dict[str, Member]:
    return {name: PythonMember(files[name].copy(), name) for name in names}


def not_yet(files: Files, pool: Pool) -> int:
    """How many losses fewer are tolerated as long as nobody was told that all is well again: members that lack the
    record which calls them in, copies that log and map were cut without while members were missing."""
    rows = {member.name: pool.rows[number] for number, member in pool.present().items()}
    rings = {name: look(member).ring for name, member in copies(files, list(rows)).items()}
    lack = sum(max(ring, default=-1) < rows[name].since for name, ring in rings.items())
    number, record = max((max(ring.items()) for ring in rings.values() if ring), default=(0, b""))
    slabs = f.unpack_commit(record).slabs if number else ()
    widths = [len(row.columns) for row in slabs if row.use != f.DATA]
    return lack + max(possible(pool) - min(widths, default=possible(pool)), 0)


def clean(files: Files, names: Sequence[str], when: str, torn: bool = False) -> None:
    """torn: one superblock of two may be, as long as nobody has opened the pool again."""
    report = fsck(list(copies(files, names).values()), data=True)
    found = [one.sentence for one in report.findings if not (torn and one.kind == "superblock")]
    assert not found, f"{when}: {'; '.join(found[:3])}"


def scrubbed(pool: Pool) -> None:
    job = Scrub(pool)
    while job.step():
        pass
    assert job.found == [] and job.lost == 0, job.found[:3]


def to_the_end(pool: Pool) -> None:
    """The jobs that the pool's own table tells of, as whoever opens it does."""
    for _ in range(3):
        job = at_opening(pool)
        while job is not None and job.step():
            pass
    assert at_opening(pool) is None, "a job comes to no end"


class Moments(NamedTuple):
    """Which crashes are tried: at every `step`-th boundary from `first` on, or at about `spread` of them over the whole
    run; all states if there are no more than `states`, else so many `samples` of them; and at most `most` of these."""

    first: int = 0
    step: int = 1
    states: int = 4
    samples: int = 2
    most: int = 0
    spread: int = 0

    def of(self, disk: CrashDisk, seed: int | str, begin: int = 0) -> Iterator[Crash]:
        dice = random.Random(f"{seed}/moments")
        first, step = self.first, self.step
        if self.spread:
            step = max(1, (disk.boundaries - begin) // self.spread)
            first = dice.randrange(step)
        for boundary in range(begin + first, disk.boundaries, step):
            found = list(disk.crashes(exhaustive_below=self.states, samples=self.samples, at={boundary}))
            yield from dice.sample(found, self.most) if 0 < self.most < len(found) else found
