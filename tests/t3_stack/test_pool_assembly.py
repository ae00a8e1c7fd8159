"""Which members make a pool: any order, missing, swapped, copied, foreign, older ones, two halves that went apart."""

from __future__ import annotations

import errno
import itertools
import random
from collections.abc import Callable, Iterable

import pytest

from storvirt.backing.member import PythonMember
from storvirt.block import BlockError
from storvirt.pool import format as f
from storvirt.pool.assemble import format_pool, open_pool
from storvirt.pool.membership import add_member
from storvirt.pool.pool import Pool, PoolError, Suspended
from tests.support.crashdisk import CrashDisk
from tests.support.poolrig import EXTENT, MEMBER, MIB, Kind, S, Story, audit, contents, formatted, reopen, volume
from tests.support.simfile import SimFile

FIVE, ONE = (Kind("raid5"),), (Kind("raid1"),)


class Files:
    """The files of a pool, opened again and again."""

    def __init__(self, count: int, kinds: Iterable[Kind]) -> None:
        self.files = formatted(count, kinds)
        self.dice = random.Random(count)

    def members(self, names: Iterable[str] | None = None) -> list[PythonMember]:
        return [PythonMember(self.files[name], name) for name in (self.files if names is None else names)]

    def open(self, names: Iterable[str] | None = None, degraded: bool = False) -> Pool:
        return open_pool(self.members(names), degraded=degraded)

    def life(self, pool: Pool, commits: int = 1) -> dict[str, bytes]:
        """Something is written, and made durable with so many checkpoints."""
        for _ in range(commits):
            for row in pool.volume_rows.values():
                volume(pool, row.name).write(self.dice.randrange(64) * S, self.dice.randbytes(102_400))
            pool.checkpoint()
        return contents(pool)

    def copy(self, name: str) -> SimFile:
        return self.files[name].copy()


def refused(call: Callable[[], object], *words: str) -> None:
    with pytest.raises(PoolError) as raised:
        call()
    for word in words:
        assert word in str(raised.value)


def test_any_order() -> None:
    rig = Files(4, FIVE)
    expected = rig.life(rig.open())
    for order in itertools.islice(itertools.permutations(rig.files), 0, 24, 5):
        assert contents(rig.open(order)) == expected


def test_nothing_and_too_few() -> None:
    rig = Files(4, FIVE)
    refused(lambda: rig.open([]), "at least one member")
    refused(lambda: rig.open(["m0", "m1", "m3"]), "lacks 1 of 4 members (number 2)", "degraded")


def test_the_same_member_twice() -> None:
    rig = Files(3, FIVE)
    rig.files["copy of m1"] = rig.copy("m1")
    refused(rig.open, "m1", "copy of m1", "same member twice")
    refused(lambda: rig.open(["m0", "m1", "m1", "m2"]), "twice")


def test_members_of_two_pools() -> None:
    rig, other = Files(3, FIVE), Files(3, FIVE)
    for name, file in other.files.items():
        super_ = f.unpack_superblock(file.read(0, 4096))._replace(pool=b"another pool....", name="other")
        file.write(0, f.pack_superblock(super_) * 2)
        rig.files["other " + name] = file
    refused(rig.open, "belongs to pool other", "open them apart")


def test_files_that_are_no_members() -> None:
    rig = Files(3, FIVE)
    rig.files["junk"] = SimFile(MEMBER)
    refused(rig.open, "junk", "no member of a pool")
    rig.files["junk"].write(0, rig.dice.randbytes(65536))
    refused(rig.open, "junk", "no member of a pool")
    rig.files["junk"] = SimFile(100)
    refused(rig.open, "junk")


def test_a_member_cut_short() -> None:
    rig = Files(3, FIVE)
    expected = rig.life(rig.open())
    rig.files["m1"].resize(MEMBER - 512)
    refused(rig.open, "m1 is cut short")
    assert contents(rig.open(["m0", "m2"], degraded=True)) == expected


def test_a_member_that_was_never_finished() -> None:
    rig = Files(3, FIVE)
    rig.files["m1"].write(f.RING_AT, bytes(f.RING_PLACES * f.RING_PLACE_SIZE))
    refused(rig.open, "m1", "earlier time")


