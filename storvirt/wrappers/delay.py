"""Delay: a Block that takes its time. Knows: how long each kind of call shall take. Refuses to know: how to wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from storvirt.block import Block, Extent
from storvirt.wrappers.through import Through


class Times(NamedTuple):
    """Nanoseconds added to each call."""

    read: int = 0
    write: int = 0  # zero and trim too
    flush: int = 0
    extents: int = 0


class Delay(Through):
    """`sleep(nanoseconds)` is called before each call that has a time. `times` may be replaced at any time."""

    def __init__(self, block: Block, sleep: Callable[[int], None], times: Times) -> None:
        super().__init__(block)
        self.sleep = sleep
        self.times = times

    def _wait(self, nanoseconds: int) -> None:
        if nanoseconds > 0:
            self.sleep(nanoseconds)

    def read(self, offset: int, length: int) -> bytes:
        self._wait(self.times.read)
        return self.block.read(offset, length)

    def write(self, offset: int, data: bytes | memoryview, fua: bool = False) -> None:
        self._wait(self.times.write)
        self.block.write(offset, data, fua)

    def zero(self, offset: int, length: int, may_trim: bool = True, fua: bool = False) -> None:
        self._wait(self.times.write)
        self.block.zero(offset, length, may_trim, fua)

    def trim(self, offset: int, length: int, fua: bool = False) -> None:
        self._wait(self.times.write)
        self.block.trim(offset, length, fua)

    def flush(self) -> None:
        self._wait(self.times.flush)
        self.block.flush()

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        self._wait(self.times.extents)
        return self.block.extents(offset, length)
