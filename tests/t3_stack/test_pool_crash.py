"""The crash story of storvirt/pool/__init__: crashes at every write and every sync, and every tolerated loss on top."""

from __future__ import annotations

import errno
import itertools
import os
import random
from collections.abc import Callable
from functools import cache

import pytest

from storvirt.backing.member import PythonMember
from storvirt.block import BlockError
from storvirt.pool.pool import Pool, Suspended
from tests.support.crashdisk import CrashDisk
from tests.support.poolrig import MIB, Kind, S, Story, after_crash, checked, contents, formatted, reopen, volume
from tests.support.simfile import SimFile

LONG = bool(os.environ.get("VFAB_LONG"))
pytestmark = [pytest.mark.long] if LONG else []  # then they may take long
Script = Callable[[Pool, Story, random.Random], None]

POOLS = {
    "raid5": (4, (Kind("raid5"),), 1),
    "raid5 of 3": (3, (Kind("raid5", grain=65536),), 1),
    "raid1": (2, (Kind("raid1"),), 1),
    "mixed": (4, (Kind("raid5"), Kind("raid1", MIB, 4096), Kind("raid5", MIB, 16384)), 1),
    "linear": (1, (Kind("linear"),), 0),
    "raid0": (3, (Kind("raid0"),), 0),
}


# Those that survive more, or not everywhere the same: fewer moments of them are tried, for each has many losses.
MORE = {
    "raid6": (4, (Kind("raid6"),), 2),
    "raid6 of 6": (6, (Kind("raid6", MIB, 16384), Kind("raid5", MIB)), 1),
    "raid7": (5, (Kind("raid7"),), 3),
    "raid1c3": (3, (Kind("raid1c3", MIB),), 2),
    "raid10": (4, (Kind("raid10"),), 1),
    "raid4": (4, (Kind("raid4"),), 1),
    "raid50": (6, (Kind("raid50"),), 1),
    "raid60": (8, (Kind("raid60", MIB),), 2),
}
EVERY = {**POOLS, **MORE}


@cache
def _start(name: str) -> dict[str, SimFile]:
    count, kinds, _ = EVERY[name]
    return formatted(count, kinds)


def run(pool_name: str, script: Script, seed: int) -> tuple[CrashDisk, Story]:
    disk = CrashDisk(_start(pool_name), seed)
    story = Story(disk, EVERY[pool_name][1])
    script(reopen(disk.members), story, random.Random(seed))
    return disk, story


