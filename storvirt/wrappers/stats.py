"""Stats: what was asked for, how much, how long it took, what failed. Knows: counters. Refuses to know: clocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from storvirt.block import Block, Extent
from storvirt.wrappers.through import Through

T = TypeVar("T")
KINDS = ("read", "write", "zero", "trim", "flush", "extents")
WHAT = ("calls", "bytes", "errors", "nanoseconds", "slowest")


class Stats(Through):
    """`now()` gives nanoseconds. An error counts as a call, and its bytes do not count."""

    def __init__(self, block: Block, now: Callable[[], int]) -> None:
        super().__init__(block)
        self.now = now
        self.counts = {f"{kind}-{what}": 0 for kind in KINDS for what in WHAT}

    def statistics(self) -> dict[str, int]:
        """By kind of call: calls, bytes, errors, nanoseconds in all, and of the slowest call."""
        return dict(self.counts)

    def _counted(self, kind: str, size: int, call: Callable[[], T]) -> T:
        begin, counts = self.now(), self.counts
        counts[f"{kind}-calls"] += 1
        try:
            value = call()
        except OSError:
            counts[f"{kind}-errors"] += 1
            raise
        finally:
            took = self.now() - begin
            counts[f"{kind}-nanoseconds"] += took
            counts[f"{kind}-slowest"] = max(counts[f"{kind}-slowest"], took)
        counts[f"{kind}-bytes"] += size
        return value

    def read(self, offset: int, length: int) -> bytes:
        return self._counted("read", length, lambda: self.block.read(offset, length))

    def write(self, offset: int, data: bytes | memoryview, fua: bool = False) -> None:
        self._counted("write", memoryview(data).nbytes, lambda: self.block.write(offset, data, fua))

    def zero(self, offset: int, length: int, may_trim: bool = True, fua: bool = False) -> None:
        self._counted("zero", length, lambda: self.block.zero(offset, length, may_trim, fua))

    def trim(self, offset: int, length: int, fua: bool = False) -> None:
        self._counted("trim", length, lambda: self.block.trim(offset, length, fua))

    def flush(self) -> None:
        self._counted("flush", 0, self.block.flush)

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """Counted with the time that all of them take."""
        return iter(self._counted("extents", length, lambda: list(self.block.extents(offset, length))))
