"""A second opinion on storvirt/pool/__init__: written from its promises and its crash story alone.

It knows three things of a volume: every 4 KiB block has versions, one after each request that touched it; a request is
begun, answered, durable, in this order; and after a crash a block is one of its versions, never a mixture and never one
that a later answered (kill -9) or durable (power loss) request had replaced. All else follows from the page: small
requests survive as a prefix, an opening that is interrupted comes to the same bytes, and nothing is left to mend.
It refuses to know how the pool does it, and shares no oracle with test_pool_crash.py.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import NamedTuple

import pytest

from storvirt.backing.member import Member
from storvirt.pool.assemble import format_pool, open_pool
from storvirt.pool.pool import Pool
from storvirt.pool.repair import Scrub
from storvirt.volume.volume import Volume
from tests.support.crashdisk import Crash, CrashDisk
from tests.support.simfile import SimFile

LONG = os.environ.get("VFAB_LONG") == "1"
pytestmark = [pytest.mark.long] if LONG else []  # then they may take long
MOST = 10  # moments of a history that are tried; all of them with VFAB_LONG
MIB = 1 << 20
BLOCK = 4096
SECTOR = 512
GRAIN = 16384
SIZE = 8 * GRAIN
G = GRAIN // SECTOR  # histories count in sectors


class Level(NamedTuple):
    raid: str
    members: int
    tolerates: int


LEVELS = {
    "linear": Level("linear", 1, 0),
    "raid0": Level("raid0", 2, 0),
    "raid1": Level("raid1", 2, 1),
    "raid5": Level("raid5", 3, 1),
    "raid6": Level("raid6", 4, 2),
}


class Step(NamedTuple):
    """offset, length: sectors."""

    call: str
    offset: int = 0
    length: int = 0


def write(offset: int, length: int) -> Step:
    return Step("write", offset, length)


def trim(offset: int, length: int) -> Step:
    return Step("trim", offset, length)


FLUSH, CHECKPOINT, WORK, SEGMENT, LOSS = (Step(call) for call in ("flush", "checkpoint", "work", "segment", "loss"))

# Small: no request covers a grain, so all of them go through the log.
SMALL = (
    write(8, 8), write(1, 1), write(9, 2), FLUSH, write(8, 16), Step("fua", 0, 1), write(3, 1), trim(8, 8),
    write(12, 1),
)  # fmt: skip
MOVED = (
    write(0, 8), write(G, 9), trim(4, 8), WORK, write(3, 8), WORK, CHECKPOINT, write(G + 3, 1), trim(0, 8), FLUSH,
    write(7, 2), WORK, write(0, 3),
)  # fmt: skip
LARGE = (
    write(0, G), write(0, 2 * G), FLUSH, write(G - 1, G + 2), write(G, G), write(G + 8, 8), CHECKPOINT, write(0, G),
    write(0, G), trim(0, 2 * G), Step("fua", G, G),
)  # fmt: skip
HOLES = (
    write(0, 3 * G), trim(G, G), write(G + 1, 1), FLUSH, trim(1, G), trim(2 * G - 3, 6), write(2 * G, 8),
    trim(0, 3 * G), CHECKPOINT, write(5, 1), trim(0, G), write(5, G),
)  # fmt: skip
REUSED = (
    write(0, 4 * G), CHECKPOINT, write(0, 4 * G), write(5, 1), CHECKPOINT, trim(0, G), write(2 * G, 2 * G), CHECKPOINT,
    write(0, 4 * G), FLUSH, write(G, 8), WORK, CHECKPOINT, write(0, 2 * G),
)  # fmt: skip
BEREFT = (
    write(0, G), write(G, 8), FLUSH, LOSS, write(0, 8), write(G, G), trim(3, 8), FLUSH, write(0, 2 * G), CHECKPOINT,
    write(G + 8, 8), WORK, write(0, G),
)  # fmt: skip
# Nothing is flushed, and the log is in two segments: the power leaves holes in the first one.
HOLED = (write(0, G), write(8, 3), write(11, 2), write(G, 8), SEGMENT, write(4, 20))
HISTORIES = {"small": SMALL, "moved": MOVED, "large": LARGE, "holes": HOLES, "reused": REUSED, "bereft": BEREFT}
ONLY_SMALL = {"small", "moved"}


# --- what there may be -----------------------------------------------------------------------------------------------


class Version(NamedTuple):
    request: int  # 0: before all of them
    content: bytes


class Times(NamedTuple):
    """Up to which request each had come."""

    begun: int = 0
    answered: int = 0
    durable: int = 0

    def floor(self, kind: str) -> int:
        return self.answered if kind == "kill" else self.durable


class Ledger:
    """All versions of all blocks. Requests are numbered from 1."""

    def __init__(self, content: bytes = bytes(SIZE)) -> None:
        self.blocks = [[Version(0, content[at : at + BLOCK])] for at in range(0, SIZE, BLOCK)]
        self.requests = 0

    def enter(self, offset: int, data: bytes) -> int:
        """A request begins; offset in bytes."""
        self.requests += 1
        for number in range(offset // BLOCK, (offset + len(data) - 1) // BLOCK + 1):
            content = bytearray(self.blocks[number][-1].content)
            first, end = max(offset, number * BLOCK), min(offset + len(data), number * BLOCK + BLOCK)
            content[first - number * BLOCK : end - number * BLOCK] = data[first - offset : end - offset]
            self.blocks[number].append(Version(self.requests, bytes(content)))
        return self.requests

    def wrong(self, found: bytes, floor: int, begun: int) -> list[str]:
        """A sentence for each block that holds no version between these two requests."""
        return [
            f"block {number} is {self._name(number, found)}, and requests {floor} to {begun} allow {sorted(allowed)}"
            for number in range(len(self.blocks))
            if not (allowed := self._allowed(number, floor, begun)) & self._which(number, found)
        ]

    def is_a_prefix(self, found: bytes, floor: int, begun: int) -> bool:
        """All requests up to one are there, it may be in part (at block boundaries), and none behind it."""
        which = [self._which(number, found) for number in range(len(self.blocks))]
        return any(
            all(
                which[number] & (self._allowed(number, last, last) | self._allowed(number, max(last - 1, 0), last))
                for number in range(len(self.blocks))
            )
            for last in range(floor, begun + 1)
        )

    def _allowed(self, number: int, floor: int, begun: int) -> set[int]:
        old = max(version.request for version in self.blocks[number] if version.request <= floor)
        return {version.request for version in self.blocks[number] if old <= version.request <= begun}

    def _which(self, number: int, found: bytes) -> set[int]:
        content = found[number * BLOCK : (number + 1) * BLOCK]
        return {version.request for version in self.blocks[number] if version.content == content}

    def _name(self, number: int, found: bytes) -> str:
        which = self._which(number, found)
        if which:
            return f"as after request {sorted(which)}"
        sectors = range(number * BLOCK, (number + 1) * BLOCK, SECTOR)
        return f"no version of it: sectors begin {[found[at : at + 4].hex() for at in sectors]}"


def marked(marks: Sequence[tuple[str, int]]) -> Times:
    return Times(*(max((n for what, n in marks if what == word), default=0) for word in Times._fields))


# --- a history -------------------------------------------------------------------------------------------------------


class History:
    """Steps done on a CrashDisk, with what they mean in the ledger and as marks."""

    def __init__(self, disk: CrashDisk, pool: Pool, ledger: Ledger, dice: random.Random) -> None:
        self.disk, self.pool, self.ledger, self.dice = disk, pool, ledger, dice
        self.volume = Volume(pool, pool.disk("v"))

    def do(self, steps: Iterable[Step]) -> None:
        for step in steps:
            getattr(self, f"_{step.call}")(step)

    def _write(self, step: Step, fua: bool = False) -> None:
        data = self.dice.randbytes(step.length * SECTOR)
        self._begin(step, data)
        self.volume.write(step.offset * SECTOR, data, fua)
        self.disk.mark(("answered", self.ledger.requests))

    def _fua(self, step: Step) -> None:
        self._write(step, fua=True)
        self.disk.mark(("durable", self.ledger.requests))

    def _trim(self, step: Step) -> None:
        self._begin(step, bytes(step.length * SECTOR))
        self.volume.trim(step.offset * SECTOR, step.length * SECTOR)
        self.disk.mark(("answered", self.ledger.requests))

    def _begin(self, step: Step, data: bytes) -> None:
        self.disk.mark(("begun", self.ledger.enter(step.offset * SECTOR, data)))

    def _flush(self, _: Step) -> None:
        self.volume.flush()
        self.disk.mark(("durable", self.ledger.requests))

    def _checkpoint(self, _: Step) -> None:
        self.pool.checkpoint()
        self.disk.mark(("durable", self.ledger.requests))

    def _work(self, _: Step) -> None:
        """Everything that lies in the log goes to its grain."""
        for grain in range(SIZE // GRAIN):
            self.pool.engine.destage(self.pool.disk("v"), grain)
        self.pool.engine.commit()

    def _segment(self, _: Step) -> None:
        """The log goes on elsewhere."""
        self.pool.new_segment()

    def _loss(self, _: Step) -> None:
        """From now on this member answers nothing."""
        self.disk.fail(errno.EIO, "m1")


@cache
def _new(level: Level) -> dict[str, SimFile]:
    """The files of a pool that was closed, and then the machine, too."""
    disk = CrashDisk({f"m{number}": 20 * MIB for number in range(level.members)})
    ids = [bytes([number + 1]) * 16 for number in range(level.members)]
    pool = format_pool(list(disk.members.values()), name="p", pool_id=b"promises" * 2, member_ids=ids, extent=MIB)
    pool.create_volume("v", SIZE, level.raid, GRAIN)
    pool.close()
    return {name: SimFile(file.size, dict(file.pages)) for name, file in disk.files.items()}


def lived(level: Level, steps: Iterable[Step], seed: int) -> tuple[CrashDisk, Ledger]:
    disk, ledger = CrashDisk(_new(level), seed), Ledger()
    History(disk, open_pool(list(disk.members.values())), ledger, random.Random(seed)).do(steps)
    return disk, ledger


# --- what holds after a crash ----------------------------------------------------------------------------------------


def opened(members: Mapping[str, Member], degraded: bool = False) -> tuple[Pool, bytes]:
    """The pool and the volume's bytes, which are the same when they are read again."""
    pool = open_pool(list(members.values()), degraded=degraded)
    volume = Volume(pool, pool.disk("v"))
    found = volume.read(0, SIZE)
    again = b"".join(volume.read(at, SECTOR * 3) for at in range(0, SIZE - 3 * SECTOR, SECTOR * 3))
    assert found.startswith(again), "a second reading differs from the first"
    return pool, found


