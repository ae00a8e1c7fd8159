"""Requests at any byte, for Blocks that know whole sectors only: the rest of an edge's sector is read and written back.

Knows: SECTOR. Refuses to know: NBD, who asks. Offsets and lengths are bytes, inside the block, and may be 0 long.
A sector that is only half written is not an atom any more; every client that matters writes whole ones.
One request comes after the other here, so two clients that write halves of a sector do not lose each other's.
"""

from __future__ import annotations

from collections.abc import Iterator

from storvirt.block import SECTOR, Block, Extent


def _down(offset: int) -> int:
    return offset - offset % SECTOR


def _up(offset: int) -> int:
    return _down(offset + SECTOR - 1)


def read(block: Block, offset: int, length: int) -> bytes:
    if not (offset | length) % SECTOR:
        return block.read(offset, length) if length else b""
    first = _down(offset)
    data = block.read(first, _up(offset + length) - first)
    return data[offset - first : offset - first + length]


def write(block: Block, offset: int, data: bytes | memoryview, fua: bool) -> None:
    if not len(data):
        return
    if (offset | len(data)) % SECTOR:
        first, last = _down(offset), _up(offset + len(data))
        whole = bytearray(block.read(first, last - first) if last - first <= 2 * SECTOR else _frame(block, first, last))
        whole[offset - first : offset - first + len(data)] = data
        offset, data = first, memoryview(whole)
    block.write(offset, data, fua)


def _frame(block: Block, first: int, last: int) -> bytes:
    """The sectors at both ends, and anything in between."""
    middle = bytes(last - first - 2 * SECTOR)
    return block.read(first, SECTOR) + middle + block.read(last - SECTOR, SECTOR)


def zero(block: Block, offset: int, length: int, may_trim: bool, fua: bool) -> None:
    first, last = _up(offset), _down(offset + length)
    if first >= last:  # inside one sector, or two halves of neighbours
        write(block, offset, bytes(length), fua)
        return
    write(block, offset, bytes(first - offset), fua)
    block.zero(first, last - first, may_trim, fua)
    write(block, last, bytes(offset + length - last), fua)


def trim(block: Block, offset: int, length: int, fua: bool) -> None:
    """Only whole sectors: a hint may be ignored at its edges."""
    first, last = _up(offset), _down(offset + length)
    if first < last:
        block.trim(first, last - first, fua)


def extents(block: Block, offset: int, length: int) -> Iterator[Extent]:
    first, last = _down(offset), _up(offset + length)
    for extent in block.extents(first, last - first):
        begin, end = max(extent.offset, offset), min(extent.offset + extent.length, offset + length)
        if begin < end:
            yield Extent(begin, end - begin, extent.data)
