"""A Block in memory, for tests: obvious rather than quick. It knows which BLOCKs were ever written (extents), and can
be told to fail.

Knows: storvirt.block. Refuses to know: who uses it.
"""

from __future__ import annotations

from collections.abc import Iterator

from storvirt.block import BLOCK, SECTOR, BlockError, Extent


class MemoryBlock:
    """`calls` lists what was asked, as (name, offset, length, fua), while `log` is set. `fail` is raised while set."""

    def __init__(self, size: int, read_only: bool = False) -> None:
        assert size % SECTOR == 0
        self.size = size
        self.read_only = read_only
        self.calls: list[tuple[str, int, int, bool]] = []
        self.log = True
        self.fail: BlockError | None = None
        self.content = bytearray(size)
        self._view = memoryview(self.content)
        self._written = bytearray(-(-size // BLOCK))

    def _check(self, name: str, offset: int, length: int, fua: bool = False) -> None:
        assert offset >= 0 and length > 0 and offset + length <= self.size, (name, offset, length)
        assert offset % SECTOR == 0 and length % SECTOR == 0, (name, offset, length)
        if self.log:
            self.calls.append((name, offset, length, fua))
        if self.fail is not None:
            raise self.fail

    def read(self, offset: int, length: int) -> bytes:
        self._check("read", offset, length)
        return bytes(self._view[offset : offset + length])

    def write(self, offset: int, data: bytes | memoryview, fua: bool = False) -> None:
        length = len(data)
        self._check("write", offset, length, fua)
        self._view[offset : offset + length] = data
        self._mark(offset, length, 1)

    def zero(self, offset: int, length: int, may_trim: bool = True, fua: bool = False) -> None:
        self._check("zero" if may_trim else "zero-keep", offset, length, fua)
        self._clear(offset, length)
        if not may_trim:
            self._mark(offset, length, 1)

    def trim(self, offset: int, length: int, fua: bool = False) -> None:
        self._check("trim", offset, length, fua)
        self._clear(offset, length)

    def flush(self) -> None:
        if self.log:
            self.calls.append(("flush", 0, 0, False))
        if self.fail is not None:
            raise self.fail

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        self._check("extents", offset, length)
        end = offset + length
        while offset < end:
            state = self._written[offset // BLOCK]
            other = self._written.find(1 - state, offset // BLOCK)
            until = end if other < 0 else min(end, other * BLOCK)
            yield Extent(offset, until - offset, bool(state))
            offset = until

    def close(self) -> None:
        pass

    def _clear(self, offset: int, length: int) -> None:
        self._view[offset : offset + length] = bytes(length)
        # Only whole blocks become holes.
        first, last = -(-offset // BLOCK), (offset + length) // BLOCK
        if first < last:
            self._written[first:last] = bytes(last - first)

    def _mark(self, offset: int, length: int, state: int) -> None:
        first, last = offset // BLOCK, -(-(offset + length) // BLOCK)
        self._written[first:last] = bytes([state]) * (last - first)
