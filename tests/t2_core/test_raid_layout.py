"""The RAID layout: every byte of a grain in exactly one place, padding under 5 % at any width, clear mistakes."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storvirt.raid import layout as module
from storvirt.raid.layout import (
    BY_NUMBER,
    EXTENT,
    LINEAR,
    PROFILES,
    RAID0,
    RAID1,
    RAID4,
    RAID5,
    RAID6,
    RAID7,
    RAID10,
    RAID50,
    RAID60,
    Layout,
    LayoutError,
    Profile,
    choose,
    profile_named,
)

GRAINS = [4096 << shift for shift in range(9)]


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    profile = draw(st.sampled_from(sorted(BY_NUMBER.values())))
    narrow = draw(st.booleans())
    members = draw(st.integers(profile.narrowest if narrow else profile.members, 70))
    extent = draw(st.sampled_from([1 << 20, EXTENT, 64 << 20]))
    return choose(profile, members, draw(st.sampled_from(GRAINS)), extent, narrow)


@given(layouts(), st.data())
def test_pieces_cover_a_range_exactly_once(layout: Layout, data: st.DataObject) -> None:
    slot = data.draw(st.integers(0, layout.slots - 1))
    offset = data.draw(st.integers(0, layout.grain))
    length = data.draw(st.integers(0, layout.grain - offset))
    pieces = layout.pieces(slot, offset, length)
    at = offset
    for piece in pieces:
        assert piece.offset == at and piece.length > 0
        assert 0 <= piece.column < layout.k
        assert slot * layout.column <= piece.at
        assert piece.at + piece.length <= (slot + 1) * layout.column <= layout.extent
        at += piece.length
    assert at == offset + length
    columns = [piece.column for piece in pieces]
    assert columns == sorted(set(columns))


@given(layouts(), st.data())
def test_a_byte_always_lies_in_the_same_place(layout: Layout, data: st.DataObject) -> None:
    slot = data.draw(st.integers(0, layout.slots - 1))
    byte = data.draw(st.integers(0, layout.grain - 1))
    offset = data.draw(st.integers(0, byte))
    [alone] = layout.pieces(slot, byte, 1)
    [within] = [p for p in layout.pieces(slot, offset, layout.grain - offset) if p.offset <= byte < p.offset + p.length]
    assert (within.column, within.at + byte - within.offset) == (alone.column, alone.at)
    assert alone.column * layout.column + alone.at - slot * layout.column == byte
    assert byte in layout.held(alone.column)


@given(layouts())
def test_columns_hold_the_grain_and_nothing_is_empty(layout: Layout) -> None:
    ranges = [layout.held(column) for column in range(layout.k)]
    assert ranges[0].start == 0 and ranges[-1].stop == layout.grain
    assert all(left.stop == right.start and left for left, right in itertools.pairwise(ranges))
    assert [layout.role(column) for column in range(layout.k)] == ["data"] * layout.k
    for column in range(layout.k, layout.width):
        mirror = layout.profile.copies or layout.k == layout.groups
        assert layout.role(column) == ("copy" if mirror else "parity")
        of = layout.held(layout.columns_of(layout.group(column))[0])
        assert layout.held(column) == (of if mirror else range(0))
    assert layout.column % 512 == 0
    assert layout.slots * layout.column <= layout.extent < (layout.slots + 1) * layout.column


@given(layouts(), st.data())
def test_sources_do_without_what_is_lost(layout: Layout, data: st.DataObject) -> None:
    lost = frozenset(data.draw(st.sets(st.integers(0, layout.width - 1), max_size=layout.tolerance)))
    assert layout.survives(lost)
    for column in range(layout.width):
        sources = layout.sources(column, lost)
        assert sources and not lost & set(sources)
        if column not in lost:
            assert sources == (column,)
        else:
            assert len(set(sources)) == layout.d and set(sources) < set(layout.columns_of(layout.group(column)))


@given(layouts())
def test_every_column_is_in_one_group_and_groups_are_equal(layout: Layout) -> None:
    groups = [layout.columns_of(group) for group in range(layout.groups)]
    assert sorted(column for group in groups for column in group) == list(range(layout.width))
    for number, group in enumerate(groups):
        assert all(layout.group(column) == number for column in group)
        assert [column < layout.k for column in group] == [True] * layout.d + [False] * layout.p
    assert layout.groups == 1 or layout.profile.nested
    assert layout.tolerance == layout.profile.parity == layout.p


@given(layouts(), st.data())
def test_what_is_survived_is_the_tolerance_of_each_group(layout: Layout, data: st.DataObject) -> None:
    lost = {
        column
        for group in range(layout.groups)
        for column in data.draw(st.sets(st.sampled_from(layout.columns_of(group)), max_size=layout.p))
    }
    assert layout.survives(lost)
    group = layout.columns_of(data.draw(st.integers(0, layout.groups - 1)))
    assert not layout.survives(lost | set(group[: layout.p + 1]))


@pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))
def test_one_loss_too_many_is_said(profile: Profile) -> None:
    layout = choose(profile, max(5, profile.members), 32768)
    lost = frozenset(layout.columns_of(0)[: layout.tolerance + 1])
    sentence = f"{len(lost)} columns are lost, and {profile.name} survives {layout.tolerance}"
    with pytest.raises(LayoutError, match=sentence):
        layout.sources(0, lost)


@pytest.mark.parametrize("grain", GRAINS)
@pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))
def test_under_5_percent_is_lost_at_any_width_and_no_wider_one_would_do(profile: Profile, grain: int) -> None:
    for members in range(profile.members, 65):
        layout = choose(profile, members, grain)
        assert layout.padding < 0.05
        assert layout.width <= members
        assert layout.kept == pytest.approx((1 - layout.padding) * layout.k / layout.width)
        if not profile.wide:
            assert layout.k == 1
            continue
        if profile.nested:
            continue
        for wider in range(layout.k + 1, min(members - layout.m, 63) + 1):
            column = -(-(grain // 512) // wider) * 512
            assert wider * column - grain >= 0.05 * wider * column or (wider - 1) * column >= grain


@pytest.mark.parametrize("grain", GRAINS)
def test_raid5_keeps_what_its_width_promises_but_for_the_5_percent(grain: int) -> None:
    for members in range(3, 65):
        layout = choose(RAID5, members, grain)
        assert layout.kept > 0.95 * layout.k / (layout.k + 1)
    assert choose(RAID5, 3, grain).kept == pytest.approx(2 / 3)


def table() -> list[str]:
    """Efficiency of raid5 with grains of 32 KiB for 3 to 64 members, runs of the same width in one line."""
    chosen = [(members, choose(RAID5, members, 32768)) for members in range(3, 65)]
    lines = []
    for layout, run in itertools.groupby(chosen, lambda pair: pair[1]):
        members = [count for count, _ in run]
        span = f"{members[0]} - {members[-1]}" if len(members) > 1 else f"{members[0]}"
        share = f"{layout.padding * 100:>4.1f} %  {layout.kept * 100:>4.1f} %"
        lines.append(f"{span:>7}   {layout.k:>2}  {layout.column:>6}   {share}")
    return lines


def test_the_table_in_the_docstring_is_true() -> None:
    assert module.__doc__ is not None
    shown = [line.strip() for line in module.__doc__.splitlines() if re.match(r"\s+\d+( - \d+)?\s+\d+\s+\d+", line)]
    assert shown == [line.strip() for line in table()]


def test_what_the_profiles_are() -> None:
    assert (choose(LINEAR, 9, 32768).k, choose(LINEAR, 9, 32768).m) == (1, 0)
    assert (choose(RAID0, 8, 32768).k, choose(RAID0, 8, 32768).m) == (8, 0)
    assert (choose(RAID1, 9, 32768).k, choose(RAID1, 9, 32768).m) == (1, 1)
    four = choose(profile_named("raid1c4"), 9, 32768)
    assert (four.width, four.tolerance) == (4, 3)
    assert (choose(RAID5, 5, 32768).k, choose(RAID5, 5, 32768).m) == (4, 1)
    assert choose(RAID5, 5, 32768).slots == EXTENT // 8192
    assert (choose(RAID6, 8, 32768).k, choose(RAID7, 8, 32768).k, choose(RAID4, 4, 32768).k) == (6, 5, 3)
    assert len(BY_NUMBER) == 10 + 62 and all(BY_NUMBER[profile.number] is profile for profile in PROFILES.values())


@pytest.mark.parametrize(
    ("profile", "members", "shape"),
    [
        (RAID10, 4, (2, 2, 2)), (RAID10, 5, (2, 2, 2)), (RAID10, 8, (4, 4, 4)), (RAID10, 64, (32, 32, 32)),
        (RAID50, 6, (4, 2, 2)), (RAID50, 9, (6, 2, 2)), (RAID50, 16, (8, 2, 2)), (RAID50, 64, (32, 4, 4)),
        (RAID60, 8, (4, 4, 2)), (RAID60, 12, (8, 4, 2)), (RAID60, 64, (32, 8, 4)),
    ],
)  # fmt: skip
def test_what_the_nested_ones_are(profile: Profile, members: int, shape: tuple[int, int, int]) -> None:
    layout = choose(profile, members, 32768)
    assert (layout.k, layout.m, layout.groups) == shape


@pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))
def test_where_few_have_room_it_is_narrower_and_as_safe(profile: Profile) -> None:
    for members in range(profile.narrowest, 12):
        layout = choose(profile, members, 32768, narrow=True)
        assert layout.width <= members and layout.tolerance == profile.parity
    with pytest.raises(LayoutError, match=f"{profile.name} needs at least"):
        choose(profile, profile.narrowest - 1, 32768, narrow=True)


@pytest.mark.parametrize("name", ["raid2", "raid1c2", "raid1c65", "raid1c03", "", "RAID5"])
def test_a_level_that_there_is_not(name: str) -> None:
    with pytest.raises(LayoutError, match=r"there is no RAID level .*there are: linear, raid0"):
        profile_named(name)


@pytest.mark.parametrize(
    ("profile", "members", "sentence"),
    [
        (RAID5, 2, "raid5 needs at least 3 members, not 2"),
        (RAID5, 0, "raid5 needs at least 3 members, not 0"),
        (RAID1, 1, "raid1 needs at least 2 members, not 1"),
        (profile_named("raid1c3"), 2, "raid1c3 needs at least 3 members, not 2"),
        (RAID0, 0, "raid0 needs at least 1 member, not 0"),
        (LINEAR, 0, "linear needs at least 1 member, not 0"),
    ],
)
def test_too_few_members(profile: Profile, members: int, sentence: str) -> None:
    with pytest.raises(LayoutError) as caught:
        choose(profile, members, 32768)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((RAID5, 4, 1, 5000), "a grain is a power of two from 4096 to 1048576 bytes, not 5000"),
        ((RAID5, 4, 1, 2048), "a grain is a power of two from 4096 to 1048576 bytes, not 2048"),
        ((RAID5, 4, 1, 2 << 20), "a grain is a power of two from 4096 to 1048576 bytes, not 2097152"),
        ((RAID5, 64, 1, 1 << 20), "raid5 has 1 to 63 data columns, not 64"),
        ((RAID5, 4, 2, 32768), "raid5 has 1 redundant column, not 2"),
        ((RAID6, 63, 2, 1 << 20), "a slot has at most 64 columns, not 65"),
        ((RAID10, 2, 4, 32768), "raid10 has groups of equal width, not 2 and 4 columns"),
        ((RAID50, 5, 2, 32768), "raid50 has groups of equal width, not 5 and 2 columns"),
        ((RAID60, 4, 3, 32768), "raid60 has groups of equal width, not 4 and 3 columns"),
        ((RAID60, 4, 0, 32768), "raid60 has groups of equal width, not 4 and 0 columns"),
        ((LINEAR, 2, 0, 32768), "linear has 1 data column, not 2"),
        ((RAID0, 2, 1, 32768), "raid0 has 0 redundant columns, not 1"),
        ((RAID1, 1, 0, 32768), "raid1 has 1 to 63 redundant columns, not 0"),
        ((RAID0, 9, 0, 4096), "a grain of 4096 bytes leaves one of 9 columns empty"),
        ((RAID0, 60, 0, 1 << 20), "a grain of 1048576 bytes leaves one of 60 columns empty"),
        ((LINEAR, 1, 0, 1 << 20, 1 << 19), "has no room for one slot"),
        ((LINEAR, 1, 0, 4096, 5000), "is no whole number of sectors"),
    ],
)
def test_a_layout_that_cannot_be(arguments: tuple[Profile, int, int, int], sentence: str) -> None:
    with pytest.raises(LayoutError, match=re.escape(sentence)):
        Layout.of(*arguments)
