"""A volume's map: entries, eviction, the tree of pages written and read back, growing, and a store that fails."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storvirt.pool.format import NO_PAGE, FormatError, PagePointer
from storvirt.raid.kernels import crc32c
from storvirt.volume.map import PAGE, PER_PAGE, VolumeMap, levels_for

MIB, GIB = 1 << 20, 1 << 30
Entry = tuple[int, int, int, list[int]]


class Pages:
    """Where pages go: each to a place of its own, never used again while it is in use."""

    def __init__(self) -> None:
        self.kept: dict[tuple[int, int], bytes] = {}
        self.stored = self.loads = 0
        self.fail_at = -1

    def store(self, page: bytes) -> PagePointer:
        if self.stored == self.fail_at:
            raise OSError("told to fail")
        self.stored += 1
        assert len(page) == PAGE
        self.kept[1, self.stored] = page
        return PagePointer(1, self.stored, crc32c(0, page), self.stored)

    def load(self, pointer: PagePointer) -> bytes:
        self.loads += 1
        page = self.kept[pointer.slab, pointer.slot]
        assert crc32c(0, page) == pointer.crc
        return page

    def drop(self, unused: list[PagePointer]) -> None:
        for pointer in unused:
            del self.kept[pointer.slab, pointer.slot]


def entry_of(volume_map: VolumeMap, dice: random.Random) -> Entry:
    crcs = [dice.getrandbits(32) for _ in range(volume_map.blocks)]
    return dice.randrange(1, 1000), dice.getrandbits(32), dice.getrandbits(63), crcs


def filled(volume_map: VolumeMap, grains: list[int], dice: random.Random) -> dict[int, Entry]:
    rows = {grain: entry_of(volume_map, dice) for grain in grains}
    for grain, row in rows.items():
        volume_map.set_entry(grain, *row)
    return rows


def agree(volume_map: VolumeMap, model: dict[int, Entry]) -> None:
    for grain, row in model.items():
        assert volume_map.entry(grain) == row
    expected = [(grain, model[grain][0], model[grain][1]) for grain in sorted(model) if model[grain][0]]
    assert list(volume_map.allocated()) == expected


def reread(pages: Pages, volume_map: VolumeMap, root: PagePointer, size: int, **options: int) -> VolumeMap:
    again = VolumeMap(volume_map.volume, size, volume_map.grain, pages.load, **options)
    again.read_tree(root, volume_map.levels)
    return again


@pytest.mark.parametrize("grain", [4096 << shift for shift in range(9)])
def test_what_is_set_is_found(grain: int) -> None:
    dice, pages = random.Random(grain), Pages()
    volume_map = VolumeMap(7, 3000 * grain, grain, pages.load)
    assert volume_map.grains == 3000 and volume_map.entry(17) is None
    model = filled(volume_map, dice.sample(range(3000), 200), dice)
    agree(volume_map, model)
    root, unused = volume_map.write_tree(pages.store)
    assert not unused
    agree(reread(pages, volume_map, root, 3000 * grain), model)


def test_an_entry_of_an_untouched_leaf_is_none_and_beside_one_that_was_set_it_is_a_hole() -> None:
    volume_map = VolumeMap(1, 100 * MIB, 32768, Pages().load)
    volume_map.set_entry(5, 1, 2, 3, [0] * 8)
    assert volume_map.entry(6) == (0, 0, 0, [0] * 8)
    assert volume_map.entry(volume_map.per_leaf) is None


@pytest.mark.parametrize(
    ("size", "grain", "levels"),
    [(4096, 4096, 0), (10 * MIB, 32768, 0), (11 * MIB, 32768, 1), (6 * GIB, 32768, 1), (100 * GIB, 32768, 2)],
)
def test_how_high_the_tree_is(size: int, grain: int, levels: int) -> None:
    assert levels_for(size, grain) == levels == VolumeMap(1, size, grain, Pages().load).levels


def test_clean_leaves_make_room_and_dirty_ones_stay() -> None:
    dice, pages = random.Random(2), Pages()
    size, limit = 64 * 340 * 32768, 8
    volume_map = VolumeMap(1, size, 32768, pages.load, limit=limit)
    grains = [leaf * volume_map.per_leaf + dice.randrange(volume_map.per_leaf) for leaf in range(60)]
    model = filled(volume_map, grains, dice)
    assert volume_map.loaded == volume_map.dirty_leaves == 60, "what no page has yet is not forgotten"
    root, _ = volume_map.write_tree(pages.store)
    again = reread(pages, volume_map, root, size, limit=limit)
    for _ in range(5):
        for grain in dice.sample(grains, 60):
            assert again.entry(grain) == model[grain]
            assert again.loaded <= limit
    before = pages.loads
    for _ in range(50):
        again.entry(grains[0])
    assert pages.loads <= before + 1, "what is used stays"
    changed = filled(again, grains[:20], dice)
    agree(again, model | changed)
    assert again.dirty_leaves == 20 <= again.loaded


@given(st.lists(st.lists(st.integers(0, 9999), min_size=1, max_size=12), min_size=1, max_size=6), st.integers(1, 40))
@settings(deadline=None, max_examples=60)
def test_checkpoint_after_checkpoint(rounds: list[list[int]], limit: int) -> None:
    """Only what is reachable is kept, and every root that was ever returned leads to what was there then."""
    dice, pages = random.Random(len(rounds)), Pages()
    size = 10_000 * 32768
    volume_map = VolumeMap(3, size, 32768, pages.load, limit=limit)
    model: dict[int, Entry] = {}
    for grains in rounds:
        model |= filled(volume_map, grains, dice)
        root, unused = volume_map.write_tree(pages.store)
        before = dict(pages.kept)
        agree(reread(pages, volume_map, root, size), model)
        pages.drop(unused)
        assert sorted(pages.kept) == sorted((page.slab, page.slot) for page in volume_map.pages())
        agree(reread(pages, volume_map, root, size), model)
        assert volume_map.dirty_leaves == 0
        assert volume_map.write_tree(pages.store) == (root, []) and len(before) >= len(pages.kept)


@pytest.mark.parametrize("fail_at", range(6))
def test_a_store_that_fails_changes_nothing(fail_at: int) -> None:
    dice, pages = random.Random(fail_at), Pages()
    size = 3 * 340 * 32768
    volume_map = VolumeMap(3, size, 32768, pages.load)
    first = filled(volume_map, [0, 400, 800], dice)
    root, _ = volume_map.write_tree(pages.store)
    second = filled(volume_map, [1, 401, 801], dice)
    kept = list(volume_map.pages())
    pages.fail_at = pages.stored + fail_at
    if fail_at < 4:
        with pytest.raises(OSError, match="told to fail"):
            volume_map.write_tree(pages.store)
        assert list(volume_map.pages()) == kept and volume_map.dirty_leaves == 3
        agree(reread(pages, volume_map, root, size), first)
    pages.fail_at = -1
    root, unused = volume_map.write_tree(pages.store)
    assert sorted(unused) == sorted(kept)
    agree(reread(pages, volume_map, root, size), first | second)


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize(
    ("small", "large"), [(4096, 11 * MIB), (MIB, 7 * GIB), (20 * MIB, 5 * GIB), (6 * GIB, 80 * GIB)]
)
def test_it_grows(small: int, large: int, written: bool) -> None:
    """The root that is there goes on to be read until a higher one is written, whatever the row says of the size."""
    dice, pages = random.Random(small), Pages()
    volume_map = VolumeMap(3, small, 32768, pages.load)
    model = filled(volume_map, [0, volume_map.grains - 1], dice)
    old_levels = volume_map.levels
    root, _ = volume_map.write_tree(pages.store)
    if not written:
        model |= filled(volume_map, [0], dice)
    volume_map.grow(large)
    assert volume_map.levels == levels_for(large, 32768) and volume_map.grains == large // 32768
    after_crash = VolumeMap(3, large, 32768, pages.load)
    after_crash.read_tree(root, old_levels)
    for one in (volume_map, after_crash):
        grown = model | filled(one, [one.grains - 1, one.grains // 2, 0], dice)
        agree(one, grown)
        new_root, unused = one.write_tree(pages.store)
        agree(reread(pages, one, new_root, large), grown)
        assert len(unused) <= 1 + old_levels + 1
    assert PER_PAGE > 600


def test_pages_that_are_not_what_they_should_be() -> None:
    dice, pages = random.Random(1), Pages()
    size = 3 * 340 * 32768
    volume_map = VolumeMap(3, size, 32768, pages.load)
    filled(volume_map, [0, 400], dice)
    root, _ = volume_map.write_tree(pages.store)
    for volume, levels in ((4, 1), (3, 0)):
        other = VolumeMap(volume, size, 32768, pages.load)
        with pytest.raises(FormatError, match="something else"):
            other.read_tree(root, levels)
            other.entry(0)
    with pytest.raises(FormatError, match="levels"):
        VolumeMap(3, size, 32768, pages.load).read_tree(root, 2)
    empty = VolumeMap(3, size, 32768, pages.load)
    empty.read_tree(NO_PAGE, 1)
    assert empty.entry(0) is None and not list(empty.pages())
