"""Opening a pool after a kill: what was not flushed of its log, and nothing else, is written again, on all copies, and
before the columns of the grains that it speaks of."""

from __future__ import annotations

import errno
import random
from typing import NamedTuple

import pytest

from storvirt.backing.member import PythonMember
from storvirt.pool import format as f
from tests.support.crashdisk import CrashDisk
from tests.support.poolrig import EXTENT, MEMBER, Kind, audit, contents, make, reopen, volume

MIB = 1 << 20


class Killed(NamedTuple):
    """What was in its volumes; the first byte of the log's segment that was not flushed; where in which file its copies
    begin; the extents of grains, by file."""

    disk: CrashDisk
    contents: dict[str, bytes]
    flushed: int
    copies: dict[str, int]
    grains: set[tuple[str, int]]


def killed(dice: random.Random) -> Killed:
    disk = CrashDisk({f"m{number}": MEMBER for number in range(4)})
    pool = make(list(disk.members.values()), (Kind("raid5"), Kind("raid6")))
    flushed = 0
    for number in range(30):
        name = dice.choice(("raid5-0", "raid6-1"))
        volume(pool, name).write(dice.randrange(0, MIB, 4096), dice.randbytes(4096))
        if number % 7 == 3:
            volume(pool, name).write(dice.randrange(32) * 32768, dice.randbytes(32768))
        if number == 15:
            pool.flush()
            flushed = pool.engine.segment_end
    assert len(pool.segments) == 1 and flushed
    slabs = pool.commit_value().slabs
    (log,) = (slab for slab in slabs if slab.use == f.LOG)
    places = {f"m{member}": f.EXTENTS_AT + extent * EXTENT for member, extent in log.columns}
    grains = {(f"m{member}", extent) for slab in slabs if slab.use == f.DATA for member, extent in slab.columns}
    return Killed(disk, contents(pool), flushed, places, grains)


@pytest.mark.parametrize("seed", range(3))
def test_what_was_not_flushed_is_written_again_before_its_columns(seed: int) -> None:
    was = killed(random.Random(seed))
    again = CrashDisk(was.disk.files)
    pool = reopen(again.members)
    assert contents(pool) == was.contents
    audit(pool)
    writes = [(event.name, *event.args) for event in again.events if event.call == "write"]
    grains = [n for n, (name, at, _) in enumerate(writes) if (name, (at - f.EXTENTS_AT) // EXTENT) in was.grains]
    log = {
        n: (name, at - was.copies[name], data)
        for n, (name, at, data) in enumerate(writes)
        if name in was.copies and 0 <= at - was.copies[name] < EXTENT
    }
    assert sorted(name for name, _, _ in log.values()) == sorted(was.copies)
    assert grains and max(log) < min(grains)
    for name, at, data in log.values():
        assert at == was.flushed, "in one go, from the first that was not flushed on"
        assert was.disk.files[name].read(was.copies[name] + at, len(data)) == data, "the bytes that are there"


@pytest.mark.parametrize("lost", range(4))
def test_what_only_one_copy_has_is_on_all_of_them(lost: int) -> None:
    was = killed(random.Random(7))
    for number, (name, start) in enumerate(was.copies.items()):
        if number:
            was.disk.files[name].write(start + was.flushed + 4096 * number, bytes(512))
    again = CrashDisk(was.disk.files)
    assert contents(reopen(again.members)) == was.contents
    tails = {again.files[name].read(start + was.flushed, 65536) for name, start in was.copies.items()}
    assert len(tails) == 1
    left = {name: PythonMember(file.copy(), name) for name, file in again.files.items() if name != f"m{lost}"}
    assert contents(reopen(left, degraded=True)) == was.contents


@pytest.mark.parametrize("copy", range(3))
def test_a_copy_that_cannot_be_written_is_out_and_the_others_have_it(copy: int) -> None:
    was = killed(random.Random(8))
    name, start = list(was.copies.items())[copy]
    rehearsal = CrashDisk(was.disk.files)
    reopen(rehearsal.members)
    writes = [event.args[0] for event in rehearsal.events if (event.name, event.call) == (name, "write")]
    again = CrashDisk(was.disk.files)
    again.fail(errno.EIO, name, "write", after=writes.index(start + was.flushed), times=1, part=2048)
    pool = reopen(again.members)
    assert contents(pool) == was.contents
    assert [number for number, row in enumerate(pool.rows) if row.state == f.OUT] == [int(name[1:])]
    left = {other: PythonMember(file.copy(), other) for other, file in again.files.items() if other != name}
    assert contents(reopen(left, degraded=True)) == was.contents
