"""The RAID layout: every byte of a grain in exactly one place, padding under 5 % at any width, clear mistakes."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storvirt.raid import layout as module
from storvirt.raid.layout import EXTENT, LINEAR, PROFILES, RAID0, RAID1, RAID5, Layout, LayoutError, Profile, choose

GRAINS = [4096 << shift for shift in range(9)]


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    profile = draw(st.sampled_from(sorted(PROFILES.values())))
    copies = draw(st.integers(2, 6))
    members = draw(st.integers(max(profile.members, copies if profile.copies else 1), 70))
    extent = draw(st.sampled_from([1 << 20, EXTENT, 64 << 20]))
    return choose(profile, members, draw(st.sampled_from(GRAINS)), copies, extent)


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
        assert layout.role(column) == ("copy" if layout.profile.copies else "parity")
        assert len(layout.held(column)) == (layout.grain if layout.profile.copies else 0)
    assert layout.column % 512 == 0
    assert layout.slots * layout.column <= layout.extent < (layout.slots + 1) * layout.column


@given(layouts(), st.data())
def test_sources_do_without_what_is_lost(layout: Layout, data: st.DataObject) -> None:
    lost = frozenset(data.draw(st.sets(st.integers(0, layout.width - 1), max_size=layout.tolerance)))
    for column in range(layout.width):
        sources = layout.sources(column, lost)
        assert sources and not lost & set(sources)
        if column not in lost:
            assert sources == (column,)
        elif layout.profile.copies:
            assert len(sources) == 1
        else:
            assert sorted({column, *sources}) == list(range(layout.width))


@pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))
def test_one_loss_too_many_is_said(profile: Profile) -> None:
    layout = choose(profile, max(5, profile.members), 32768, 3)
    lost = frozenset(range(layout.tolerance + 1))
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
    assert (choose(RAID1, 9, 32768, copies=4).width, choose(RAID1, 9, 32768, copies=4).tolerance) == (4, 3)
    assert (choose(RAID5, 5, 32768).k, choose(RAID5, 5, 32768).m) == (4, 1)
    assert choose(RAID5, 5, 32768).slots == EXTENT // 8192
    assert len({profile.number for profile in PROFILES.values()}) == len(PROFILES)


@pytest.mark.parametrize(
    ("profile", "members", "copies", "sentence"),
    [
        (RAID5, 2, 2, "raid5 needs at least 3 members, not 2"),
        (RAID5, 0, 2, "raid5 needs at least 3 members, not 0"),
        (RAID1, 1, 2, "raid1 needs at least 2 members, not 1"),
        (RAID1, 2, 3, "raid1 with 3 copies needs at least 3 members, not 2"),
        (RAID0, 0, 2, "raid0 needs at least 1 member, not 0"),
        (LINEAR, 0, 2, "linear needs at least 1 member, not 0"),
    ],
)
def test_too_few_members(profile: Profile, members: int, copies: int, sentence: str) -> None:
    with pytest.raises(LayoutError) as caught:
        choose(profile, members, 32768, copies)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((RAID5, 4, 1, 5000), "a grain is a power of two from 4096 to 1048576 bytes, not 5000"),
        ((RAID5, 4, 1, 2048), "a grain is a power of two from 4096 to 1048576 bytes, not 2048"),
        ((RAID5, 4, 1, 2 << 20), "a grain is a power of two from 4096 to 1048576 bytes, not 2097152"),
        ((RAID5, 64, 1, 1 << 20), "raid5 has 1 to 63 data columns, not 64"),
        ((RAID5, 4, 2, 32768), "raid5 has 1 redundant column, not 2"),
        ((RAID5, 1, 1, 32768), "raid5 has at least 3 columns, not 2"),
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