def test_an_identity_that_is_not_in_the_table() -> None:
    rig = Files(3, FIVE)
    for number in (1, 60):
        file = rig.copy("m1")
        super_ = f.unpack_superblock(file.read(0, 4096))._replace(member=b"nobody's member.", number=number)
        file.write(0, f.pack_superblock(super_) * 2)
        rig.files["m1"] = file
        refused(rig.open, "m1 is not in the member table")


@pytest.mark.parametrize("commits", [1, 3, 20])
def test_an_older_copy_of_a_member_is_not_mixed_in(commits: int) -> None:
    """Whether the ring still shows the time it comes from or not."""
    rig = Files(4, FIVE)
    pool = rig.open()
    rig.life(pool)
    pool.close()
    old = rig.copy("m2")
    expected = rig.life(rig.open(), commits)
    rig.files["m2"] = old
    refused(rig.open, "m2 is of an earlier time")
    assert contents(rig.open(["m0", "m1", "m3"], degraded=True)) == expected


def test_one_that_was_away_is_out_when_it_comes_back() -> None:
    rig = Files(4, FIVE)
    pool = rig.open(["m0", "m1", "m2"], degraded=True)
    away = rig.copy("m3").pages
    expected = rig.life(pool, 20)
    pool = rig.open()
    assert contents(pool) == expected and pool.present().keys() == {0, 1, 2}
    rig.life(pool)
    assert rig.files["m3"].pages == away, "nothing is written to it"
    refused(lambda: rig.open(["m0", "m1", "m3"]), "lacks 1 of 4")


def test_the_loss_is_on_record_before_anybody_reads() -> None:
    """The power fails in the moment the degraded pool is open: the rest does not take the missing one in again."""
    rig = Files(3, FIVE)
    rig.life(rig.open())
    disk = CrashDisk({name: rig.files[name] for name in ("m0", "m1")})
    reopen(disk.members, degraded=True)
    for crash in disk.crashes(kinds=("power",), samples=3, at={disk.boundaries - 1}):
        for name, member in crash.members().items():
            ring = [member.read(f.RING_AT + n * f.RING_PLACE_SIZE, f.RING_PLACE_SIZE) for n in range(f.RING_PLACES)]
            newest = max((f.unpack_commit(data) for data in ring if f.record_length(data)), key=lambda one: one.number)
            assert newest.members[2].state == f.OUT, name


@pytest.mark.parametrize("commits", [(0, 0), (1, 1), (1, 3), (3, 1), (0, 30), (30, 0)])
def test_two_halves_that_went_apart_are_never_joined(commits: tuple[int, int]) -> None:
    rig = Files(2, ONE)
    rig.life(rig.open())
    for name, number in zip(("m0", "m1"), commits, strict=True):
        rig.life(rig.open([name], degraded=True), number)
    refused(lambda: rig.open(["m0", "m1"]), "two histories", "m0", "m1")
    refused(lambda: rig.open(["m1", "m0"]), "two histories", "m0", "m1")
    contents(rig.open(["m0"]))
    contents(rig.open(["m1"]))


def test_without_the_members_of_its_log_it_does_not_open() -> None:
    """Degraded is not blind: what can't be read is not what is not there."""
    rig = Files(4, FIVE)
    pool = rig.open()
    volume(pool, "raid5-0").write(0, b"x" * 512)
    places = {place.member for slab in pool.engine.all_slabs() if slab.use == f.LOG for place in slab.places}
    assert len(places) == 2
    rest = [f"m{number}" for number in range(4) if number not in places]
    before = {name: rig.copy(name).pages for name in rest}
    refused(lambda: rig.open(rest, degraded=True), "its log", "missing")
    assert {name: rig.files[name].pages for name in rest} == before, "a refused pool is not touched"


def test_a_flushed_record_that_rots_on_all_copies_is_said() -> None:
    rig = Files(3, FIVE)
    pool = rig.open()
    disk = volume(pool, "raid5-0")
    disk.write(0, b"a" * 4096)
    disk.write(4096, b"b" * 4096)
    pool.flush()
    disk.write(8192, b"c" * 4096)
    segment = next(slab for slab in pool.engine.all_slabs() if slab.use == f.LOG)
    for member, extent in segment.places:
        rig.files[f"m{member}"].write(f.EXTENTS_AT + extent * EXTENT + 700, b"rot")
    refused(rig.open, "log of pool rig is damaged", "flushed")
    pool = rig.open(degraded=True)
    assert "flushed are lost" in pool.events[-1]
    rig.open()


