"""A member that was away comes back: it is given what it missed, under writes, crashed at any moment."""

from __future__ import annotations

import errno
import random

import pytest

from storvirt.backing.member import PythonMember
from storvirt.pool import format as f
from storvirt.pool.pool import Pool, PoolError, Suspended
from storvirt.pool.rejoin import Rejoin
from storvirt.pool.repair import Replace, Scrub
from storvirt.pool.unfinished import at_opening
from tests.support.crashdisk import Crash, CrashDisk
from tests.support.poolrig import MIB, Kind, Story, audit, contents, formatted, reopen, volume
from tests.t3_stack.test_pool_evacuate_crash import moments
from tests.t3_stack.test_pool_repair_crash import LONG, some_writes

pytestmark = [pytest.mark.long] if LONG else []  # then they may take long
KINDS = (Kind("raid5", MIB), Kind("raid1", MIB, 4096))


def begin(seed: int, away: int, count: int = 4) -> tuple[CrashDisk, Story, Pool, random.Random]:
    """Member 1 was there for most of it, and then `away` checkpoints long it was not."""
    disk, dice = CrashDisk(formatted(count, KINDS), seed), random.Random(seed)
    story = Story(disk, KINDS)
    pool = reopen(disk.members)
    for name in story.kinds:
        story.write(volume(pool, name), name, 0, dice.randbytes(8 * 65536))
    some_writes(pool, story, dice)
    pool.checkpoint()
    some_writes(pool, story, dice)
    pool.lose(1, "pulled out")
    for _ in range(away):
        some_writes(pool, story, dice)
        pool.checkpoint()
    some_writes(pool, story, dice)
    return disk, story, pool, dice


def scrubbed(pool: Pool) -> list[str]:
    job = Scrub(pool)
    while job.step():
        pass
    return job.found


@pytest.mark.parametrize("count", [3, 4])
@pytest.mark.parametrize("away", [0, 3, 20])
@pytest.mark.parametrize("seed", range(6) if LONG else range(1))
def test_it_comes_back(seed: int, away: int, count: int) -> None:
    disk, story, pool, dice = begin(seed, away, count)
    job = Rejoin(pool, disk.members["m1"])
    used = sum(slab.used for slab in pool.engine.all_slabs() if slab.use != f.LOG)
    assert job.since > 0 and job.progress.total < used // (1 if away == 20 else 2), "only what it missed"
    while job.step():
        assert pool.status()["members"][1]["state"] == "writing only"
        some_writes(pool, story, dice)
        if dice.random() < 0.2:
            pool.checkpoint()
    assert pool.rows[1].state == f.IN and pool.status()["members"][1]["state"] == "in"
    assert not any(slab.missing for slab in pool.engine.all_slabs() if slab.used)
    some_writes(pool, story, dice)
    found = contents(pool)
    assert scrubbed(pool) == []
    audit(pool)
    for crash in moments(disk, seed, 15):
        with crash:
            finish(crash, story)
    pool.lose(2, "pulled out")
    assert contents(pool) == found


def finish(crash: Crash, story: Story) -> None:
    """Opened after a crash: the content is right; the member comes back once more; then any may be lost."""
    members = crash.members()
    pool = reopen(members)
    found = contents(pool)
    assert not story.allowed(crash.kind, crash.marks).differences(found)
    if pool.rows[1].state == f.OUT:
        job = Rejoin(pool, members["m1"])
        while job.step():
            pass
    assert contents(pool) == found
    audit(pool)
    pool.lose((0, 2)[crash.boundary % 2], "pulled out")
    assert contents(pool) == found


