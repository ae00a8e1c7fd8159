"""Slabs: columns where layout says, every loss that the profile survives, rebuilding, slots, and errors of members."""

from __future__ import annotations

import errno
import itertools
import random

import pytest

from storvirt.backing.member import Member, PythonMember
from storvirt.backing.memory import MemoryMember
from storvirt.pool import format as f
from storvirt.pool.slab import Slab
from storvirt.raid.layout import BY_NUMBER, Layout
from storvirt.raid.stripe import Stripe

EXTENT = 1 << 20
SHAPES = [
    (f.LINEAR, 1, 1, 4096), (f.LINEAR, 1, 1, 1 << 20), (f.RAID0, 3, 3, 32768), (f.RAID0, 4, 4, 4096),
    (f.RAID1, 1, 2, 32768), (f.RAID1, 1, 4, 8192), (f.RAID5, 2, 3, 4096), (f.RAID5, 3, 4, 32768),
    (f.RAID5, 6, 7, 32768), (f.RAID5, 8, 9, 65536), (f.RAID5, 1, 2, 4096), (f.RAID4, 3, 4, 32768),
    (f.RAID6, 2, 4, 4096), (f.RAID6, 6, 8, 32768), (f.RAID6, 1, 3, 8192), (f.RAID7, 4, 7, 32768), (f.RAID7, 3, 6, 4096),
    (f.RAID10, 4, 8, 32768), (f.RAID10, 3, 6, 8192), (f.RAID50, 4, 6, 32768), (f.RAID60, 4, 8, 32768),
    (64 + 3, 1, 3, 4096),
]  # fmt: skip


class Rig:
    """A slab over members of their own, its columns in any order and at different extents."""

    def __init__(self, profile: int, k: int, width: int, grain: int) -> None:
        self.members: list[Member | None] = [MemoryMember(f.EXTENTS_AT + 4 * EXTENT, f"m{n}") for n in range(width)]
        order = list(range(width))
        random.Random(width).shuffle(order)
        columns = tuple(f.Column(number, (number * 7) % 4) for number in order)
        self.row = f.SlabRow(5, f.DATA, profile, k, grain, columns)
        self.slab = Slab(self.row, EXTENT, self.members)
        self.layout = Layout.of(BY_NUMBER[profile], k, width - k, grain, EXTENT)
        self.dice = random.Random(grain)

    def put(self, slot: int) -> bytes:
        grain = self.dice.randbytes(self.row.grain)
        assert self.slab.rewrite(slot, grain) == 0
        return grain

    def column(self, number: int, slot: int) -> bytes:
        """As it lies in its member."""
        member, extent = self.row.columns[number]
        found = self.members[member]
        assert found is not None
        return found.read(f.EXTENTS_AT + extent * EXTENT + slot * self.layout.column, self.layout.column)

    def spoil(self, number: int, slot: int) -> None:
        member, extent = self.row.columns[number]
        found = self.members[member]
        assert found is not None
        found.write(f.EXTENTS_AT + extent * EXTENT + slot * self.layout.column, self.dice.randbytes(512))


@pytest.fixture(params=SHAPES, ids=lambda shape: "-".join(map(str, shape)))
def rig(request: pytest.FixtureRequest) -> Rig:
    return Rig(*request.param)