def test_a_member_that_is_missing_is_no_leave_to_lose_what_was_flushed() -> None:
    rig = Files(4, FIVE)
    pool = rig.open()
    volume(pool, "raid5-0").write(0, b"a" * 4096)
    pool.flush()
    volume(pool, "raid5-0").write(8192, b"c" * 4096)
    segment = next(slab for slab in pool.engine.all_slabs() if slab.use == f.LOG)
    for member, extent in segment.places:
        rig.files[f"m{member}"].write(f.EXTENTS_AT + extent * EXTENT + 700, b"rot")
    away = next(number for number in range(4) if number not in {member for member, _ in segment.places})
    there = rig.members([f"m{number}" for number in range(4) if number != away])
    refused(lambda: open_pool(there, lacking=True), "log of pool rig is damaged", "flushed")
    assert "flushed are lost" in open_pool(there, degraded=True).events[-1]


def test_behind_a_hole_in_the_log_nothing_is_believed() -> None:
    """Not even what is whole in the next segment: what was written in between is gone."""
    rig = Files(3, FIVE)
    pool = rig.open()
    disk = volume(pool, "raid5-0")
    disk.write(0, b"a" * 4096)
    first = next(slab for slab in pool.engine.all_slabs() if slab.use == f.LOG)
    disk.write(4096, b"b" * 4096)
    pool.new_segment()
    disk.write(8192, b"c" * 4096)
    for member, extent in first.places:  # the second record of the first segment: it begins behind 4608 bytes
        rig.files[f"m{member}"].write(f.EXTENTS_AT + extent * EXTENT + 4608 + 700, b"torn")
    found = contents(rig.open())["raid5-0"]
    assert found[:12288] == b"a" * 4096 + bytes(8192)
    assert contents(rig.open())["raid5-0"] == found, "the next opening does not find it either"


def test_a_grain_that_can_not_be_read_is_not_its_old_content() -> None:
    """Degraded beyond what the volume may lose: a SWITCH in the log whose columns are missing did happen."""
    rig = Files(4, FIVE)
    pool = rig.open()
    disk = volume(pool, "raid5-0")
    disk.write(65536, b"same" * 8192)
    pool.checkpoint()
    disk.write(0, b"new!" * 8192)  # over zeros, which could be read
    logs = {place.member for slab in pool.engine.all_slabs() if slab.use == f.LOG for place in slab.places}
    pages = {place.member for slab in pool.engine.all_slabs() if slab.use == f.META for place in slab.places}
    tried = 0
    for lost in itertools.combinations(range(4), 2):
        if logs <= set(lost) or pages <= set(lost):
            continue
        files = {f"m{number}": rig.copy(f"m{number}") for number in range(4) if number not in lost}
        members = [PythonMember(file, name) for name, file in files.items()]
        with pytest.raises(BlockError, match="can't be"):
            volume(open_pool(members, degraded=True), "raid5-0").read(0, 32768)
        tried += 1
    assert tried


def test_that_a_flush_covered_it_may_be_said_in_a_later_segment() -> None:
    rig = Files(3, FIVE)
    pool = rig.open()
    disk = volume(pool, "raid5-0")
    disk.write(0, b"a" * 4096)
    first = next(slab for slab in pool.engine.all_slabs() if slab.use == f.LOG)
    pool.new_segment()
    disk.write(4096, b"b" * 4096)
    pool.flush()
    disk.write(8192, b"c" * 4096)
    for member, extent in first.places:
        rig.files[f"m{member}"].write(f.EXTENTS_AT + extent * EXTENT + 700, b"rot")
    refused(rig.open, "log of pool rig is damaged", "flushed")


def test_a_map_page_lost_on_all_copies_is_one_sentence() -> None:
    rig = Files(3, FIVE)
    rig.life(rig.open())
    pool = rig.open()
    page = next(iter(pool.disk("raid5-0").map.pages()))
    slab = pool.engine.slab(page.slab)
    assert slab is not None
    for member, extent in slab.places:
        rig.files[f"m{member}"].write(f.EXTENTS_AT + extent * EXTENT + page.slot * slab.column + 99, b"rot")
    refused(rig.open, "can't be opened", "lost on all its copies")


# --- making, and members that come -----------------------------------------------------------------------------------