@pytest.mark.parametrize("seed", range(6) if LONG else range(2))
def test_what_was_written_without_it_gets_its_second_copy(seed: int) -> None:
    """Of two members, log and map were on one only: when the other is in again, either may be lost; also if the job was
    cut short right behind that."""
    disk, dice = CrashDisk(formatted(2, KINDS[1:]), seed), random.Random(seed)
    story = Story(disk, KINDS[1:])
    pool = reopen(disk.members)
    some_writes(pool, story, dice)
    pool.lose(1, "pulled out")
    for _ in range(2):
        some_writes(pool, story, dice)
        pool.checkpoint()
    some_writes(pool, story, dice)
    job = Rejoin(pool, disk.members["m1"])
    while job.step():
        pass
    for crash in moments(disk, seed, 20):
        with crash:
            after = reopen(crash.members())
            found = contents(after)
            assert not story.allowed(crash.kind, crash.marks).differences(found)
            job = at_opening(after)
            while job is not None and job.step():
                pass
            audit(after)
            if after.rows[1].state == f.IN:
                after.lose(crash.boundary % 2, "pulled out")
                assert contents(after) == found
    found = contents(pool)
    pool.lose(0, "pulled out")
    assert contents(pool) == found


def test_one_whose_record_is_not_known_any_more_is_written_anew() -> None:
    disk, _story, pool, _dice = begin(5, 20)
    pool.close()
    files = {name: PythonMember(file.copy(), name) for name, file in disk.files.items()}
    pool = reopen(files)
    job = Rejoin(pool, files["m1"])
    assert job.since == 0
    while job.step():
        pass
    assert scrubbed(pool) == []


def test_who_may_not_come_back() -> None:
    disk, _story, pool, _dice = begin(6, 1)
    with pytest.raises(PoolError, match="member m2 of pool rig is not out"):
        Rejoin(pool, disk.members["m2"])
    stranger = CrashDisk(formatted(3, KINDS), 1)
    pool.rows[1] = pool.rows[1]._replace(since=1)
    with pytest.raises(PoolError, match="m1 has commit records from after it was called out"):
        Rejoin(pool, disk.members["m1"])
    pool.rows[1] = pool.rows[1]._replace(member=b"somebody else's.")
    with pytest.raises(PoolError, match="m1 is no member of pool rig"):
        Rejoin(pool, stranger.members["m1"])


def test_an_fsync_that_failed_is_never_forgiven() -> None:
    disk, _story, pool, _dice = begin(7, 0)
    job = Rejoin(pool, disk.members["m1"])
    while job.step():
        pass
    disk.fail(errno.EIO, "m1", "sync")
    pool.flush()
    assert pool.rows[1][1:2] + pool.rows[1][4:5] == (f.OUT, f.ENDED)
    pool.close()
    files = {name: PythonMember(file.copy(), name) for name, file in disk.files.items()}
    pool = reopen(files)
    with pytest.raises(PoolError, match="an fsync of member m1 failed"):
        Rejoin(pool, files["m1"])
    new = PythonMember(formatted(3, KINDS)["m0"], "new")
    job2 = Replace(pool, 1, new, b"the new one's id")
    while job2.step():
        pass
    assert pool.rows[1].state == f.REMOVED


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("after", [0, 3, 9, 20, 40])
def test_it_fails_again(number: int, after: int) -> None:
    """Nobody else is blamed, the content is right, and it may try once more."""
    disk, story, pool, dice = begin(after, 3)
    fault = disk.fail(number, "m1", "write", after=after)
    job = Rejoin(pool, disk.members["m1"])
    try:
        while job.step():
            some_writes(pool, story, dice)
    except (PoolError, Suspended):
        pass
    fault.times = 0
    found = contents(pool)
    assert all(pool.rows[n].state == f.IN for n in (0, 2, 3))
    if pool.rows[1].state == f.OUT:
        if pool.joining:
            job.cancel()
        again = PythonMember(disk.members["m1"].inner, "m1")
        job = Rejoin(pool, again)
        while job.step():
            pass
    assert contents(pool) == found and not pool.joining
    audit(pool)
    assert scrubbed(pool) == []
    pool.lose(3, "pulled out")
    assert contents(pool) == found
