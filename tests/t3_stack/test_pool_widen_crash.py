"""A member more, larger members, data spread over all: under writes, crashed at any moment."""

from __future__ import annotations

import random

import pytest

from storvirt.backing.member import PythonMember
from storvirt.pool import format as f
from storvirt.pool.fsck import fsck
from storvirt.pool.mirrors import is_thin
from storvirt.pool.pool import Pool, PoolError
from storvirt.pool.unfinished import going_on
from storvirt.pool.widen import Add, Rebalance, candidates, grow_members
from tests.support.crashdisk import CrashDisk
from tests.support.poolrig import EXTENT, MEMBER, MIB, Kind, Story, audit, contents, formatted, reopen, volume
from tests.t3_stack.test_pool_evacuate_crash import moments
from tests.t3_stack.test_pool_repair_crash import IDENT, LONG, opened, some_writes

pytestmark = [pytest.mark.long] if LONG else []  # then they may take long
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
        assert pool.flags == f.REBALANCING
        some_writes(pool, story, dice)
    assert pool.flags == 0 and not candidates(pool) and 0 < spread.progress.done <= spread.progress.total
    assert {slab.width for slab in pool.engine.all_slabs() if slab.profile == f.RAID5} == {5}
    with pytest.raises(PoolError, match="pool rig is balanced"):
        Rebalance(pool)
    audit(pool)
    for crash in moments(disk, seed, 15):
        with crash:
            pool = opened(crash)
            found = contents(pool)
            assert not story.allowed(crash.kind, crash.marks).differences(found)
            audit(pool)
            rebalanced(pool, back=crash.boundary % 3 == 0)
            assert contents(pool) == found
            audit(pool)
            for number in random.Random(crash.boundary).sample(sorted(pool.present()), 1):
                pool.lose(number, "pulled out")
                assert contents(pool) == found


def rebalanced(pool: Pool, back: bool) -> None:
    """Opened after a crash: it goes on by itself, or is called off, and then nobody goes on with it."""
    job = going_on(pool)
    assert (job is not None) == bool(pool.flags)
    if job is None:
        return
    assert isinstance(job, Rebalance)
    if back:
        job.cancel()
    else:
        while job.step():
            pass
        assert not candidates(pool)
    assert pool.flags == 0 and going_on(pool) is None


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
    assert contents(pool) == found and candidates(pool) and not pool.flags and not job.step()
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
    for crash in moments(disk, seed, 20):
        with crash:
            pool = opened(crash)
            assert not story.allowed(crash.kind, crash.marks).differences(contents(pool))
            assert pool.rows[0].size in (MEMBER, MEMBER + 3 * EXTENT)
            audit(pool)
    pool = reopen({name: member for name, member in disk.members.items() if name != "new"})
    assert [row.size for row in pool.rows] == [MEMBER + 3 * EXTENT, MEMBER + EXTENT, MEMBER, MEMBER]


@pytest.mark.parametrize("torn", [0, f.SUPER_SIZE])
@pytest.mark.parametrize("how", ["another size", "torn"])
def test_superblocks_that_differ_agree_after_the_next_opening(how: str, torn: int) -> None:
    """A crash in the middle of enlarging a member leaves them so: one is whole at any time."""
    disk = CrashDisk(formatted(3, KINDS[:1]))
    member = disk.members["m1"]
    good = f.unpack_superblock(member.read(0, f.SUPER_SIZE))
    member.resize(MEMBER + EXTENT)
    bad = f.pack_superblock(good._replace(size=MEMBER + EXTENT))
    member.write(torn, bad if how == "another size" else bad[:40])
    report = fsck(list(disk.members.values()))
    assert report.clean == (how == "another size"), report.findings
    pool = reopen(disk.members)
    assert any("a superblock of member m1 was not as its twin" in event for event in pool.events)
    pool.close()
    copies = {name: PythonMember(file.copy(), name) for name, file in disk.files.items()}
    assert fsck(list(copies.values())).clean
    copies["m1"].write(0, bytes(f.SUPER_SIZE))
    assert len(reopen(copies).present()) == 3


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
            assert pool.flags
            if written < 40 * MIB:
                guest.write(written, content[: 4 * MIB])
                written += 4 * MIB
    assert not pool.flags, "nobody tries that again and again"
    while written < 40 * MIB:
        guest.write(written, content[: 4 * MIB])
        written += 4 * MIB
    assert guest.read(36 * MIB, 4 * MIB) == content[: 4 * MIB]
    assert guest.read(32768, 32768) == content[32768:65536]
    audit(pool)
