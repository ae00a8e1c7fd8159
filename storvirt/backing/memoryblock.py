"""MemoryBlock: a Block that lives and dies with the process; the fake that passes the contract of every Block.

Knows: pages of 4096 bytes, kept only where something was written. Refuses to know: errors, files, durability.
"""

from __future__ import annotations

from collections.abc import Iterator

from storvirt.block import BLOCK, Extent

_ZEROS = bytes(BLOCK)


class MemoryBlock:
    """`size` bytes of zeros, of which only the touched pages occupy memory."""

    def __init__(self, size: int, read_only: bool = False) -> None:
        self.size = size
        self.read_only = read_only
        self.pages: dict[int, bytes] = {}

    def read(self, offset: int, length: int) -> bytes:
        first, last = offset // BLOCK, -(-(offset + length) // BLOCK)
        start = offset - first * BLOCK
        return b"".join(self.pages.get(page, _ZEROS) for page in range(first, last))[start : start + length]

    def write(self, offset: int, data: bytes | memoryview, fua: bool = False) -> None:
        view, done = memoryview(data).cast("B"), 0
        while done < len(view):
            page, start = divmod(offset + done, BLOCK)
            piece = view[done : done + BLOCK - start]
            old = self.pages.get(page, _ZEROS)
            self.pages[page] = b"".join((old[:start], piece, old[start + len(piece) :]))
            done += len(piece)

    def zero(self, offset: int, length: int, may_trim: bool = True, fua: bool = False) -> None:
        if not may_trim:
            self.write(offset, bytes(length))
            return
        end = offset + length
        head_end = min(end, -(-offset // BLOCK) * BLOCK)
        tail = max(head_end, end // BLOCK * BLOCK)
        self._zero_inside_page(offset, head_end - offset)
        for page in self._touched(head_end // BLOCK, tail // BLOCK):
            del self.pages[page]
        self._zero_inside_page(tail, end - tail)

    def trim(self, offset: int, length: int, fua: bool = False) -> None:
        self.zero(offset, length)

    def flush(self) -> None:
        """Nothing here outlives the process anyway."""

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        end = offset + length
        begin = offset
        touched = self._touched(offset // BLOCK, -(-end // BLOCK)) if length else []
        for page in touched:
            if page - 1 not in self.pages and page * BLOCK > begin:
                yield Extent(begin, page * BLOCK - begin, False)
                begin = page * BLOCK
            if page + 1 not in self.pages or (page + 1) * BLOCK >= end:
                after = min(end, (page + 1) * BLOCK)
                yield Extent(begin, after - begin, True)
                begin = after
        if begin < end:
            yield Extent(begin, end - begin, False)

    def close(self) -> None:
        self.pages.clear()

    def _touched(self, first: int, last: int) -> list[int]:
        """Pages from `first` up to `last` that are kept, in order, however wide the range is."""
        if last - first < len(self.pages):
            return [page for page in range(first, last) if page in self.pages]
        return sorted(page for page in self.pages if first <= page < last)

    def _zero_inside_page(self, offset: int, length: int) -> None:
        if length and offset // BLOCK in self.pages:
            self.write(offset, bytes(length))