def mended(pool: Pool) -> list[str]:
    scrub = Scrub(pool)
    while scrub.step():
        pass
    assert scrub.lost == 0, scrub.found
    return scrub.found


class Promises:
    """`whole`: no member has failed, so every column is meant to be right."""

    def __init__(self, level: Level, ledger: Ledger, small: bool, whole: bool) -> None:
        self.level, self.ledger, self.small, self.whole = level, ledger, small, whole

    def losses(self, crash: Crash) -> Iterator[tuple[str, ...]]:
        """Those that are tolerated on top of what has failed already."""
        if self.whole:
            yield from crash.losses(self.level.tolerates)
        else:
            yield from ((), ("m1",))

    def kept(self, crash: Crash, found: bytes, kind: str) -> None:
        times = marked(crash.marks)
        wrong = self.ledger.wrong(found, times.floor(kind), times.begun)
        assert not wrong, wrong
        if self.small:
            assert self.ledger.is_a_prefix(found, times.floor(kind), times.begun), "later requests without earlier ones"

    def hold(self, crash: Crash, dice: random.Random) -> None:
        for lost in self.losses(crash):
            _, found = opened(crash.members(without=lost), degraded=bool(lost))
            self.kept(crash, found, crash.kind)
        disk = crash.disk()
        pool, found = opened(disk.members)
        self._stays(crash, disk, found)
        self._interrupted(crash, disk, found, dice)
        healed = mended(pool)
        assert not (healed and self.whole), healed
        assert mended(pool) == []
        assert Volume(pool, pool.disk("v")).read(0, SIZE) == found

    def _stays(self, crash: Crash, disk: CrashDisk, found: bytes) -> None:
        """What was read once is there for good: power loss and a tolerated loss behind it."""
        for again in disk.crashes(("power",), exhaustive_below=1, samples=1, at={disk.boundaries - 1}):
            with again:
                for lost in self.losses(crash):
                    _, bytes_then = opened(again.members(without=lost), degraded=bool(lost))
                    assert bytes_then == found, f"without {lost or 'any loss'} it is not what was read before"

    def _interrupted(self, crash: Crash, disk: CrashDisk, found: bytes, dice: random.Random) -> None:
        """The opening itself ends anywhere. After a kill the power may take what was only in page caches."""
        moments = range(disk.boundaries) if LONG else [dice.randrange(disk.boundaries)]
        for kind in ("kill", "power"):
            for again in disk.crashes((kind,), exhaustive_below=1, samples=2, at=moments):
                with again:
                    _, bytes_then = opened(again.members())
                    self.kept(crash, bytes_then, "power" if "power" in (kind, crash.kind) else "kill")
                    less = crash.kind == "kill" and kind == "power"
                    assert less or bytes_then == found, "another state than before"


