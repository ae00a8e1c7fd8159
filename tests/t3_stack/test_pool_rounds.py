"""Checkpoints whose fsyncs are made apart: requests go on between the halves, and the machine or members die there."""

from __future__ import annotations

import errno
import os
import random
from contextlib import suppress
from functools import cache

import pytest

from storvirt.pool import flush as flushes
from storvirt.pool.flush import Flush
from storvirt.pool.pool import Busy, Pool
from tests.support.crashdisk import CrashDisk
from tests.support.poolrig import (
    MIB,
    Kind,
    Story,
    after_crash,
    audit,
    checked,
    formatted,
    reopen,
    volume,
)
from tests.support.simfile import SimFile

LONG = bool(os.environ.get("VFAB_LONG"))
pytestmark = [pytest.mark.long] if LONG else []  # then they may take long
POOLS = {
    "raid5": (4, (Kind("raid5"),), 1),
    "mixed": (4, (Kind("raid5"), Kind("raid1", MIB, 4096)), 1),
    "linear": (1, (Kind("linear"),), 0),
}


@cache
def _start(name: str) -> dict[str, SimFile]:
    count, kinds, _ = POOLS[name]
    return formatted(count, kinds)


class Rounds:
    """What stord_keeper does, step by step: a round begins, requests come, one file after the other is synced. grains:
    of each volume, to which requests go."""

    def __init__(self, pool: Pool, story: Story, dice: random.Random, grains: int = 12) -> None:
        self.pool, self.story, self.dice, self.grains = pool, story, dice, grains
        pool.apart = True

    def round(self) -> None:
        """One round of fsyncs, with requests before, while and after the files are synced."""
        pool = self.pool
        pool.checkpoints.before_round()
        flush = flushes.begin(pool)
        self.story.round()
        self.more_records()
        self.requests()
        failed = {}
        for number in flush.members:  # requests also between the fsyncs of two members
            failed.update(flushes.sync(Flush(0, 0, {number: flush.members[number]})))
            if self.dice.random() < 0.3:
                self.requests(1)
        if flushes.end(pool, flush, failed):
            self.story.synced()
            pool.checkpoints.after_round()

    def more_records(self) -> None:
        """Of new segments, in space that was given up if it can be; with the roots of their time."""
        with suppress(Busy):
            if self.dice.random() < 0.7:
                self.pool.new_segment()
                self._request()

    def requests(self, most: int = 4) -> None:
        try:
            for _ in range(self.dice.randrange(most + 1)):
                self._request()
        except Busy:  # it was begun, and is not answered
            assert self.pool.awaited and self.pool.checkpoints.pending

    def _request(self) -> None:
        name = self.dice.choice(list(self.story.kinds))
        kind, disk, call = self.story.kinds[name], volume(self.pool, name), self.dice.random()
        offset = self.dice.randrange(self.grains) * kind.grain
        if call < 0.35:
            self.story.write(disk, name, offset, self.dice.randbytes(kind.grain))
        elif call < 0.7:
            self.story.write(disk, name, offset + 512, self.dice.randbytes(self.dice.choice([512, 4096])))
        elif call < 0.8:
            self.story.zero(disk, name, offset, kind.grain)
        elif call < 0.95:
            self.pool.engine.destage(self.pool.disk(name), offset // kind.grain)
        else:
            self.pool.new_segment()


def halves(pool: Pool, story: Story, dice: random.Random) -> None:
    """Checkpoint after checkpoint in halves. What is freed, retired and dirtied between them is the next one's."""
    rounds = Rounds(pool, story, dice)
    for number in range(5):
        rounds.requests()
        if number % 2:
            pool.new_segment()
            _empty_log(pool)
        pool.checkpoints.wanted = True
        while pool.checkpoints.pending:
            rounds.round()
        audit(pool)


def _empty_log(pool: Pool) -> None:
    """The content of closed segments moves to grains: they may be retired."""
    for row in pool.segments:
        for number, grain in pool.engine.live_in(row.slab) if row.end else ():
            pool.engine.destage(pool.engine.disks[number], grain)
    pool.engine.commit()


def run(pool_name: str, seed: int) -> tuple[CrashDisk, Story]:
    disk = CrashDisk(_start(pool_name), seed)
    story = Story(disk, POOLS[pool_name][1])
    halves(reopen(disk.members), story, random.Random(seed))
    return disk, story


def crashes(disk: CrashDisk, story: Story, tolerated: int, seed: int, most: int) -> None:
    dice = random.Random(seed)
    step = 1 if LONG else max(1, disk.boundaries // most)
    for boundary in range(dice.randrange(step), disk.boundaries, step):
        found = list(disk.crashes(exhaustive_below=2, samples=6 if LONG else 2, at={boundary}))
        for crash in found if LONG else dice.sample(found, 1):
            with crash:
                after_crash(crash, story, tolerated, dice)


@pytest.mark.parametrize("pool_name", POOLS)
@pytest.mark.parametrize("seed", range(40) if LONG else range(2))
def test_every_moment_of_a_checkpoint_in_halves(pool_name: str, seed: int) -> None:
    crashes(*run(pool_name, seed), POOLS[pool_name][2], seed, 12)


@pytest.mark.parametrize("pool_name", POOLS)
@pytest.mark.parametrize("seed", range(20) if LONG else range(2))
def test_the_power_fails_at_any_moment_of_it(pool_name: str, seed: int) -> None:
    """Denser than above: nothing is on its way to be forgotten that the record which may survive needs."""
    disk, story = run(pool_name, seed)
    dice = random.Random(seed)
    at = {boundary for boundary in range(disk.boundaries) if LONG or dice.random() < 0.2}
    for crash in disk.crashes(("power",), exhaustive_below=2, samples=6 if LONG else 2, at=at):
        with crash:
            if LONG or dice.random() < 0.3:
                checked(crash.members(), story.allowed(crash.kind, crash.marks))


def test_who_makes_a_checkpoint_at_once_does_not_wait_for_one_in_halves() -> None:
    disk = CrashDisk(_start("linear"), 1)
    pool, dice = reopen(disk.members), random.Random(1)
    pool.apart = pool.checkpoints.wanted = True
    pool.checkpoints.before_round()
    flush = flushes.begin(pool)
    assert flushes.end(pool, flush, flushes.sync(flush)) and pool.checkpoints.pending
    data = dice.randbytes(MIB)
    with pool.here():
        for number in range(8 * MIB // 4096):  # more than the log may hold
            volume(pool, "linear-0").write(number * 4096 % MIB, data[number * 4096 % MIB :][:4096])
    pool.checkpoints.after_round()
    assert not pool.checkpoints.pending
    audit(pool)
    assert volume(reopen(disk.members), "linear-0").read(0, MIB) == data


@pytest.mark.parametrize("call", ["write", "sync"])
@pytest.mark.parametrize("pool_name", ["raid5", "mixed"])
@pytest.mark.parametrize("after", range(40) if LONG else (0, 4, 20))
def test_a_member_is_lost_between_the_halves(pool_name: str, call: str, after: int) -> None:
    disk = CrashDisk(_start(pool_name), after)
    story = Story(disk, POOLS[pool_name][1])
    pool = reopen(disk.members)
    disk.fail(errno.EIO, "m1", call, after=after, part=700)
    halves(pool, story, random.Random(after))
    assert pool.present().keys() == set(range(len(pool.rows))) - {1} or (call == "sync" and after > 10)
    crashes(disk, story, 0, after, 8)
    for crash in disk.crashes(exhaustive_below=2, samples=2, at={disk.boundaries - 1}):
        with crash:
            checked(crash.members(without=["m1"]), story.allowed(crash.kind, crash.marks), degraded=True)