def survive(disk: CrashDisk, story: Story, tolerated: int, seed: int, most: int = 4) -> None:
    """Every crash with VFAB_LONG; else one at each of `most` moments that are spread over the whole run."""
    dice = random.Random(seed)
    step = 1 if LONG else max(1, disk.boundaries // most)
    for boundary in range(dice.randrange(step), disk.boundaries, step):
        found = list(disk.crashes(exhaustive_below=2, samples=6 if LONG else 2, at={boundary}))
        for crash in found if LONG else dice.sample(found, 1):
            with crash:
                after_crash(crash, story, tolerated, dice)


# --- scripts ---------------------------------------------------------------------------------------------------------


def small_writes(pool: Pool, story: Story, dice: random.Random) -> None:
    """Blocks, sectors, and again the same ones; a flush in between."""
    for name in story.kinds:
        disk = volume(pool, name)
        story.write(disk, name, 4096, dice.randbytes(4096))
        story.write(disk, name, 512, dice.randbytes(512))
        story.write(disk, name, 4096 + 512, dice.randbytes(1024))
        story.flush(pool)
        story.write(disk, name, 4096, dice.randbytes(8192))
        story.write(disk, name, 0, dice.randbytes(512), fua=True)
        story.write(disk, name, 3 * 512, dice.randbytes(512))


def grains(pool: Pool, story: Story, dice: random.Random) -> None:
    """Whole grains, over themselves, with parts before and behind."""
    for name, kind in story.kinds.items():
        disk, grain = volume(pool, name), kind.grain
        story.write(disk, name, 0, dice.randbytes(grain))
        story.write(disk, name, 0, dice.randbytes(2 * grain))
        story.flush(pool)
        story.write(disk, name, grain - 512, dice.randbytes(grain + 1024))
        story.write(disk, name, grain, dice.randbytes(grain))
        story.write(disk, name, grain + 4096 * (grain > 4096), dice.randbytes(4096))


def zeros(pool: Pool, story: Story, dice: random.Random) -> None:
    """Holes in grains and of grains, over the log and over slots, written again afterwards."""
    for name, kind in story.kinds.items():
        disk, grain = volume(pool, name), kind.grain
        story.write(disk, name, 0, dice.randbytes(3 * grain))
        story.write(disk, name, grain, dice.randbytes(4096))
        story.zero(disk, name, grain, grain)
        story.write(disk, name, grain + 512, dice.randbytes(512))
        story.flush(pool)
        story.zero(disk, name, 512, grain - 512)
        story.zero(disk, name, 2 * grain - 512, grain)
        story.write(disk, name, 2 * grain, dice.randbytes(4096))
        story.zero(disk, name, 0, 3 * grain)


def destaging(pool: Pool, story: Story, dice: random.Random) -> None:
    """The log moves to grains by work(), with checkpoints and new writes in between."""
    for name, kind in story.kinds.items():
        disk = volume(pool, name)
        for _ in range(3):
            for _ in range(4):
                offset = dice.randrange(64) * 4096
                story.write(disk, name, offset, dice.randbytes(4096))
            for grain in range(0, 64 * 4096 // kind.grain, 3):
                pool.engine.destage(pool.disk(name), grain)
            pool.engine.commit()
            if dice.random() < 0.5:
                story.flush(pool)
            else:
                pool.checkpoint()


def checkpoints(pool: Pool, story: Story, dice: random.Random) -> None:
    """Space is freed and used again, checkpoint after checkpoint; segments of the log come and go."""
    for number in range(5):
        for name, kind in story.kinds.items():
            disk = volume(pool, name)
            story.write(disk, name, 0, dice.randbytes(4 * kind.grain))
            story.write(disk, name, dice.randrange(100) * 512, dice.randbytes(512))
        if number % 2:
            pool.new_segment()
        pool.checkpoint()


def ring_goes_round(pool: Pool, story: Story, dice: random.Random) -> None:
    """More commit records without a flush than the ring has places."""
    name = next(iter(story.kinds))
    disk = volume(pool, name)
    for number in range(20):
        story.write(disk, name, number * 4096, dice.randbytes(4096))
        pool.write_commit()


def random_calls(pool: Pool, story: Story, dice: random.Random) -> None:
    names = list(story.kinds)
    for _ in range(25):
        name = dice.choice(names)
        kind, disk, call = story.kinds[name], volume(pool, name), dice.random()
        length = dice.choice([512, 3072, 4096, 8192, kind.grain, 2 * kind.grain, 20 * 512])
        offset = dice.randrange(MIB // 2 // S) * S
        if dice.random() < 0.5:
            offset = offset // kind.grain * kind.grain
        if call < 0.55:
            story.write(disk, name, offset, dice.randbytes(length), fua=dice.random() < 0.1)
        elif call < 0.72:
            story.zero(disk, name, offset, length, fua=dice.random() < 0.1)
        elif call < 0.82:
            story.flush(pool)
        elif call < 0.88:
            pool.engine.destage(pool.disk(name), offset // kind.grain)
        elif call < 0.92:
            pool.new_segment()
        else:
            pool.checkpoint()


SCRIPTS = (small_writes, grains, zeros, destaging, checkpoints, ring_goes_round)


@pytest.mark.parametrize("pool_name", POOLS)
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_every_moment_of_a_script(pool_name: str, script: Script) -> None:
    survive(*run(pool_name, script, 1), POOLS[pool_name][2], 1)


@pytest.mark.parametrize("pool_name", POOLS)
@pytest.mark.parametrize("seed", range(60) if LONG else range(3))
def test_every_moment_of_random_calls(pool_name: str, seed: int) -> None:
    survive(*run(pool_name, random_calls, seed), POOLS[pool_name][2], seed)


@pytest.mark.parametrize("pool_name", MORE)
@pytest.mark.parametrize("script", [grains, destaging, random_calls], ids=lambda script: script.__name__)
def test_moments_of_the_levels_that_survive_more(pool_name: str, script: Script) -> None:
    survive(*run(pool_name, script, 1), MORE[pool_name][2], 1, most=3)


@pytest.mark.parametrize(
    ("pool_name", "groups"),
    [("raid10", ("01", "23")), ("raid50", ("012", "345")), ("raid60", ("0123", "4567"))],
)
def test_of_each_group_as_many_may_be_lost(pool_name: str, groups: tuple[str, str]) -> None:
    """The copies of the log and of the map are there, too, though more members are gone than were promised."""
    disk, story = run(pool_name, random_calls, 3)
    each = MORE[pool_name][2]
    for crash in disk.crashes(exhaustive_below=1, samples=1, at={disk.boundaries // 2, disk.boundaries - 1}):
        with crash:
            opened = crash.disk()
            _, found = checked(opened.members, story.allowed(crash.kind, crash.marks))
            ways = [list(itertools.combinations(group, each)) for group in groups]
            for lost in itertools.islice(itertools.product(*ways), 0, None, 1 if LONG else 5):
                names = {f"m{number}" for part in lost for number in part}
                left = {
                    name: PythonMember(file.copy(), name) for name, file in opened.files.items() if name not in names
                }
                assert contents(reopen(left, degraded=True)) == found, names


# --- members that fail -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["write", "sync"])
@pytest.mark.parametrize("pool_name", ["raid5", "raid1", "mixed", "raid6"])
@pytest.mark.parametrize("after", range(0, 60, 2) if LONG else (0, 3, 9, 30))
def test_a_member_fails_and_then_the_machine(pool_name: str, call: str, after: int) -> None:
    """The one that failed holds what it held then; the pool opens without another loss, with it or without."""

    def script(pool: Pool, story: Story, dice: random.Random) -> None:
        story.disk.fail(errno.EIO, "m1", call, after=after if call == "write" else after // 9, part=700)
        random_calls(pool, story, dice)
        assert after > 9 or pool.present().keys() == set(range(len(pool.rows))) - {1}

    disk, story = run(pool_name, script, after)
    survive(disk, story, 0, after)
    for crash in disk.crashes(exhaustive_below=2, samples=2, at={disk.boundaries - 1}):
        with crash:
            checked(crash.members(without=["m1"]), story.allowed(crash.kind, crash.marks), degraded=True)


@pytest.mark.parametrize("pool_name", ["raid5", "linear", "mixed"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("call", ["write", "sync"])
@pytest.mark.parametrize("seed", range(12) if LONG else range(3))
def test_the_host_is_in_trouble_for_a_while(pool_name: str, number: int, call: str, seed: int) -> None:
    """A full file system under some members, or an I/O error on all of them: the pool waits, forgets nothing, blames
    nobody, and goes on; and it may be killed or lose its power at any moment of that."""
    everybody = call == "sync" or number == errno.EIO  # a sync that fails ends a member: nothing goes on after it

    def script(pool: Pool, story: Story, dice: random.Random) -> None:
        between: list[Callable[[], object]] = [pool.checkpoint, pool.flush, pool.new_segment, bool]
        for _ in range(6):
            name = dice.choice(list(story.kinds))
            disk = volume(pool, name)
            victim = None if everybody else dice.choice([None, *story.disk.files])
            after = 0 if call == "sync" else dice.randrange(12)
            fault = story.disk.fail(number, victim, call, after=after, part=dice.choice([0, 512]))
            for _ in range(5):
                length = dice.choice([512, 4096, story.kinds[name].grain])
                offset = dice.randrange(MIB // 2 // length) * length
                data = dice.randbytes(length)
                try:
                    dice.choice(between)()
                    story.write(disk, name, offset, data)
                except Suspended:
                    fault.times = 0
                    if call == "sync":
                        return
                    story.write(disk, name, offset, data)
                    story.flush(pool)
                    pool.checkpoint()
            fault.times = 0
        assert len(pool.present()) == len(pool.rows)

    survive(*run(pool_name, script, seed), POOLS[pool_name][2], seed)


def test_a_write_that_is_refused_for_good_is_old_or_new() -> None:
    """One member of a pool without redundancy is gone: what was on it is an error, and nothing else."""
    disk, _story = run("raid0", grains, 1)
    pool = reopen(disk.members)
    before = volume(pool, "raid0-0").read(0, 2 * MIB)
    pool.lose(1, "pulled out")
    errors = right = 0
    for offset in range(0, 8 * 32768, 4096):
        try:
            assert volume(pool, "raid0-0").read(offset, 4096) == before[offset : offset + 4096]
            right += 1
        except BlockError as error:
            assert error.errno == errno.EIO
            errors += 1
    assert errors and right
