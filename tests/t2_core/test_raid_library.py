"""Every level, width and loss against a library for Galois fields that is not ours (galois, on numpy and numba).

It makes the stripes: data as it lies in the grain, copies, and sums of 2^(row * column) in GF(2^8) with polynomial
0x11d. Ours must make the same ones, and make them whole again from whatever is left of them: every set of losses up to
a width of 9, and of wider stripes every single one, all that VFAB_LONG has time for, and some of each size.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from storvirt.raid.layout import MAX_GRAIN, MIN_GRAIN, MOST_COLUMNS, PROFILES, Layout, LayoutError, profile_named
from storvirt.raid.stripe import Stripe
from tests.t2_core.test_raid_field import TABLE

LONG = bool(os.environ.get("VFAB_LONG"))
SMALL = 11 if LONG else 9
LEVELS = (*PROFILES, "raid1c7", "raid1c64")


class Library:
    def __init__(self, galois: Any, numpy: Any) -> None:
        self.numpy = numpy
        self.field = galois.GF(2**8, irreducible_poly=0x11D)
        self.two = self.field(2)

    def sum(self, columns: Sequence[bytes], row: int) -> bytes:
        """Of 2^(row * i) times column i."""
        rows = self.field([self.numpy.frombuffer(column, self.numpy.uint8) for column in columns])
        factors = self.field([int(self.two ** (row * number)) for number in range(len(columns))])
        return bytes(self.numpy.add.reduce(rows * factors[:, None], axis=0).tobytes())

    def stripe(self, layout: Layout, grain: bytes) -> list[bytes]:
        """Data columns; then, group by group, as many redundant ones as each has."""
        size, d = layout.column, layout.d
        data = [grain[at : at + size].ljust(size, b"\0") for at in range(0, layout.grain, size)]
        groups = [data[at : at + d] for at in range(0, layout.k, d)]
        return data + [self._redundant(group, row) for group in groups for row in range(layout.p)]

    def _redundant(self, group: Sequence[bytes], row: int) -> bytes:
        return group[0] if len(group) == 1 else self.sum(group, row)


@pytest.fixture(scope="module")
def library() -> Library:
    return Library(pytest.importorskip("galois"), pytest.importorskip("numpy"))


def layouts(raid: str) -> Iterator[Layout]:
    """Every shape that a slot of this level may have, with the smallest grain that fills it."""
    profile = profile_named(raid)
    for m in range(profile.parity, MOST_COLUMNS):
        for k in range(1, MOST_COLUMNS - m + 1):
            grain = MIN_GRAIN
            while grain <= MAX_GRAIN:
                try:
                    yield Layout.of(profile, k, m, grain)
                    break
                except LayoutError as error:
                    if "leaves one of" not in str(error):
                        break
                    grain *= 2


def test_the_bit_by_bit_table_of_the_other_tests_is_that_of_the_library(library: Library) -> None:
    every = library.field(list(range(256)))
    for number in range(256):
        assert bytes((every * library.field(number)).tobytes()) == TABLE[number]


@pytest.mark.parametrize("raid", LEVELS)
def test_every_width_is_made_as_the_library_makes_it(raid: str, library: Library) -> None:
    widths = set()
    for layout in layouts(raid):
        grain = random.Random(f"{layout.k}+{layout.m}").randbytes(layout.grain)
        assert Stripe(layout).split(grain) == library.stripe(layout, grain), layout
        widths.add(layout.width)
    if profile_named(raid).wide:  # some above 50 would have a column of nothing but padding, and are refused
        assert widths >= set(range(profile_named(raid).narrowest, 51, 2 if raid == "raid10" else 1))


@pytest.mark.parametrize("raid", LEVELS)
def test_what_the_library_made_is_made_whole_after_every_loss(raid: str, library: Library) -> None:
    chance = random.Random(raid)
    for layout in layouts(raid):
        grain = chance.randbytes(layout.grain)
        columns, stripe = library.stripe(layout, grain), Stripe(layout)
        for lost in losses(layout, chance):
            left = [None if number in lost else column for number, column in enumerate(columns)]
            assert stripe.reconstruct(left) == columns, (layout, lost)
            assert stripe.assemble(left) == grain, (layout, lost)


def losses(layout: Layout, chance: random.Random) -> Iterator[tuple[int, ...]]:
    """Sets of columns of which no group loses more than it has redundant ones."""
    if layout.width <= SMALL:
        for count in range(1, layout.m + 1):
            yield from filter(layout.survives, itertools.combinations(range(layout.width), count))
        return
    if layout.p:
        yield from itertools.combinations(range(layout.width), 1)
    if LONG and layout.p > 1 and not layout.profile.copies:
        yield from itertools.combinations(range(layout.width), 2)
    for _ in range(20 if LONG else 3):
        each = (chance.randint(0, layout.p) for _ in range(layout.groups))
        yield tuple(c for g, count in enumerate(each) for c in chance.sample(layout.columns_of(g), count))
    yield tuple(c for g in range(layout.groups) for c in chance.sample(layout.columns_of(g), layout.p))
