"""Lun: what an initiator sees. The one place where a request is judged; everything below may assert that it is sound.

Knows: range, read-only, largest request, whole sectors, and which errno an initiator understands.
Refuses to know: protocols, how the block below stores anything, threads (one request at a time: it has no locks).

A request that is not in whole sectors is completed here by reading the sectors at its edges first.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import NamedTuple

from storvirt.block import BLOCK, SECTOR, Block, BlockError, Extent

# What NBD can say, and SCSI's sense table knows (the NBD protocol document, "Error values").
SPOKEN = frozenset(
    {errno.EPERM, errno.EIO, errno.ENOMEM, errno.EINVAL, errno.ENOSPC, errno.EOVERFLOW, errno.ENOTSUP, errno.ESHUTDOWN}
)
# The same thing in their words; what is in neither table is an I/O error.
SAID_AS = {
    errno.EDQUOT: errno.ENOSPC,
    errno.EFBIG: errno.ENOSPC,
    errno.EROFS: errno.EPERM,
    errno.EACCES: errno.EPERM,
    errno.EOPNOTSUPP: errno.ENOTSUP,
    errno.EBADF: errno.ESHUTDOWN,
}


class Limits(NamedTuple):
    """Bytes. `largest`: of one read or write (zero and trim carry no data). `preferred`: what clients are told."""

    largest: int = 32 * 1024 * 1024
    preferred: int = BLOCK


class Lun:
    """A Block for any offset and length inside it. Raises BlockError only, with an errno that can be sent as it is."""

    def __init__(self, block: Block, name: str, read_only: bool = False, limits: Limits | None = None) -> None:
        self.block = block
        self.name = name
        self.read_only = read_only or block.read_only
        self.limits = limits or Limits()
        self.size = block.size
        self.closed = False

    def read(self, offset: int, length: int) -> bytes:
        self._judge("read", offset, length, carried=True)
        first, last = _outside(offset, length)
        try:
            data = self.block.read(first, last - first)
        except OSError as error:
            raise self._spoken(error) from error
        return data if last - first == length else data[offset - first : offset - first + length]

    def write(self, offset: int, data: bytes | memoryview, fua: bool = False) -> None:
        view = memoryview(data).cast("B")
        self._judge("write", offset, len(view), writing=True, carried=True)
        try:
            if offset % SECTOR or len(view) % SECTOR:
                offset, view = self._completed(offset, view)
            self.block.write(offset, view, fua)
        except OSError as error:
            raise self._spoken(error) from error

    def zero(self, offset: int, length: int, may_trim: bool = True, fua: bool = False) -> None:
        self._judge("zero", offset, length, writing=True)
        try:
            first, last = self._zero_edges(offset, length)
            if first < last:
                self.block.zero(first, last - first, may_trim, fua)
            if fua and last - first != length:
                self.block.flush()  # one flush in place of fua on up to three pieces
        except OSError as error:
            raise self._spoken(error) from error

    def trim(self, offset: int, length: int, fua: bool = False) -> None:
        """Reads as zeros afterwards, the edges that are no whole sectors too."""
        self._judge("trim", offset, length, writing=True)
        try:
            first, last = self._zero_edges(offset, length)
            if first < last:
                self.block.trim(first, last - first, fua)
            if fua and last - first != length:
                self.block.flush()
        except OSError as error:
            raise self._spoken(error) from error

    def flush(self) -> None:
        if self.closed:
            raise self._error(errno.ESHUTDOWN, "flush: the LUN is closed")
        try:
            self.block.flush()
        except OSError as error:
            raise self._spoken(error) from error

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """Judged at once, not when the first extent is asked for."""
        self._judge("block status", offset, length)
        return self._extents(offset, length)

    def _extents(self, offset: int, length: int) -> Iterator[Extent]:
        first, last = _outside(offset, length)
        try:
            for extent in self.block.extents(first, last - first):
                begin = max(offset, extent.offset)
                end = min(offset + length, extent.offset + extent.length)
                yield Extent(begin, end - begin, extent.data)
        except OSError as error:
            raise self._spoken(error) from error

    def close(self) -> None:
        """Closes the block below too; a second call does nothing."""
        if not self.closed:
            self.closed = True
            self.block.close()

    def _judge(self, call: str, offset: int, length: int, writing: bool = False, carried: bool = False) -> None:
        """The rules, in the order in which the NBD protocol document lets a client rely on them."""
        what = f"{call} of {length} bytes at offset {offset}"
        if self.closed:
            raise self._error(errno.ESHUTDOWN, f"{what}: the LUN is closed")
        if writing and self.read_only:
            raise self._error(errno.EPERM, f"{what}: the LUN is read-only")
        if offset < 0 or length < 0:
            raise self._error(errno.EINVAL, f"{what} is no range")
        if carried and length > self.limits.largest:
            raise self._error(errno.EINVAL, f"{what} is larger than a request may be ({self.limits.largest} bytes)")
        if offset + length > self.size:
            number = errno.ENOSPC if writing else errno.EINVAL
            raise self._error(number, f"{what} passes the end at {self.size}")

    def _completed(self, offset: int, view: memoryview) -> tuple[int, memoryview]:
        """The write with the rest of its first and last sector around it."""
        first, last = _outside(offset, len(view))
        end = offset + len(view)
        if first == last:
            return first, view
        head = self.block.read(first, SECTOR)[: offset - first] if first < offset else b""
        tail = self.block.read(last - SECTOR, SECTOR)[end - last :] if end < last else b""
        return first, memoryview(b"".join((head, view, tail)))

    def _zero_edges(self, offset: int, length: int) -> tuple[int, int]:
        """Writes zeros into the partial sectors at both ends; what is left between them, in whole sectors."""
        end = offset + length
        first, last = -(-offset // SECTOR) * SECTOR, end // SECTOR * SECTOR
        if first > last:  # inside one sector
            self.block.write(*self._completed(offset, memoryview(bytes(length))))
            return first, first
        if offset < first:
            self.block.write(*self._completed(offset, memoryview(bytes(first - offset))))
        if last < end:
            self.block.write(*self._completed(last, memoryview(bytes(end - last))))
        return first, last

    def _spoken(self, error: OSError) -> BlockError:
        """The error of the block below as an initiator understands it; the sentence keeps the member's name."""
        number = error.errno or errno.EIO
        number = SAID_AS.get(number, number)
        sentence = error.strerror or str(error) or "I/O error"
        return self._error(number if number in SPOKEN else errno.EIO, sentence)

    def _error(self, number: int, sentence: str) -> BlockError:
        return BlockError(number, f"{self.name}: {sentence}")


def _outside(offset: int, length: int) -> tuple[int, int]:
    """The smallest whole sectors around a range: begin and end."""
    if not length:
        return offset // SECTOR * SECTOR, offset // SECTOR * SECTOR
    return offset // SECTOR * SECTOR, -(-(offset + length) // SECTOR) * SECTOR
