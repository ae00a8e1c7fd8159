"""Faulty: a Block that fails and lies at given rates, and counts how often.

Knows: what disks do wrong. Refuses to know: when (the dice are handed in), how anybody notices.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import NamedTuple

from storvirt.block import SECTOR, Block, BlockError
from storvirt.wrappers.through import Through


class Rates(NamedTuple):
    """Odds per call, 0 to 1."""

    read_error: float = 0.0
    write_error: float = 0.0
    flush_error: float = 0.0
    flip: float = 0.0  # a read has one bit turned
    torn: float = 0.0  # a write ends at some sector and says that all is well
    lost: float = 0.0  # a write, zero or trim does nothing and says that all is well
    misdirected: float = 0.0  # a write lands one place of its own length further on, or back
    lying_flush: float = 0.0


class Faulty(Through):
    """`dice()` gives numbers from 0 up to, not including, 1. `rates` may be replaced at any time."""

    def __init__(self, block: Block, dice: Callable[[], float], rates: Rates) -> None:
        super().__init__(block)
        self.dice = dice
        self.rates = rates
        self.counts = dict.fromkeys(Rates._fields, 0)

    def statistics(self) -> dict[str, int]:
        """How often each fault has happened."""
        return dict(self.counts)

    def _strikes(self, fault: str) -> bool:
        odds: float = getattr(self.rates, fault)
        struck = odds > 0 and self.dice() < odds
        self.counts[fault] += struck
        return struck

    def _may_fail(self, fault: str, call: str) -> None:
        if self._strikes(fault):
            raise BlockError(errno.EIO, f"the {call} was told to fail")

    def read(self, offset: int, length: int) -> bytes:
        self._may_fail("read_error", "read")
        data = self.block.read(offset, length)
        if not length or not self._strikes("flip"):
            return data
        place, bit = divmod(int(self.dice() * length * 8), 8)
        return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]

    def write(self, offset: int, data: bytes | memoryview, fua: bool = False) -> None:
        self._may_fail("write_error", "write")
        view = memoryview(data).cast("B")
        if self._strikes("lost"):
            return
        if len(view) > SECTOR and self._strikes("torn"):
            view = view[: int(self.dice() * len(view)) // SECTOR * SECTOR]
        places = [place for place in (offset + len(view), offset - len(view)) if 0 <= place <= self.size - len(view)]
        if places and self._strikes("misdirected"):
            offset = places[0]
        self.block.write(offset, view, fua)

    def zero(self, offset: int, length: int, may_trim: bool = True, fua: bool = False) -> None:
        self._may_fail("write_error", "zero")
        if not self._strikes("lost"):
            self.block.zero(offset, length, may_trim, fua)

    def trim(self, offset: int, length: int, fua: bool = False) -> None:
        self._may_fail("write_error", "trim")
        if not self._strikes("lost"):
            self.block.trim(offset, length, fua)

    def flush(self) -> None:
        self._may_fail("flush_error", "flush")
        if not self._strikes("lying_flush"):
            self.block.flush()