def test_members_that_no_pool_can_be_made_of() -> None:
    def make(count: int, size: int, extent: int | None = None) -> None:
        members = [PythonMember(SimFile(size), f"m{n}") for n in range(count)]
        ids = [bytes([n]) * 16 for n in range(count)]
        format_pool(members, name="p", pool_id=bytes(16), member_ids=ids, extent=extent)

    refused(lambda: make(0, MEMBER), "1 to 64 members")
    refused(lambda: make(65, MEMBER), "1 to 64 members")
    refused(lambda: make(2, 12 * MIB), "m0 has")
    refused(lambda: make(1, 20_000 * MIB, MIB), "take larger ones")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_member_that_can_not_be_added_is_none(number: int) -> None:
    disk = CrashDisk({**formatted(3, FIVE), "new": MEMBER})
    new = disk.members.pop("new")
    pool = reopen(disk.members)
    fault = disk.fail(number, None, "write", after=3)
    with pytest.raises(Suspended):
        add_member(pool, new, b"n" * 16)
    fault.times = 0
    assert len(pool.present()) == 3
    assert add_member(pool, new, b"n" * 16) == 3
    assert len(pool.present()) == 4
    audit(pool)
    assert len(reopen({**disk.members, "new": new}).present()) == 4


def test_a_crash_while_a_member_is_added() -> None:
    """Afterwards it is one, or it is a stranger that can be left out."""
    disk = CrashDisk({**formatted(3, FIVE), "new": MEMBER}, seed=4)
    story = Story(disk, FIVE)
    pool = reopen({name: disk.members[name] for name in ("m0", "m1", "m2")})
    story.write(volume(pool, "raid5-0"), "raid5-0", 0, b"x" * 40_960)
    add_member(pool, disk.members["new"], b"n" * 16)
    joined = 0
    for crash in disk.crashes(exhaustive_below=2, samples=3):
        with crash:
            try:
                pool = reopen(crash.members())
                joined += len(pool.present()) == 4
            except PoolError as error:
                assert "new" in str(error)
                pool = reopen(crash.members(without=["new"]))
            assert not story.allowed(crash.kind, crash.marks).differences(contents(pool))
    assert joined


def test_a_number_of_the_ring_is_bound_to_its_bytes() -> None:
    """The host's space ends between two members' records, and what comes next is something else: no power loss makes
    two histories of it."""
    disk = CrashDisk(formatted(3, FIVE), seed=5)
    pool = reopen(disk.members)
    fault = disk.fail(errno.ENOSPC, "m1", "write")
    with pytest.raises(Suspended):
        pool.create_volume("first", MIB, "raid1", 4096)
    fault.times = 0
    pool.create_volume("second", MIB, "raid1", 4096)
    found = set()
    for crash in disk.crashes(kinds=("power",), exhaustive_below=64, samples=8):
        with crash:
            found |= {frozenset(row.name for row in reopen(crash.members()).volume_rows.values())}
    assert {"raid5-0", "second"} in found and {"raid5-0"} in found


# --- trouble in the middle of a checkpoint ---------------------------------------------------------------------------


@pytest.mark.parametrize("part", [0, 512])
@pytest.mark.parametrize("after", range(18))
def test_a_checkpoint_that_stops_anywhere_is_done_again(after: int, part: int) -> None:
    """The host has no space for a while: what was written is there, nothing is leaked, and the next one succeeds."""
    disk = CrashDisk(formatted(4, (Kind("raid5"), Kind("raid1", MIB, 4096))))
    pool, dice = reopen(disk.members), random.Random(after)
    model = {name: bytearray(data) for name, data in contents(pool).items()}
    fault = disk.fail(errno.ENOSPC, None, "write", after=after, part=part)
    fault.times, suspended = 0, 0
    for _ in range(4):
        for name, data in model.items():
            for _ in range(6):
                offset, piece = dice.randrange(1500) * S, dice.randbytes(dice.choice([512, 4096, 32768, 70_000]))
                volume(pool, name).write(offset, piece)
                data[offset : offset + len(piece)] = piece
        fault.after, fault.times = after, None
        try:
            pool.new_segment()
            pool.checkpoint()
        except Suspended:
            suspended += 1
        fault.times = 0
        assert contents(pool) == model
        assert contents(reopen({name: PythonMember(file.copy(), name) for name, file in disk.files.items()})) == model
        pool.checkpoint()
        audit(pool)
        assert len(pool.present()) == 4 and not pool.engine.freed
    assert suspended or after > 12
    assert contents(reopen(disk.members)) == model