def slots(rig: Rig) -> list[int]:
    return sorted({0, rig.slab.slots // 2, rig.slab.slots - 1})


def test_its_geometry_is_the_layouts(rig: Rig) -> None:
    slab, layout = rig.slab, rig.layout
    assert (slab.slots, slab.column, slab.width, slab.data) == (layout.slots, layout.column, layout.width, layout.k)
    assert slab.redundant == slab.tolerance == layout.tolerance and slab.missing == 0


def test_a_grain_lies_as_an_independent_stripe_says(rig: Rig) -> None:
    for slot in slots(rig):
        grain = rig.put(slot)
        expected = Stripe(rig.layout).split(grain)
        assert [rig.column(number, slot) for number in range(rig.slab.width)] == expected
        assert [rig.slab.column_bytes(slot, number) for number in range(rig.slab.width)] == expected
        assert rig.slab.differing(slot, grain) == 0 == rig.slab.unreadable(slot)


def test_pieces_of_it_are_read(rig: Rig) -> None:
    for slot in slots(rig):
        grain = rig.put(slot)
        assert rig.slab.read_slot(slot, 0, len(grain), 0) == grain
        for _ in range(20):
            offset = rig.dice.randrange(len(grain) // 512) * 512
            length = rig.dice.randrange(1, (len(grain) - offset) // 512 + 1) * 512
            assert rig.slab.read_slot(slot, offset, length, 0) == grain[offset : offset + length]


def test_every_loss_that_is_survived_and_no_more(rig: Rig) -> None:
    """Columns left out of the reading, and members that are out, are the same."""
    slot = rig.slab.slots - 1
    grain = rig.put(slot)
    for count in range(1, rig.slab.width + 1):
        for lost in itertools.islice(itertools.combinations(range(rig.slab.width), count), 12):
            without = sum(1 << number for number in lost)
            found = rig.slab.read_slot(slot, 0, len(grain), without)
            if rig.layout.survives(lost):
                assert found == grain, lost
            else:
                assert found is None, lost
            members = [None if n in {rig.row.columns[i].member for i in lost} else m for n, m in enumerate(rig.members)]
            degraded = Slab(rig.row, EXTENT, members)
            assert (degraded.tolerance >= 0) == rig.layout.survives(lost) == rig.slab.survives(without)
            assert degraded.missing == without
            if rig.layout.groups == 1:
                assert degraded.tolerance == rig.layout.tolerance - count
            assert degraded.read_slot(slot, 0, len(grain), 0) == found
            assert degraded.unreadable(slot) == without


def test_writing_while_columns_are_out_is_whole_in_those_that_are_left(rig: Rig) -> None:
    slot = 0
    for lost in range(rig.slab.width):
        out = Rig(rig.row.profile, rig.row.data, rig.slab.width, rig.row.grain)
        out.slab.lose(out.row.columns[lost].member)
        before = out.column(lost, slot)
        grain = out.put(slot)
        assert out.column(lost, slot) == before, "nothing is written to a member that is out"
        if out.slab.tolerance >= 0:
            assert out.slab.read_slot(slot, 0, len(grain), 0) == grain
            assert out.slab.differing(slot, grain) == 0


def test_a_column_that_differs_is_named(rig: Rig) -> None:
    slot = rig.slab.slots - 1
    grain = rig.put(slot)
    for number in range(rig.slab.width):
        rig.spoil(number, slot)
        assert rig.slab.differing(slot, grain) == 1 << number
        assert rig.slab.rewrite(slot, grain) == 0
        assert rig.slab.differing(slot, grain) == 0


def test_a_column_moves_to_a_new_member(rig: Rig) -> None:
    old, moved = rig.put(0), rig.dice.randrange(rig.slab.width)
    if rig.slab.redundant:
        rig.slab.lose(rig.row.columns[moved].member)
    new = MemoryMember(f.EXTENTS_AT + 4 * EXTENT, "new")
    rig.slab.begin_rebuild(moved, new, 2, EXTENT)
    rig.members.append(new)
    fresh = rig.put(1)  # written meanwhile: there already
    rig.slab.write_target(0, old)
    assert rig.slab.target_error == 0
    if rig.slab.redundant:
        assert rig.slab.missing == 1 << moved, "until the end nobody reads it"
    rig.slab.end_rebuild(len(rig.members) - 1, 2)
    assert rig.slab.missing == 0 and rig.slab.places[moved] == f.Column(len(rig.members) - 1, 2)
    for slot, grain in ((0, old), (1, fresh)):
        assert rig.slab.differing(slot, grain) == 0 and rig.slab.read_slot(slot, 0, len(grain), 0) == grain
    rig.slab.begin_rebuild(moved, new, 3, EXTENT)
    rig.slab.abandon_rebuild()
    assert rig.slab.rebuilding == -1 and rig.slab.places[moved].extent == 2


def test_slots_against_a_set(rig: Rig) -> None:
    slab, used, dice = rig.slab, set[int](), random.Random(1)
    for _ in range(3 * slab.slots + 50):
        call = dice.random()
        if call < 0.6:
            slot = slab.take_slot()
            assert (slot is None) == (len(used) == slab.slots)
            if slot is not None:
                assert slot not in used and slot < slab.slots
                used.add(slot)
        elif call < 0.8:
            slot = dice.randrange(slab.slots)
            slab.give_slot(slot)
            used.discard(slot)
        else:
            slot = dice.randrange(slab.slots)
            assert slab.mark_slot(slot) == (slot not in used)
            used.add(slot)
        assert slab.used == len(used) and slab.free_slots == slab.slots - len(used)
    assert slab.in_use() == sorted(used)
    slab.give_slot(slab.slots)
    with pytest.raises(ValueError, match="no slot"):
        slab.mark_slot(slab.slots)


class Failing:
    def __init__(self, number: int, size: int = f.EXTENTS_AT + EXTENT) -> None:
        self.number, self.size = number, size

    def read(self, offset: int, length: int) -> bytes:
        raise OSError(self.number, "told to fail")

    def write(self, offset: int, data: bytes) -> None:
        raise OSError(self.number, "told to fail")


@pytest.mark.parametrize("numbers", [(errno.EIO, errno.ENOSPC), (errno.ENOSPC, errno.EIO), (errno.EDQUOT, errno.EIO)])
def test_of_two_errors_the_hosts_own_counts(numbers: tuple[int, int]) -> None:
    """No member is to be blamed for a full file system, whichever of them fails first."""
    members = [PythonMember(Failing(number), str(number)) for number in numbers]
    slab = Slab(f.SlabRow(1, f.DATA, f.RAID1, 1, 4096, (f.Column(0, 0), f.Column(1, 0))), EXTENT, members)
    assert slab.rewrite(0, b"x" * 4096) == 0b11
    assert slab.last_error in (errno.ENOSPC, errno.EDQUOT)
    assert slab.put_piece(1, 0, b"x" * 512) == numbers[1] == slab.last_error
    assert slab.piece(0, 0, 512) is None and slab.unreadable(0) == 0b11


@pytest.mark.parametrize(("data", "columns"), [(0, 2), (3, 2), (1, 0), (1, 65)])
def test_tables_that_cannot_be(data: int, columns: int) -> None:
    places = tuple(f.Column(0, number) for number in range(columns))
    with pytest.raises(ValueError, match="columns"):
        Slab(f.SlabRow(1, f.DATA, f.LINEAR, data, 4096, places), EXTENT, [None])
