"""One grain as it lies on its columns: what of it verifies, which columns lie, and what each of them should hold.

Knows: checksums of blocks, how a column is made of others, in which words that is said. Refuses to know: members'
files, who points to the grain, what is done about it. It reads and computes apart from the data path (reader.pyx),
which it is held against.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from storvirt.pool.healing import suspects
from storvirt.pool.slab import Slab
from storvirt.raid.field import gf_sources, gf_sum
from storvirt.raid.kernels import crc32c
from storvirt.raid.layout import Layout
from storvirt.raid.stripe import Stripe, StripeError

BLOCK = 4096
_IDENTITY = struct.Struct("<QQQ")
_ZEROS = bytes(BLOCK)
_PARITIES = "PQR"


def grain_seed(volume: int, grain: int, birth: int) -> int:
    """What the CRC of a grain's blocks begins with: the one of reader.pxd."""
    return crc32c(0, _IDENTITY.pack(volume, grain, birth))


class Judged(NamedTuple):
    """content: of the grain, right where `bad` does not name a block; wrong: columns that lie, where that is known: it
    is when all blocks are right; unreadable: columns of members that are there; bad: blocks that no way leads to;
    given_up: blocks that were lost long ago, and read as errors since; expected: what each column should hold, or
    ()."""

    content: bytes
    wrong: tuple[int, ...]
    unreadable: tuple[int, ...]
    bad: tuple[int, ...]
    given_up: tuple[int, ...]
    expected: tuple[bytes, ...]


def columns_of(slab: Slab, slot: int) -> list[bytes | None]:
    """What each column holds; None where it can't be read."""
    return [slab.column_bytes(slot, column) for column in range(slab.width)]


def judge(slab: Slab, layout: Layout, columns: Sequence[bytes | None], seed: int, crcs: Sequence[int]) -> Judged:
    """Of a grain whose blocks have these CRCs. columns: as they lie."""
    ways = _Ways(slab, Stripe(layout), columns)
    content = bytearray(layout.grain)
    bad: list[int] = []
    given_up: list[int] = []
    for block, crc in enumerate(crcs):
        at = block * BLOCK
        found = ways.block(at, seed, crc)
        if found is None:
            found = ways.as_it_lies(at)
            given = found == _ZEROS and crc32c(seed, found) == ~crc & 0xFFFFFFFF
            (given_up if given else bad).append(block)
        content[at : at + BLOCK] = found
    there = [i for i in range(layout.width) if not slab.missing >> i & 1]
    unreadable = tuple(i for i in there if columns[i] is None)
    if bad:
        return Judged(bytes(content), (), unreadable, tuple(bad), tuple(given_up), ())
    expected = tuple(Stripe(layout).split(bytes(content)))
    wrong = tuple(i for i in there if columns[i] is not None and columns[i] != expected[i])
    return Judged(bytes(content), wrong, unreadable, (), tuple(given_up), expected)


class _Ways:
    """Ways to have a grain: with all columns, and without those that may lie. The one that led to a block is tried
    first for the next."""

    def __init__(self, slab: Slab, stripe: Stripe, columns: Sequence[bytes | None]) -> None:
        self._slab, self._stripe, self._columns = slab, stripe, columns
        self._known: dict[int, bytes | None] = {0: self._grain(0)}

    def block(self, at: int, seed: int, crc: int) -> bytes | None:
        for way, grain in self._all(at):
            if grain is not None and crc32c(seed, grain[at : at + BLOCK]) == crc:
                self._known[way] = grain
                return grain[at : at + BLOCK]
        return None

    def as_it_lies(self, at: int) -> bytes:
        grain = self._known[0]
        return grain[at : at + BLOCK] if grain is not None else _ZEROS

    def _all(self, at: int) -> Iterator[tuple[int, bytes | None]]:
        yield from list(self._known.items())
        for way in suspects(self._slab, at, BLOCK):
            if way not in self._known:
                yield way, self._grain(way)

    def _grain(self, without: int) -> bytes | None:
        left = [None if without >> i & 1 else column for i, column in enumerate(self._columns)]
        try:
            return self._stripe.assemble(left)
        except StripeError:
            return None


# --- equations


class Equation(NamedTuple):
    """A column as a sum of others in GF(2^8). constants: by column; text: `Q = D0 + 2*D1`."""

    column: int
    constants: dict[int, int]
    text: str

    def computed(self, columns: Sequence[bytes | None]) -> bytes | None:
        """What the sum comes to; None where one of its columns is not there."""
        parts = [columns[i] for i in self.constants]
        there = [part for part in parts if part is not None]
        if len(there) < len(parts):
            return None
        out = bytearray(len(there[0]))
        gf_sum(there, list(self.constants.values()), out)
        return bytes(out)

    def holds(self, columns: Sequence[bytes | None]) -> bool | None:
        computed, there = self.computed(columns), columns[self.column]
        return None if computed is None or there is None else computed == there


def label(layout: Layout, column: int) -> str:
    """D0, D1, ... are data, C0, C1, ... copies; P, Q, R parities, with the number of their group if there are
    several."""
    if column < layout.k:
        return f"D{column}"
    number = column - layout.k
    if layout.role(column) == "copy":
        return f"C{number}"
    return _PARITIES[number % layout.p] + (str(number // layout.p) if layout.groups > 1 else "")


def must_hold(layout: Layout) -> list[Equation]:
    """What each redundant column is made of, by the data."""
    redundant = range(layout.k, layout.width)
    found = (equation(layout, column, frozenset(redundant)) for column in redundant)
    return [one for one in found if one is not None]


def equation(layout: Layout, column: int, lost: frozenset[int]) -> Equation | None:
    """How a column is had without it and without those that are lost; None if too many are."""
    members = layout.columns_of(layout.group(column))
    mask = sum(1 << place for place, other in enumerate(members) if other in lost)
    sums = gf_sources(layout.d, layout.p, members.index(column), mask)
    if sums is None:
        return None
    constants = {members[place]: factor for place, factor in sorted(sums.items())}
    terms = [f"{factor}*{label(layout, i)}" if factor != 1 else label(layout, i) for i, factor in constants.items()]
    return Equation(column, constants, f"{label(layout, column)} = {' + '.join(terms)}")