def survive(level: Level, disk: CrashDisk, ledger: Ledger, name: str, seed: int) -> None:
    promises = Promises(level, ledger, name in ONLY_SMALL, name != "bereft")
    dice = random.Random(f"{seed}/{name}")
    moments = range(disk.boundaries)
    for boundary in moments if LONG else sorted(dice.sample(moments, min(MOST, len(moments)))):
        found = list(disk.crashes(exhaustive_below=4, samples=6, at={boundary}))
        for crash in found if LONG else dice.sample(found, 1):
            with crash:
                promises.hold(crash, dice)


def _cases() -> Iterator[tuple[str, str]]:
    for name in HISTORIES:
        for level in LEVELS:
            if name != "bereft" or LEVELS[level].tolerates:
                yield level, name


@pytest.mark.parametrize(("level_name", "name"), list(_cases()))
@pytest.mark.parametrize("seed", range(6) if LONG else range(1))
def test_the_promises_hold_at_every_moment(level_name: str, name: str, seed: int) -> None:
    level = LEVELS[level_name]
    survive(level, *lived(level, HISTORIES[name], seed), name, seed)


@pytest.mark.parametrize("seed", range(20) if LONG else range(1))
def test_what_lies_behind_a_hole_in_the_log_is_not_found_by_the_next_opening(seed: int) -> None:
    """The first opening ends the log at the hole, and is interrupted between any two calls; the second one agrees."""
    disk, _ = lived(LEVELS["linear"], HOLED, seed)
    holed = disk.crashes(("power",), exhaustive_below=1, samples=60, at={disk.boundaries - 1})
    for crash in [crash for crash in holed if "one write is lost" in crash.story]:
        again = crash.disk()
        _, found = opened(again.members)
        for moment in range(again.boundaries):
            cut = next(again.crashes(("kill",), at={moment}))
            with crash, cut:
                assert opened(cut.members())[1] == found, "another state than before"
