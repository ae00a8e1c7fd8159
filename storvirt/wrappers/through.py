"""Through: the wrapper that changes nothing; the others leave out what they don't care about."""

from __future__ import annotations

from collections.abc import Iterator

from storvirt.block import Block, Extent


class Through:
    """Passes every call on to `block`."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self.size = block.size
        self.read_only = block.read_only

    def read(self, offset: int, length: int) -> bytes:
        return self.block.read(offset, length)

    def write(self, offset: int, data: bytes | memoryview, fua: bool = False) -> None:
        self.block.write(offset, data, fua)

    def zero(self, offset: int, length: int, may_trim: bool = True, fua: bool = False) -> None:
        self.block.zero(offset, length, may_trim, fua)

    def trim(self, offset: int, length: int, fua: bool = False) -> None:
        self.block.trim(offset, length, fua)

    def flush(self) -> None:
        self.block.flush()

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        return self.block.extents(offset, length)

    def close(self) -> None:
        self.block.close()
