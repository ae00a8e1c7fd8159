"""Commit records that can't be finished: a member fails one, and then all of them fail for a while. What counts as
durable must be on every member that is in, and what a record said that was never finished must bind nobody for good."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from contextlib import suppress

import pytest

from storvirt.backing.member import PythonMember
from storvirt.pool import flush as flushes
from storvirt.pool.assemble import look
from storvirt.pool.format import DATA, IN, OUT, RING_PLACES
from storvirt.pool.fsck import fsck
from storvirt.pool.job import Job
from storvirt.pool.members import NOT_DURABLE
from storvirt.pool.pool import Pool, Suspended
from storvirt.pool.rejoin import Rejoin
from storvirt.pool.repair import Replace
from tests.support.crashdisk import CrashDisk, Fault
from tests.support.poolrig import MIB, Kind, Story, audit, contents, formatted, reopen, volume

LONG = bool(os.environ.get("VFAB_LONG"))
COUNT = 4


def rig(raid: str = "raid5") -> tuple[CrashDisk, Pool]:
    disk = CrashDisk(formatted(COUNT, (Kind(raid, MIB),)))
    pool = reopen(disk.members)
    volume(pool, f"{raid}-0").write(0, random.Random(1).randbytes(200_000))
    pool.flush()
    return disk, pool


def failed_while_it_was_called_out(disk: CrashDisk, pool: Pool, victim: int) -> None:
    """The victim fails a record; the one that calls it out fails on all others; then the trouble is over."""
    number = pool.number
    faults = [disk.fail(errno.EIO, f"m{n}", "write", after=0 if n == victim else 1, part=100) for n in range(COUNT)]
    with pytest.raises(Suspended, match="can't do without"):
        pool.write_commit()
    assert pool.number == number + 2 and len(pool.present()) == COUNT, "nobody is blamed"
    for fault in faults:
        fault.times = 0


def newest(disk: CrashDisk) -> list[int]:
    return [look(member).newest for member in disk.members.values()]


@pytest.mark.parametrize("victim", range(COUNT))
@pytest.mark.parametrize("apart", [False, True])
def test_what_one_member_lacks_is_not_durable(victim: int, apart: bool) -> None:
    disk, pool = rig()
    begin = disk.boundaries
    failed_while_it_was_called_out(disk, pool, victim)
    assert pool.written <= min(newest(disk)) < max(newest(disk))
    if apart:
        round_ = flushes.begin(pool)
        assert flushes.end(pool, round_, flushes.sync(round_))
    else:
        pool.flush()
    assert pool.witness[0] <= min(newest(disk))
    pool.new_segment()
    found = contents(pool)
    for crash in disk.crashes(samples=2, exhaustive_below=2, at=range(begin, disk.boundaries, 1 if LONG else 4)):
        with crash:
            assert fsck(list(crash.members().values())).clean
            assert contents(reopen(crash.members())) == found
    for lost in disk.files:
        left = {name: PythonMember(file.copy(), name) for name, file in disk.files.items() if name != lost}
        assert contents(reopen(left, degraded=True)) == found, "a flush says that all of them count again"


@pytest.mark.parametrize("victim", [0, 3])
def test_who_was_nearly_called_out_has_no_record_that_says_so(victim: int) -> None:
    """Else it would have another history, for ever, if the machine fails before the next record."""
    disk, pool = rig()
    before = pool.number
    failed_while_it_was_called_out(disk, pool, victim)
    pool.flush()
    rings = [look(member).ring for member in disk.members.values()]
    assert before + 2 not in rings[victim] and all(pool.number in ring for ring in rings)
    assert all(before + 2 in ring for number, ring in enumerate(rings) if number != victim)
    assert sorted(pool.present()) == list(range(COUNT)) and not pool.events
    audit(pool)


def test_a_record_that_was_finished_is_not_written_over_by_the_one_before() -> None:
    """One is called out; at the fsyncs that this needs another one fails, and is out; and then a third, too many."""
    disk, pool = rig("raid6")
    while pool.number + 2 - pool.durable <= NOT_DURABLE:
        pool.write_commit()
    disk.fail(errno.EIO, "m1", "write", times=1)
    disk.fail(errno.EIO, "m2", "sync", times=1)
    disk.fail(errno.EIO, "m3", "sync", after=2, times=1)
    with pytest.raises(Suspended):
        pool.write_commit()
    assert sorted(pool.present()) == [0, 1, 3]
    pool.write_commit()
    assert sorted(pool.present()) == [0, 1], "by now the first one is there again, and the third can be done without"
    ring = look(disk.members["m0"]).ring
    assert sorted(ring) == list(range(pool.number - RING_PLACES + 1, pool.number + 1)), "no record is missing"


def test_a_member_that_takes_no_record_for_long_is_out_before_its_ring_is_overrun() -> None:
    """Each time the record that calls it out fails on all others; for them, every second record comes to its end."""
    disk, pool = rig()
    disk.fail(errno.EIO, "m1", "write")
    has = look(disk.members["m1"]).newest
    for cycle in range(8):
        faults = [disk.fail(errno.EIO, f"m{n}", "write", after=2 if cycle else 1) for n in (0, 2, 3)]
        with suppress(Suspended):
            pool.write_commit()
        for fault in faults:
            fault.times = 0
        if 1 not in pool.present():
            break
        assert pool.number - has < RING_PLACES
    assert cycle > 4 and any("m1 is out: it took none" in event for event in pool.events)
    pool.flush()
    found = contents(pool)
    audit(pool)
    assert look(disk.members["m1"]).newest == has
    assert contents(reopen(disk.members)) == found


# --- records that were called off: whoever asked for them went on without


def called_off(disk: CrashDisk, pool: Pool, job: Job, begins: Callable[[], bool]) -> None:
    """The record for which `begins` holds first comes to one member only."""
    write, faults = pool.write_commit, list[Fault]()

    def write_commit() -> None:
        if begins() and not faults:
            faults.extend(disk.fail(errno.ENOSPC, name, "write") for name in disk.files if name != "m0")
        write()

    pool.write_commit = write_commit  # type: ignore[method-assign]  # to be there at that moment
    with pytest.raises(Suspended):
        while job.step():
            pass
    assert faults
    pool.write_commit = write  # type: ignore[method-assign]  # as it was
    for fault in faults:
        fault.times = 0


def test_one_that_was_nearly_in_again_is_not_believed_to_be() -> None:
    """It misses what is written from then on, and one member has the record that calls it in."""
    disk, pool = rig()
    pool.lose(1, "pulled out")
    volume(pool, "raid5-0").write(0, bytes(65536))
    called_off(disk, pool, Rejoin(pool, disk.members["m1"]), lambda: pool.rows[1].state == IN)
    assert pool.rows[1].state == OUT
    volume(pool, "raid5-0").write(0, random.Random(2).randbytes(65536))
    pool.flush()
    found = contents(pool)
    for crash in disk.crashes(samples=2, exhaustive_below=2, at={disk.boundaries - 1}):
        with crash:
            pool = reopen(crash.members())
            assert pool.rows[1].state == OUT and contents(pool) == found


@pytest.mark.parametrize("seed", range(20) if LONG else range(3))
def test_the_place_that_a_column_was_nearly_moved_to_is_not_used_before_that_is_sure(seed: int) -> None:
    kinds, dice = (Kind("linear", 2 * MIB),), random.Random(seed)
    disk = CrashDisk({**formatted(2, kinds), "new": 40 * MIB}, seed)
    pool, story = reopen({name: disk.members[name] for name in ("m0", "m1")}), Story(disk, kinds)
    story.write(volume(pool, "linear-0"), "linear-0", 0, dice.randbytes(MIB))
    story.flush(pool)
    job, rows = Replace(pool, 1, disk.members["new"], b"the new one's id"), pool._slab_rows
    called_off(disk, pool, job, lambda: any(row.use == DATA and row.columns[0].member == 2 for row in rows.values()))
    assert all(row.use != DATA or row.columns[0].member != 2 for row in rows.values()), "it stays where it was"
    begin = disk.boundaries
    for offset in range(MIB, MIB + MIB // 2, MIB // 8):
        story.write(volume(pool, "linear-0"), "linear-0", offset, dice.randbytes(MIB // 8))
    for crash in disk.crashes(("power",), samples=6, exhaustive_below=2, at=range(begin, disk.boundaries, 3)):
        with crash:
            assert not story.allowed(crash.kind, crash.marks).differences(contents(reopen(crash.members())))
