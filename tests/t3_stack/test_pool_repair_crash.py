"""Replacing a member and scrubbing, under writes, crashed at any moment: nothing is lost, and the job begins again."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator

import pytest

from storvirt.backing.member import PythonMember
from storvirt.pool import format as f
from storvirt.pool.membership import unfinished
from storvirt.pool.pool import Pool, PoolError, Suspended
from storvirt.pool.repair import Replace, Scrub
from tests.support.crashdisk import Crash, CrashDisk
from tests.support.poolrig import EXTENT, MEMBER, MIB, Kind, Story, audit, contents, formatted, reopen, volume
from tests.support.simfile import SimFile

LONG = bool(os.environ.get("VFAB_LONG"))
pytestmark = [pytest.mark.long] if LONG else []  # then they may take long
KINDS = (Kind("raid5", MIB), Kind("raid1", MIB, 4096))
IDENT = b"the new one's id"


def begin(seed: int, gone: bool) -> tuple[CrashDisk, Story, Pool, random.Random]:
    """A pool with content in grains and in the log; its member 1 is missing, or there."""
    files: dict[str, int | SimFile] = {**formatted(4, KINDS), "new": MEMBER}
    disk, dice = CrashDisk(files, seed), random.Random(seed)
    story = Story(disk, KINDS)
    old = [name for name in disk.members if name != "new" and not (gone and name == "m1")]
    pool = reopen({name: disk.members[name] for name in old}, degraded=gone)
    for name in story.kinds:
        story.write(volume(pool, name), name, 0, dice.randbytes(5 * 65536))
    for _ in range(4):
        some_writes(pool, story, dice)
    pool.checkpoint()
    some_writes(pool, story, dice)
    return disk, story, pool, dice


def some_writes(pool: Pool, story: Story, dice: random.Random) -> None:
    for name, kind in story.kinds.items():
        length = dice.choice([512, 4096, kind.grain, 3 * kind.grain])
        story.write(volume(pool, name), name, dice.randrange((MIB // 2 - length) // 512) * 512, dice.randbytes(length))


def opened(crash: Crash) -> Pool:
    """With the files that make a pool: without a new one that is no member yet, or an old one that is none any more."""
    for without in ((), ("new",), ("m1",), ("new", "m1")):
        try:
            return reopen(crash.members(without=without), degraded="m1" in without)
        except PoolError:
            continue
    raise AssertionError("no set of the files makes a pool")


def moments(disk: CrashDisk, seed: int, most: int) -> Iterator[Crash]:
    step = 1 if LONG else max(1, disk.boundaries // most)
    for boundary in range(seed % step, disk.boundaries, step):
        found = list(disk.crashes(exhaustive_below=2, samples=3, at={boundary}))
        yield from found if LONG else random.Random(boundary).sample(found, 1)


@pytest.mark.parametrize("gone", [True, False], ids=["lost", "readable"])
@pytest.mark.parametrize("seed", range(8) if LONG else range(2))
def test_a_member_is_replaced(seed: int, gone: bool) -> None:
    disk, story, pool, dice = begin(seed, gone)
    job = Replace(pool, 1, disk.members["new"], IDENT)
    while job.step():
        some_writes(pool, story, dice)
        if dice.random() < 0.1:
            pool.checkpoint()
    some_writes(pool, story, dice)
    audit(pool)
    for crash in moments(disk, seed, 20):
        with crash:
            finish(crash, story)


def finish(crash: Crash, story: Story) -> None:
    """Opened after a crash: the content is right; a job that was not finished is done again; then any may be lost."""
    pool = opened(crash)
    found = contents(pool)
    assert not story.allowed(crash.kind, crash.marks).differences(found)
    audit(pool)
    by_name = {member.name: number for number, member in pool.present().items()}
    begun = [(1, by_name["new"])] if pool.rows[1].state != f.REMOVED and "new" in by_name else []
    assert unfinished(pool) == begun, "who is a member says in whose place"
    for old, new in begun:
        job = Replace(pool, old, new)
        while job.step():
            pass
        assert contents(pool) == found
        audit(pool)
    if len(pool.present()) == 4:
        pool.lose(sorted(pool.present())[crash.boundary % 4], "pulled out")
        assert contents(pool) == found


@pytest.mark.parametrize("seed", range(8) if LONG else range(3))
def test_a_member_of_volumes_without_redundancy_is_replaced(seed: int) -> None:
    """What is not flushed is old or new: the old slots of what is written meanwhile are needed until a checkpoint."""
    kinds = (Kind("linear", MIB, 4096), Kind("raid0", MIB))
    disk, dice = CrashDisk({**formatted(3, kinds), "new": MEMBER}, seed), random.Random(seed)
    story = Story(disk, kinds)
    pool = reopen({name: disk.members[name] for name in ("m0", "m1", "m2")})
    for name in story.kinds:
        story.write(volume(pool, name), name, 0, dice.randbytes(5 * 65536))
    story.flush(pool)
    job = Replace(pool, 1, disk.members["new"], IDENT)
    more = True
    while more:
        for name in story.kinds:
            story.write(volume(pool, name), name, dice.randrange(10) * 32768, dice.randbytes(32768))
        more = job.step()
    some_writes(pool, story, dice)
    audit(pool)
    for crash in moments(disk, seed, 25):
        with crash:
            pool = opened(crash)
            assert not story.allowed(crash.kind, crash.marks).differences(contents(pool))


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("after", range(0, 70, 7))
def test_the_new_member_fails(number: int, after: int) -> None:
    """Nobody else is blamed, what is written meanwhile is there, and another one takes its place."""
    kinds = (Kind("linear", MIB, 4096), Kind("raid5", MIB))
    disk, dice = CrashDisk({**formatted(3, kinds), "new": MEMBER, "other": MEMBER}, after), random.Random(after)
    story = Story(disk, kinds)
    pool = reopen({name: disk.members[name] for name in ("m0", "m1", "m2")})
    for name in story.kinds:
        story.write(volume(pool, name), name, 0, dice.randbytes(5 * 65536))
    pool.checkpoint()
    job = Replace(pool, 1, disk.members["new"], IDENT)
    fault = disk.fail(number, "new", "write", after=after)
    expected = contents(pool)
    try:
        while job.step():
            assert contents(pool) == expected
            some_writes(pool, story, dice)
            expected = contents(pool)
    except (PoolError, Suspended):
        fault.times = 0
    assert pool.rows[1].state in (f.IN, f.REMOVED)
    assert contents(pool) == expected
    if pool.rows[1].state == f.IN:
        again = Replace(pool, 1, disk.members["other"], b"the other one's.")
        while again.step():
            some_writes(pool, story, dice)
            expected = contents(pool)
        assert contents(pool) == expected
        audit(pool)


def test_the_new_member_is_replaced_before_it_is_done() -> None:
    """Who takes its place takes the old one's as well; and a number that is used again is nobody's successor."""
    disk = CrashDisk({**formatted(4, KINDS), "new": MEMBER, "other": MEMBER, "third": MEMBER}, 1)
    pool = reopen({name: disk.members[name] for name in ("m0", "m1", "m2", "m3")})
    volume(pool, "raid5-0").write(0, b"x" * 500_000)
    Replace(pool, 1, disk.members["new"], IDENT)
    assert unfinished(pool) == [(1, 4)]
    _all_of(Replace(pool, 4, disk.members["other"], b"the other one's."))
    assert unfinished(pool) == [(1, 5)]
    del disk.members["third"]
    pool = reopen({name: member for name, member in disk.members.items() if name != "new"})
    assert unfinished(pool) == [(1, 5)] and [row.hint for row in pool.rows][4:] == ["new", "other"]
    _all_of(Replace(pool, 1, 5))
    assert unfinished(pool) == [] and pool.rows[1].successor == 5
    third = PythonMember(SimFile(MEMBER), "third")
    job = Replace(pool, 5, third, b"the third one's.")
    assert job.new == 1 and unfinished(pool) == [(5, 1)] and pool.rows[4].successor == 5
    _all_of(job)
    assert pool.rows[5].state == f.REMOVED and contents(pool)["raid5-0"][:500_000] == b"x" * 500_000
    with pytest.raises(PoolError, match="no member number 4 that could take a place"):
        Replace(pool, 0, 4)
    audit(pool)


def _all_of(job: Replace) -> None:
    while job.step():
        pass


@pytest.mark.parametrize("seed", range(8) if LONG else range(2))
def test_a_scrub_mends_what_lies(seed: int) -> None:
    disk, story, pool, dice = begin(seed, False)
    rotten = 0
    for slab in pool.engine.all_slabs():
        for place in slab.places:
            for slot in slab.in_use() if place.member == 2 and slab.use != f.LOG else ():
                at = f.EXTENTS_AT + place.extent * EXTENT + slot * slab.column + dice.randrange(8) * 512
                disk.members["m2"].write(at, dice.randbytes(512))
                rotten += 1
    expected = contents(pool)
    scrub = Scrub(pool)
    while scrub.step():
        some_writes(pool, story, dice)
        expected = contents(pool)
    assert 0 < scrub.healed <= rotten and not scrub.lost
    assert contents(pool) == expected
    again = Scrub(pool)
    while again.step():
        pass
    assert not again.found
    audit(pool)
    for lost in ("m0", "m1", "m3"):
        left = {name: PythonMember(file.copy(), name) for name, file in disk.files.items() if name not in ("new", lost)}
        assert contents(reopen(left, degraded=True)) == expected
    for crash in moments(disk, seed, 15):
        with crash:
            after = opened(crash)
            assert not story.allowed(crash.kind, crash.marks).differences(contents(after))
            audit(after)
