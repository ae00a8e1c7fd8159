"""Stripes against an independent Galois-field library: every width, every loss that must be survived, and one more."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence

import pytest

from storvirt.raid.layout import (
    LINEAR,
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
    Profile,
)
from storvirt.raid.stripe import Stripe, StripeError

Reference = Callable[[Sequence[bytes], int], bytes]


@pytest.fixture(scope="module")
def field_sum() -> Reference:
    """Parity row 0, 1 or 2 of columns: sum of 2^(row * i) d_i in GF(2^8) with polynomial 0x11d, the field and the
    parities of Linux md, ZFS and ISA-L."""
    galois = pytest.importorskip("galois")  # takes seconds to load, and only this file needs it
    numpy = pytest.importorskip("numpy")

    field = galois.GF(2**8, irreducible_poly=0x11D)

    def add(columns: Sequence[bytes], row: int) -> bytes:
        rows = field([numpy.frombuffer(column, numpy.uint8) for column in columns])
        factors = field([int(field(2) ** (row * number)) for number in range(len(columns))])
        return bytes(numpy.add.reduce(rows * factors[:, None], axis=0).tobytes())

    return add


def layout_of(profile: Profile, k: int, m: int, grain: int) -> Layout | None:
    """None where a column would be empty: such a layout is refused."""
    sectors = grain // 512
    return Layout.of(profile, k, m, grain) if (k - 1) * -(-sectors // k) < sectors else None


def padded(layout: Layout, grain: bytes) -> list[bytes]:
    return [grain[at : at + layout.column].ljust(layout.column, b"\0") for at in range(0, layout.grain, layout.column)]


CASES = [
    *((level, k, level.parity) for level in (RAID5, RAID6, RAID7) for k in range(1, 17)),
    *((RAID0, k, 0) for k in range(1, 17)),
    *((RAID1, 1, m) for m in range(1, 16)),
    *((RAID10, k, k) for k in (1, 2, 3, 6, 8, 13, 32)),
    *((RAID50, groups * d, groups) for groups, d in ((1, 2), (2, 1), (2, 2), (3, 2), (2, 4), (4, 8))),
    *((RAID60, groups * d, 2 * groups) for groups, d in ((1, 2), (2, 1), (2, 2), (3, 2), (4, 8))),
    (RAID4, 3, 1),
    (LINEAR, 1, 0),
    (RAID5, 63, 1),
    (RAID6, 61, 2),
    (RAID7, 61, 3),
    (RAID1, 1, 63),
]
GRAINS = [4096 << shift for shift in range(9)]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0].name}-{case[1]}+{case[2]}")
def layout(request: pytest.FixtureRequest) -> Layout:
    profile, k, m = request.param
    found = next(filter(None, (layout_of(profile, k, m, grain) for grain in GRAINS)), None)
    assert found is not None
    return found


def test_split_is_the_grain_in_order_then_copies_or_the_field_sum(layout: Layout, field_sum: Reference) -> None:
    grain = random.Random(layout.k).randbytes(layout.grain)
    columns = Stripe(layout).split(grain)
    data = padded(layout, grain)
    assert columns[: layout.k] == data and len(data) == layout.k
    for column in range(layout.k, layout.width):
        of, row = layout.columns_of(layout.group(column))[: layout.d], (column - layout.k) % layout.p
        expected = data[of[0]] if layout.d == 1 else field_sum([data[i] for i in of], row)
        assert columns[column] == expected


def test_every_loss_that_is_promised_to_be_survived(layout: Layout) -> None:
    stripe, chance = Stripe(layout), random.Random(layout.width)
    grain = chance.randbytes(layout.grain)
    columns = stripe.split(grain)
    for lost in losses(layout, chance):
        left = [None if number in lost else column for number, column in enumerate(columns)]
        assert stripe.reconstruct(left) == columns, lost
        assert stripe.assemble(left) == grain, lost


def losses(layout: Layout, chance: random.Random) -> list[tuple[int, ...]]:
    """All of them for small stripes, of nested ones those that hit several groups, too; of very wide ones some of each
    size."""
    found: list[tuple[int, ...]] = []
    for count in range(min(layout.m, 4) + 1):
        every = itertools.combinations(range(layout.width), count)
        all_of_them = layout.width <= 12 or count <= 1
        found += every if all_of_them else [tuple(chance.sample(range(layout.width), count)) for _ in range(20)]
    one_of_each = [chance.sample(layout.columns_of(group), layout.p) for group in range(layout.groups)]
    return [*filter(layout.survives, found), tuple(itertools.chain(*one_of_each))]


def test_one_loss_more_is_refused_in_a_sentence(layout: Layout) -> None:
    stripe = Stripe(layout)
    columns = stripe.split(bytes(layout.grain))
    many = layout.tolerance + 1
    gone = layout.columns_of(layout.groups - 1)[-many:]
    left = [None if number in gone else column for number, column in enumerate(columns)]
    sentence = (
        f"{many} of {layout.width} columns are missing, and {layout.profile.name} survives the loss of {layout.p}"
        f"{' in each group' if layout.groups > 1 else ''}"
    )
    for ask in (stripe.reconstruct, stripe.assemble):
        with pytest.raises(StripeError) as caught:
            ask(left)
        assert str(caught.value) == sentence


def test_a_piece_of_the_columns_is_enough(layout: Layout) -> None:
    """A degraded read of 4 KiB reads 4 KiB of the others, not whole columns."""
    stripe, chance = Stripe(layout), random.Random(1)
    columns = stripe.split(chance.randbytes(layout.grain))
    start = chance.randrange(0, layout.column, 512)
    length = chance.randrange(512, layout.column - start + 512, 512)
    pieces = [column[start : start + length] for column in columns]
    for lost in range(layout.width if layout.tolerance else 0):
        left = [None if number == lost else piece for number, piece in enumerate(pieces)]
        assert stripe.reconstruct(left) == pieces


def test_agrees_notices_a_bit_in_any_column(layout: Layout) -> None:
    stripe, chance = Stripe(layout), random.Random(2)
    columns = stripe.split(chance.randbytes(layout.grain))
    assert stripe.agrees(columns)
    for number in range(layout.width):
        bad = bytearray(columns[number])
        bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
        assert stripe.agrees([*columns[:number], bad, *columns[number + 1 :]]) == (layout.m == 0)


@pytest.mark.parametrize("grain", GRAINS)
def test_every_grain_comes_back_from_columns_one_of_which_is_lost(grain: int, field_sum: Reference) -> None:
    chance = random.Random(grain)
    for k in range(2, 17):
        layout = layout_of(RAID5, k, 1, grain)
        if layout is None:
            continue
        data = chance.randbytes(grain)
        columns = Stripe(layout).split(data)
        lost = chance.randrange(layout.width)
        others = [column for number, column in enumerate(columns) if number != lost]
        assert field_sum(others, 0) == columns[lost]
        assert Stripe(layout).assemble([*columns[:lost], None, *columns[lost + 1 :]]) == data


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ([bytes(2048)] * 2, "a stripe of 3 columns can't be made of 2"),
        ([bytes(2048), bytes(1024), bytes(2048)], "column 1 has 1024 bytes"),
        ([bytes(100)] * 3, "column 0 has 100 bytes"),
        ([bytes(1024)] * 3, "a column has 2048 bytes, not 1024"),
        ([None, None, None], "3 of 3 columns are missing"),
    ],
)
def test_junk_is_refused(columns: list[bytes | None], sentence: str) -> None:
    stripe = Stripe(Layout.of(RAID5, 2, 1, 4096))
    with pytest.raises(StripeError, match=sentence):
        stripe.assemble(columns)


def test_a_grain_of_another_size_and_a_missing_column_are_refused() -> None:
    stripe = Stripe(Layout.of(RAID5, 2, 1, 4096))
    with pytest.raises(StripeError, match="a grain has 4096 bytes, not 4095"):
        stripe.split(bytes(4095))
    with pytest.raises(StripeError, match="nothing can be compared"):
        stripe.agrees([bytes(2048), None, bytes(2048)])  # type: ignore[list-item]  # junk on purpose


def test_no_buffer_is_held_or_changed() -> None:
    stripe = Stripe(Layout.of(RAID5, 3, 1, 4096))
    grain = bytearray(random.Random(3).randbytes(4096))
    columns = [bytearray(column) for column in stripe.split(grain)]
    kept = [bytes(column) for column in columns]
    assert stripe.assemble([columns[0], None, columns[2], columns[3]]) == grain
    assert [bytes(column) for column in columns] == kept
    for buffer in (grain, *columns):
        buffer.clear()
