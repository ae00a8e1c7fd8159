"""Extents: which members a slab is cut from, what stays free, and that nothing is given out twice."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from storvirt.pool import format as f
from storvirt.pool.space import NoSpace, Space, layout_of, survives
from storvirt.raid.layout import PROFILES, RAID4, RAID6, RAID7, RAID10, RAID50, RAID60, Profile

EXTENT = 1 << 20


def rows(extents: Sequence[int], out: Sequence[int] = ()) -> list[f.MemberRow]:
    return [
        f.MemberRow(bytes([number]) * 16, f.OUT if number in out else f.IN, f.EXTENTS_AT + count * EXTENT, 1)
        for number, count in enumerate(extents)
    ]


def cut_all(space: Space, members: list[f.MemberRow], raid: str, reserve: int = 0) -> list[f.SlabRow]:
    slabs: list[f.SlabRow] = []
    while True:
        try:
            slabs.append(space.cut(len(slabs) + 1, PROFILES[raid].number, 32768, members, reserve, slabs))
        except NoSpace:
            return slabs


@pytest.mark.parametrize("raid", PROFILES)
@pytest.mark.parametrize("extents", [(9,), (9, 9), (9, 9, 9), (3, 9, 20, 6), (1, 1, 30), (5,) * 11])
@pytest.mark.parametrize("reserve", [0, 2])
def test_every_extent_once_and_each_column_elsewhere(raid: str, extents: tuple[int, ...], reserve: int) -> None:
    members = rows(extents)
    space = Space(members, EXTENT)
    slabs = cut_all(space, members, raid, reserve)
    assert bool(slabs) == (sum(count > reserve for count in extents) >= PROFILES[raid].narrowest)
    places = [column for slab in slabs for column in slab.columns]
    assert len(set(places)) == len(places)
    for slab in slabs:
        assert len({column.member for column in slab.columns}) == len(slab.columns)
        assert layout_of(slab, EXTENT).tolerance == PROFILES[raid].parity, "however narrow"
    for number, count in enumerate(extents):
        used = sum(column.member == number for column in places)
        assert space.free(number) == count - used >= min(count, reserve)


def test_members_of_different_sizes_are_used_as_far_as_the_level_allows() -> None:
    members = rows((4, 8, 12))
    slabs = cut_all(Space(members, EXTENT), members, "raid1")
    assert len(slabs) == 12


@pytest.mark.parametrize(
    ("raid", "extents", "data"),
    [
        ("raid5", (4, 4, 2), 2 * 2 + 2 * 1),  # what the third one has no room for is mirrored
        ("raid5", (8, 4, 4), 4 * 2),
        ("raid6", (10, 10, 10, 10, 2), 2 * 3 + 8 * 2),
        ("raid10", (4, 4, 2, 2), 6),
        ("raid10", (8, 4, 2, 2), 8),
        ("raid10", (9, 9, 9), 13),
        ("raid50", (6,) * 6 + (3,) * 2, 3 * 6 + 3 * 4),
        ("raid4", (9, 9, 9, 3), 3 * 3 + 6 * 2),
        ("raid0", (9, 4, 4), 4 * 3 + 5),
    ],
)
def test_how_much_that_is(raid: str, extents: tuple[int, ...], data: int) -> None:
    members = rows(extents)
    slabs = cut_all(Space(members, EXTENT), members, raid)
    assert sum(slab.data for slab in slabs) == data


def test_a_dedicated_member_keeps_all_parity_and_the_one_after_it_too() -> None:
    members = rows((9, 20, 9, 9))
    space = Space(members, EXTENT)
    slabs = cut_all(space, members, "raid4")
    assert len(slabs) == 9 and {slab.columns[-1].member for slab in slabs} == {1}
    assert {slab.columns[0].member for slab in slabs} == {0, 2, 3}, "the others turn"
    members[1] = members[1]._replace(state=f.OUT)
    space = Space(members, EXTENT)
    slab = space.cut(3, RAID4.number, 32768, members, 0, slabs)
    assert slab.columns[-1].member != 1 and len(slab.columns) == 3
    again = space.cut(4, RAID4.number, 32768, members, 0, [slab])
    assert again.columns[-1].member == slab.columns[-1].member
    full = rows((9, 1, 9, 9))
    with pytest.raises(NoSpace):
        Space(full, EXTENT).cut(1, RAID4.number, 32768, full, 1, [slabs[0]])


def test_groups_are_of_the_same_members_in_all_slabs() -> None:
    for level, count, groups in ((RAID10, 6, 3), (RAID50, 6, 2), (RAID60, 8, 2)):
        members = rows((9,) * count)
        slabs = cut_all(Space(members, EXTENT), members, level.name)
        layout = layout_of(slabs[0], EXTENT)
        found = {
            frozenset(slab.columns[i].member for i in layout.columns_of(group))
            for slab in slabs
            for group in range(layout.groups)
        }
        size = count // groups
        assert found == {frozenset(range(at, at + size)) for at in range(0, count, size)}
        assert len({slab.columns[-1].member for slab in slabs}) == size, "redundancy turns within a group"
        assert all(survives(slab, set(range(0, count, size))) for slab in slabs), "one of each group"
        assert not any(survives(slab, set(range(level.parity + 1))) for slab in slabs)


def test_all_copies_of_a_mirror_are_in_one_group_if_one_is_given() -> None:
    members = rows((9, 9, 9, 20, 20, 9))
    pairs = [{0, 1}, {2, 3}, {4, 5}]
    space = Space(members, EXTENT)
    for _ in range(20):
        chosen = {column.member for column in space.cut_mirror(1, f.LOG, members, 2, pairs).columns}
        assert chosen in pairs
    assert len(space.cut_mirror(1, f.LOG, members, 3, pairs).columns) == 3, "they are too small: anywhere"


@pytest.mark.parametrize("level", [RAID6, RAID7])
def test_more_than_one_member_may_be_out(level: Profile) -> None:
    members = rows((9,) * level.members, out=range(level.parity))
    slab = Space(members, EXTENT).cut(1, level.number, 32768, members, 0)
    assert len(slab.columns) == level.members and survives(slab, set(range(level.parity)))
    members = rows((9,) * (level.members + level.parity), out=range(level.parity))
    slab = Space(members, EXTENT).cut(1, level.number, 32768, members, 0)
    assert {column.member for column in slab.columns} == set(range(level.parity, len(members)))


def test_parity_is_spread() -> None:
    members = rows((40,) * 4)
    slabs = cut_all(Space(members, EXTENT), members, "raid5")
    last = [slab.columns[-1].member for slab in slabs]
    assert len(slabs) == 40 and all(last.count(number) == 10 for number in range(4))


def test_one_member_out_narrows_the_slab_while_that_is_possible_and_else_keeps_its_column() -> None:
    members = rows((9,) * 4, out=[2])
    slab = Space(members, EXTENT).cut(1, f.RAID5, 32768, members, 0)
    assert {column.member for column in slab.columns} == {0, 1, 3} and slab.data == 2
    members = rows((9,) * 3, out=[2])
    slab = Space(members, EXTENT).cut(1, f.RAID5, 32768, members, 0)
    assert {column.member for column in slab.columns} == {0, 1, 2}
    for out, raid in (([1, 2], f.RAID5), ([0, 1, 2], f.LINEAR)):
        members = rows((9,) * 3, out=out)
        with pytest.raises(NoSpace):
            Space(members, EXTENT).cut(1, raid, 32768, members, 0)


@pytest.mark.parametrize("use", [f.META, f.LOG])
def test_of_a_mirror_one_copy_is_enough(use: int) -> None:
    members = rows((9,) * 3)
    slab = Space(members, 4 * EXTENT).cut_mirror(1, use, members, 3)
    assert survives(slab, {0, 2}) and survives(slab, set()) and not survives(slab, {0, 1, 2})


def test_mirrors_have_as_many_copies_as_can_be() -> None:
    for out, copies, width in (([], 2, 2), ([], 3, 3), ([0], 3, 2), ([0, 1], 3, 1)):
        members = rows((9,) * 3, out=out)
        for use, grain in ((f.META, 16384), (f.LOG, EXTENT)):
            slab = Space(members, EXTENT).cut_mirror(1, use, members, copies)
            assert len(slab.columns) == width and (slab.use, slab.grain) == (use, grain)
            assert slab.profile == (f.RAID1 if width > 1 else f.LINEAR)
    with pytest.raises(NoSpace):
        Space(rows((9,), out=[0]), EXTENT).cut_mirror(1, f.LOG, rows((9,), out=[0]), 2)


def test_what_is_released_is_cut_again_and_what_is_claimed_is_not() -> None:
    members, dice = rows((7,) * 3), random.Random(1)
    space = Space(members, EXTENT)
    held: list[f.SlabRow] = []
    for number in range(200):
        if held and dice.random() < 0.5:
            space.release(held.pop(dice.randrange(len(held))).columns)
        else:
            try:
                held.append(space.cut(number + 1, f.RAID5, 32768, members, 0))
            except NoSpace:
                assert len(held) == 7
        places = [column for slab in held for column in slab.columns]
        assert len(set(places)) == len(places)
        fresh = Space(members, EXTENT)
        fresh.claim(places)
        assert [fresh.free(n) for n in range(3)] == [space.free(n) for n in range(3)]


def test_a_member_that_is_leaving_takes_nothing_new_and_one_that_came_does() -> None:
    members = rows((9,) * 3)
    space = Space(members, EXTENT)
    space.leaving.add(1)
    members.append(f.MemberRow(bytes(16), f.IN, f.EXTENTS_AT + 5 * EXTENT, 1))
    space.add_member(members[3].size)
    slabs = cut_all(space, members, "raid5")
    assert len(slabs) == 5 + 4 and all(column.member != 1 for slab in slabs for column in slab.columns)
    space.renew_member(1, f.EXTENTS_AT + 2 * EXTENT)
    space.leaving.clear()
    assert space.free(1) == 2
