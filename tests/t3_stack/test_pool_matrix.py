"""The crash matrix: every level, a crash at every write and flush, and every loss that the level tolerates on top.

The scripts are small, so that all moments of them are tried in any run; VFAB_LONG tries every state of what can be
listed, and all losses at each of them. test_pool_matrix_jobs.py has what happens to members meanwhile.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import pytest

from storvirt.raid.layout import profile_named
from tests.support.crashdisk import CrashDisk
from tests.support.poolcourt import Court, Moments
from tests.support.poolrig import Kind, Story, formatted, reopen, volume
from tests.support.simfile import SimFile
from tests.t3_stack.test_pool_rounds import Rounds

LONG = bool(os.environ.get("VFAB_LONG"))
pytestmark = [pytest.mark.long] if LONG else []  # then they may take long
PARTS = 6
KIB = 1024
GRAIN = 16 * KIB
SIZE = 8 * GRAIN


class Level(NamedTuple):
    """Kinds of volumes in one pool; it tolerates what all of them do."""

    members: int
    raids: tuple[str, ...]

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return tuple(Kind(raid, SIZE, GRAIN) for raid in self.raids)

    @property
    def tolerates(self) -> int:
        return min(profile_named(raid).parity for raid in self.raids)


LEVELS = {
    "linear": Level(1, ("linear",)),
    "raid0": Level(2, ("raid0",)),
    "raid1": Level(2, ("raid1",)),
    "raid1c3": Level(3, ("raid1c3",)),
    "raid1c5": Level(5, ("raid1c5",)),
    "raid10": Level(4, ("raid10",)),
    "raid4": Level(3, ("raid4",)),
    "raid5": Level(3, ("raid5",)),
    "raid6": Level(4, ("raid6",)),
    "raid7": Level(5, ("raid7",)),
    "raid50": Level(6, ("raid50",)),
    "raid60": Level(8, ("raid60",)),
    "mixed": Level(5, ("raid7", "raid5", "raid1c3")),
}


class Play:
    """A pool, its volumes, and what is asked of them."""

    def __init__(self, level: Level, seed: int) -> None:
        self.disk = CrashDisk(_files(level), seed)
        self.story, self.dice = Story(self.disk, level.kinds), random.Random(seed)
        self.pool = reopen(self.disk.members)
        self.begin = self.disk.boundaries

    def write(self, offset: int, length: int, fua: bool = False) -> None:
        for name in self.story.kinds:
            self.story.write(volume(self.pool, name), name, offset, self.dice.randbytes(length), fua)

    def trim(self, offset: int, length: int) -> None:
        for name in self.story.kinds:
            self.story.zero(volume(self.pool, name), name, offset, length)

    def flush(self) -> None:
        self.story.flush(self.pool)

    def checkpoint(self) -> None:
        self.pool.checkpoint()

    def segment(self) -> None:
        self.pool.new_segment()

    def destage(self, grain: int) -> None:
        for name in self.story.kinds:
            self.pool.engine.destage(self.pool.disk(name), grain)
        self.pool.engine.commit()


@cache
def _files(level: Level) -> dict[str, SimFile]:
    return formatted(level.members, level.kinds)


Script = Callable[[Play], None]


def logged(play: Play) -> None:
    """Blocks and sectors, trimmed and written over, flushed in between; then some that nothing makes durable."""
    play.write(4096, 512)
    play.write(GRAIN, 8192)
    play.flush()
    play.write(4096 + 512, 1024)
    play.trim(GRAIN, 4096)
    play.write(0, 512, fua=True)
    play.trim(0, 8192)
    play.write(512, 512)


def whole_grains(play: Play) -> None:
    """Grains over grains and over the log, holes in them and of them, and the space that this frees."""
    play.write(0, 2 * GRAIN)
    play.flush()
    play.write(GRAIN - 512, GRAIN + 512)
    play.trim(0, GRAIN)
    play.checkpoint()
    play.write(0, GRAIN)
    play.trim(GRAIN + 4096, 4096)


def moved_on(play: Play) -> None:
    """The log goes to grains and on in another segment, and a checkpoint gives up the first one."""
    play.write(0, 4096)
    play.write(3 * GRAIN, 2 * 4096)
    play.segment()
    play.write(4096, 4096)
    play.destage(0)
    play.destage(3)
    play.checkpoint()
    play.write(0, 512)
    play.destage(0)
    play.trim(3 * GRAIN, GRAIN)
    play.checkpoint()


def in_halves(play: Play) -> None:
    """A checkpoint whose fsyncs are made apart, with requests between them."""
    rounds = Rounds(play.pool, play.story, play.dice, grains=SIZE // GRAIN - 2)
    play.write(0, GRAIN)
    play.write(GRAIN, 4096)
    play.segment()
    for grain in (0, 1):
        play.destage(grain)
    play.pool.checkpoints.wanted = True
    while play.pool.checkpoints.pending:
        rounds.round()


SCRIPTS = (logged, whole_grains, moved_on, in_halves)


def tried(level: Level, play: Play, seed: str, moments: Moments) -> None:
    court = Court(play.story, level.tolerates, turns=12 if LONG else 1, every=LONG, seed=seed)
    for crash in moments.of(play.disk, seed, play.begin):
        court.judge(crash)
    assert court.crashes > 0
    print(f"seed {seed}: {court.crashes} crashes, {court.openings} openings")


# In any run these are tried at every boundary, the others at some of them.
AT_EVERY_BOUNDARY = {
    ("linear", in_halves), ("raid0", whole_grains), ("raid1", moved_on), ("raid1c3", whole_grains),
    ("raid10", moved_on), ("raid4", logged), ("raid5", in_halves), ("raid6", moved_on), ("raid7", whole_grains),
    ("raid50", logged), ("raid60", logged),
}  # fmt: skip


@pytest.mark.parametrize("part", range(PARTS) if LONG else range(1))
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
@pytest.mark.parametrize("name", LEVELS)
def test_every_boundary_of_small_scripts(name: str, script: Script, part: int) -> None:
    play = Play(LEVELS[name], 1)
    script(play)
    moments = Moments(spread=4, states=2, samples=2, most=1)
    if LONG:  # of one member all the sets of sectors that a record has
        moments = Moments(part, PARTS, states=1024 if name == "linear" else 32, samples=6)
    elif (name, script) in AT_EVERY_BOUNDARY:
        moments = Moments(states=2, samples=1, most=1)
    tried(LEVELS[name], play, f"{name}/{script.__name__}/{part}", moments)
