"""Checked: asserts at a seam that caller and Block keep to the interface. A failure here is a mistake of ours.

Knows: alignment, bounds, what may be called after close, how extents lie. Refuses to know: what users may ask (lun.py).
"""

from __future__ import annotations

from collections.abc import Iterator

from storvirt.block import SECTOR, Block, Extent
from storvirt.wrappers.through import Through


class Checked(Through):
    """Raises AssertionError where the interface is broken, above or below."""

    def __init__(self, block: Block) -> None:
        assert block.size >= 0 and block.size % SECTOR == 0, (
            f"a block of {block.size} bytes is no whole number of sectors"
        )
        super().__init__(block)
        self.closed = False

    def _check(self, call: str, offset: int, length: int, writing: bool = False) -> None:
        where = f"{call} of {length} bytes at {offset}"
        assert not self.closed, f"{where} after close"
        assert offset % SECTOR == 0 and length % SECTOR == 0, f"{where} is not in whole sectors"
        assert offset >= 0 and length >= 0, f"{where} is negative"
        assert offset + length <= self.size, f"{where} passes the end at {self.size}"
        assert not (writing and self.read_only), f"{where} on a read-only block"

    def read(self, offset: int, length: int) -> bytes:
        self._check("read", offset, length)
        data = self.block.read(offset, length)
        assert len(data) == length, f"read of {length} bytes at {offset} gave {len(data)}"
        return data

    def write(self, offset: int, data: bytes | memoryview, fua: bool = False) -> None:
        view = memoryview(data)
        assert view.c_contiguous, "what is written must lie in one piece"
        self._check("write", offset, view.nbytes, writing=True)
        self.block.write(offset, data, fua)

    def zero(self, offset: int, length: int, may_trim: bool = True, fua: bool = False) -> None:
        self._check("zero", offset, length, writing=True)
        self.block.zero(offset, length, may_trim, fua)

    def trim(self, offset: int, length: int, fua: bool = False) -> None:
        self._check("trim", offset, length, writing=True)
        self.block.trim(offset, length, fua)

    def flush(self) -> None:
        assert not self.closed, "flush after close"
        self.block.flush()

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        self._check("extents", offset, length)
        return self._checked_extents(offset, length)

    def _checked_extents(self, offset: int, length: int) -> Iterator[Extent]:
        place, before = offset, None
        for extent in self.block.extents(offset, length):
            assert extent.offset == place and extent.length > 0, f"{extent} does not begin at {place}, or is empty"
            assert extent.length % SECTOR == 0, f"{extent} is not in whole sectors"
            assert extent.data is not before, f"{extent} should be one with the extent before it"
            place, before = place + extent.length, extent.data
            yield extent
        assert place == offset + length, f"the extents end at {place} and not at {offset + length}"

    def close(self) -> None:
        assert not self.closed, "closed twice"
        self.closed = True
        self.block.close()
