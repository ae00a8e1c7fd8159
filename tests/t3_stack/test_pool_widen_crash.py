"""A member more, larger members, data spread over all: under writes, crashed at any moment."""

from __future__ import annotations

import random

import pytest

from storvirt.pool import format as f
from storvirt.pool.mirrors import is_thin
from storvirt.pool.pool import Pool, PoolError
from storvirt.pool.widen import Add, Rebalance, candidates, grow_members
from tests.support.crashdisk import CrashDisk
from tests.support.poolrig import EXTENT, MEMBER, MIB, Kind, Story, audit, contents, formatted, reopen, volume
from tests.t3_stack.test_pool_evacuate_crash import moments
from tests.t3_stack.test_pool_repair_crash import IDENT, LONG, opened, some_writes

KINDS = (Kind("raid5", 2 * MIB), Kind("raid6", MIB, 4096))


def begin(seed: int, count: int) -> tuple[CrashDisk, Story, Pool, random.Random]:
    disk = CrashDisk({**formatted(count, KINDS), "new": MEMBER}, seed)
    story, dice = Story(disk, KINDS), random.Random(seed)
    pool = reopen({name: member for name, member in disk.members.items() if name != "new"})
    for name in story.kinds:
        story.write(volume(pool, name), name, 0, dice.randbytes(10 * 65536))
    for _ in range(4):
        some_writes(pool, story, dice)
    return disk, story, pool, dice


@pytest.mark.parametrize("seed", range(8) if LONG else range(2))
def test_a_member_is_added_and_takes_its_share(seed: int) -> None:
    disk, story, pool, dice = begin(seed, 4)
    job = Add(pool, disk.members["new"], IDENT)
    while job.step():
        some_writes(pool, story, dice)
    assert job.new == 4 and pool.rows[4].state == f.IN and not any(is_thin(pool, s) for s in pool.engine.all_slabs())
    assert candidates(pool)
    spread = Rebalance(pool)
    while spread.step():
        some_writes(pool, story, dice)
    assert not candidates(pool) and 0 < spread.progress.done <= spread.progress.total
    assert {slab.width for slab in pool.engine.all_slabs() if slab.profile == f.RAID5} == {5}
    with pytest.raises(PoolError, match="pool rig is balanced"):
        Rebalance(pool)
    audit(pool)
    for crash in moments(disk, seed, 40):
        with crash:
            pool = opened(crash)
            found = contents(pool)
            assert not story.allowed(crash.kind, crash.marks).differences(found)
            audit(pool)
            for number in random.Random(crash.boundary).sample(sorted(pool.present()), 1):
                pool.lose(number, "pulled out")
                assert contents(pool) == found


def test_uneven_members_are_evened_out_and_it_can_be_called_off() -> None:
    """Slabs of copies are as wide as before, and lie on the new member when it is done."""
    kinds = (Kind("raid1", 8 * MIB),)
    disk = CrashDisk({**formatted(2, kinds), "new": MEMBER}, 1)
    pool = reopen({name: disk.members[name] for name in ("m0", "m1")})
    volume(pool, "raid1-0").write(0, random.Random(1).randbytes(8 * MIB))
    Add(pool, disk.members["new"], IDENT)
    found, before = contents(pool), pool.space.free(2)
    job = Rebalance(pool)
    assert job.step()
    job.cancel()
    assert contents(pool) == found and candidates(pool)
    again = Rebalance(pool)
    while again.step():
        assert contents(pool) == found
    free = [pool.space.free(n) for n in range(3)]
    assert max(free) - min(free) <= 3 and free[2] < before, free
    audit(pool)


@pytest.mark.parametrize("seed", range(8) if LONG else range(3))
def test_members_are_enlarged(seed: int) -> None:
    disk, story, pool, dice = begin(seed, 4)
    with pytest.raises(PoolError, match=r"no member of pool rig has grown by an extent \(1048576 bytes\)"):
        grow_members(pool, {0: MEMBER, 1: MEMBER + EXTENT - 1, 9: 1 << 40})
    free = pool.space.free(1)
    assert grow_members(pool, {0: MEMBER + 3 * EXTENT, 1: MEMBER + EXTENT, 2: MEMBER, 3: MEMBER}) == [0, 1]
    assert pool.space.free(1) == free + 1
    some_writes(pool, story, dice)
    pool.checkpoint()
    audit(pool)
    for crash in moments(disk, seed, 60):
        with crash:
            pool = opened(crash)
            assert not story.allowed(crash.kind, crash.marks).differences(contents(pool))
            assert pool.rows[0].size in (MEMBER, MEMBER + 3 * EXTENT)
            audit(pool)
    pool = reopen({name: member for name, member in disk.members.items() if name != "new"})
    assert [row.size for row in pool.rows] == [MEMBER + 3 * EXTENT, MEMBER + EXTENT, MEMBER, MEMBER]


def test_a_guest_has_room_before_it_is_spread() -> None:
    """Slabs that are to be emptied are filled all the same when there is no other room, and then the job ends."""
    kinds = (Kind("raid5", 40 * MIB),)
    disk = CrashDisk({**formatted(4, kinds), "new": MEMBER}, 1)
    pool = reopen({name: disk.members[name] for name in ("m0", "m1", "m2", "m3")})
    guest, content = volume(pool, "raid5-0"), random.Random(1).randbytes(28 * MIB)
    guest.write(0, content)
    for grain in range(0, 28 * MIB, 65536):  # room in every slab
        guest.zero(grain, 32768)
    pool.checkpoint()
    Add(pool, disk.members["new"], IDENT)
    job = Rebalance(pool)
    written = 28 * MIB
    with pytest.raises(PoolError, match="no room to move more; what was moved stays where it is"):
        while job.step():
            if written < 40 * MIB:
                guest.write(written, content[: 4 * MIB])
                written += 4 * MIB
    while written < 40 * MIB:
        guest.write(written, content[: 4 * MIB])
        written += 4 * MIB
    assert guest.read(36 * MIB, 4 * MIB) == content[: 4 * MIB]
    assert guest.read(32768, 32768) == content[32768:65536]
    audit(pool)
