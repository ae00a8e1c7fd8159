"""GF(2^8) in every path that this processor has, against multiplication bit by bit; and that any three losses can be
made good, for every width. (test_raid_stripe.py holds whole stripes against another library.)"""

from __future__ import annotations

import itertools
import random
import sys

import pytest

from storvirt.raid import field
from tests.t2_core.test_raid_kernels import cpu_flags


def times(a: int, b: int) -> int:
    """A bit at a time, modulo x^8 + x^4 + x^3 + x^2 + 1."""
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a = a << 1 ^ (0x11D if a & 0x80 else 0)
        b >>= 1
    return product


TABLE = [bytes(times(a, b) for b in range(256)) for a in range(256)]


def power(exponent: int) -> int:
    value = 1
    for _ in range(exponent % 255):
        value = times(value, 2)
    return value


def summed(columns: list[bytes], constants: list[int]) -> bytes:
    total = 0
    for column, constant in zip(columns, constants, strict=True):
        total ^= int.from_bytes(column.translate(TABLE[constant]), "little")
    return total.to_bytes(len(columns[0]), "little")


@pytest.fixture(params=field.gf_paths())
def path(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def unaligned(chance: random.Random, count: int, size: int) -> list[memoryview]:
    return [
        memoryview(chance.randbytes(size + 64))[start : start + size]
        for start in (chance.randrange(64) for _ in range(count))
    ]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 8, 16, 33, 61])
def test_parities_are_sums_of_powers(count: int, path: str) -> None:
    chance = random.Random(count)
    for size, rows in itertools.product((512, 1536, 8192), (1, 2, 3)):
        columns = unaligned(chance, count, size)
        room = [bytearray(b"\xee" * (size + 65)) for _ in range(rows)]
        start = chance.randrange(1, 64)
        field.gf_parity(columns, [memoryview(out)[start : start + size] for out in room], path)
        for row, out in enumerate(room):
            constants = [power(row * i) for i in range(count)]
            assert out[start : start + size] == summed([bytes(column) for column in columns], constants)
            assert set(out[:start] + out[start + size :]) == {0xEE}


def test_every_product_there_is(path: str) -> None:
    column = bytes(range(256)) * 2
    for constant in range(256):
        out = bytearray(512)
        field.gf_sum([column], [constant], out, path)
        assert out == column.translate(TABLE[constant])


@pytest.mark.parametrize("count", [1, 2, 5, 63])
def test_sums_of_products_also_into_one_of_the_columns(count: int, path: str) -> None:
    chance = random.Random(count)
    for size in (512, 1024, 11264):
        columns = [bytearray(column) for column in unaligned(chance, count, size)]
        constants = [chance.choice((0, 1, 2, chance.randrange(256))) for _ in range(count)]
        expected = summed([bytes(column) for column in columns], constants)
        into = chance.randrange(count)
        field.gf_sum(columns, constants, columns[into], path)
        assert columns[into] == expected


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/cpuinfo")
def test_what_the_processor_has_is_offered() -> None:
    flags, paths = cpu_flags(), field.gf_paths()
    assert paths[0] == "generic" and field.gf_path() == paths[-1]
    assert ("neon" in paths) == ("asimd" in flags)
    assert ("ssse3" in paths) == ("ssse3" in flags)
    assert ("avx2" in paths) == ({"avx2", "ssse3"} <= flags)
    assert ("gfni" in paths) == ({"avx2", "gfni"} <= flags)
    assert ("gfni-avx512" in paths) == ({"avx2", "gfni", "avx512f", "avx512bw"} <= flags)


# --- losses


def holds(d: int, p: int, wanted: int, found: dict[int, int]) -> bool:
    """The sum is the wanted column: as sums of data columns both are the same."""
    total = [0] * d
    for column, constant in [*found.items(), (wanted, 1)]:
        for i in range(d):
            factor = int(i == column) if column < d else 1 if d == 1 else power((column - d) * i)
            total[i] ^= times(constant, factor)
    return not any(total)


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize("d", range(1, 9))
def test_every_loss_of_small_groups(d: int, p: int) -> None:
    for count in range(d + p + 1):
        for lost in itertools.combinations(range(d + p), count):
            mask = sum(1 << column for column in lost)
            for wanted in lost:
                found = field.gf_sources(d, p, wanted, mask)
                if found is None:
                    assert count > p
                else:
                    assert not set(found) & set(lost) and len(found) <= d and holds(d, p, wanted, found)


def test_any_three_losses_at_the_full_width() -> None:
    """61 data columns and P, Q, R are all 64. What a narrower group has are the first of these columns: a loss that
    could not be made good there could not be made good here."""
    chance, d, p = random.Random(1), 61, 3
    for count in (1, 2, 3):
        for lost in itertools.combinations(range(d + p), count):
            mask = sum(1 << column for column in lost)
            found = [field.gf_sources(d, p, wanted, mask) for wanted in lost]
            assert all(found), lost
            if chance.random() < 0.002:
                assert all(holds(d, p, wanted, one or {}) for wanted, one in zip(lost, found, strict=True))


@pytest.mark.parametrize("d", [2, 5, 24])
def test_two_losses_with_two_parities(d: int) -> None:
    for lost in itertools.combinations(range(d + 2), 2):
        for wanted in lost:
            found = field.gf_sources(d, 2, wanted, sum(1 << column for column in lost))
            assert found is not None and holds(d, 2, wanted, found)


def test_of_copies_any_one_is_enough() -> None:
    for left in range(64):
        for wanted in range(0, 64, 7):
            found = field.gf_sources(1, 63, wanted, ((1 << 64) - 1) & ~(1 << left))
            assert found == (None if wanted == left else {left: 1})


# --- junk


@pytest.mark.parametrize(
    ("columns", "outs", "sentence"),
    [
        ([], [512], "1 parities of 0 columns"),
        ([512], [512] * 4, "4 parities of 1 columns"),
        ([512] * 256, [512], "1 parities of 256 columns"),
        ([512, 1024], [512], "equally long"),
        ([512], [1024], "equally long"),
        ([100], [100], "a multiple of 512 bytes, not 100"),
    ],
)
def test_columns_that_do_not_fit_are_refused(columns: list[int], outs: list[int], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        field.gf_parity([bytes(size) for size in columns], [bytearray(size) for size in outs])


def test_other_junk_is_refused() -> None:
    with pytest.raises(ValueError, match="no path 'mmx'; it has generic"):
        field.gf_parity([bytes(512)], [bytearray(512)], "mmx")
    with pytest.raises(ValueError, match="1 columns and 2 constants"):
        field.gf_sum([bytes(512)], [1, 2], bytearray(512))
    with pytest.raises((TypeError, BufferError)):
        field.gf_sum([bytes(512)], [1], bytes(512))  # type: ignore[arg-type]  # junk on purpose
    for d, p, wanted in ((0, 1, 0), (2, 4, 0), (62, 3, 0), (3, 1, 4), (3, 1, -1), (3, -1, 0)):
        with pytest.raises(ValueError, match="there is no column"):
            field.gf_sources(d, p, wanted, 0)
