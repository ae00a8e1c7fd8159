"""What a volume must hold, as a plain file says: the soak's other half.

Knows: pread, pwrite, sectors; that what was asked for and not answered may have happened or not, sector by sector.
Refuses to know: pools, members, NBD.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

SECTOR = 512


class Change(NamedTuple):
    """Bytes that are to be at an offset; zeros for what is trimmed."""

    offset: int
    data: bytes

    def over(self, start: int, content: bytes) -> bytes:
        """The content of a sector that begins at `start`, when this has happened to it."""
        first, last = max(self.offset, start), min(self.offset + len(self.data), start + len(content))
        new = self.data[first - self.offset : last - self.offset]
        return content[: first - start] + new + content[last - start :]


class Model:
    """One volume. A sector that may be several things is one of them for good once it was read."""

    def __init__(self, path: str, size: int) -> None:
        self.size = size
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.ftruncate(self._fd, size)
        self._others: dict[int, set[bytes]] = {}  # by number of a sector: what it may be as well

    def done(self, change: Change) -> None:
        """It was answered: it is so."""
        for sector in self._doubtful(change.offset, len(change.data)):
            known = self._at(sector)
            others = {change.over(sector * SECTOR, content) for content in self._others.pop(sector)}
            self._doubt(sector, others - {change.over(sector * SECTOR, known)})
        os.pwrite(self._fd, change.data, change.offset)

    def maybe(self, change: Change) -> None:
        """Nobody will ever answer it: each of its sectors is old or new."""
        for sector in _sectors(change.offset, len(change.data)):
            known = self._at(sector)
            there = {known, *self._others.pop(sector, ())}
            new = {change.over(sector * SECTOR, content) for content in there}
            self._doubt(sector, (there | new) - {known})

    def judge(self, offset: int, found: bytes) -> str:
        """What is wrong with these bytes that were read; "" if nothing is, and from then on they are what is there."""
        if len(found) == 0:
            return ""
        for sector in list(self._doubtful(offset, len(found))):
            self._settle(sector, offset, found)
        wanted = os.pread(self._fd, len(found), offset)
        if found == wanted:
            return ""
        sector = next(n for n in _sectors(offset, len(found)) if _piece(n, offset, found) != _piece(n, offset, wanted))
        wrong = sum(_piece(n, offset, found) != _piece(n, offset, wanted) for n in _sectors(offset, len(found)))
        return (
            f"{wrong} sectors of {len(found)} bytes at {offset} differ, the first is {sector}: "
            f"{_short(_piece(sector, offset, found))} and not {_short(_piece(sector, offset, wanted))}"
            + (", nor what it may be as well" if sector in self._others else "")
        )

    def close(self) -> None:
        os.close(self._fd)

    def _settle(self, sector: int, offset: int, found: bytes) -> None:
        """Of the contents that a sector may have those are left that were seen. Where none was, judge() says so."""
        piece = _piece(sector, offset, found)
        first = max(offset - sector * SECTOR, 0)
        seen = {one for one in {self._at(sector), *self._others[sector]} if one[first : first + len(piece)] == piece}
        if seen:
            self._others.pop(sector)
            known = min(seen)
            os.pwrite(self._fd, known, sector * SECTOR)
            self._doubt(sector, seen - {known})

    def _doubt(self, sector: int, others: set[bytes]) -> None:
        if others:
            self._others[sector] = others

    def _doubtful(self, offset: int, length: int) -> Iterator[int]:
        """Sectors of a span that may be several things."""
        wanted = _sectors(offset, length)
        if len(self._others) < len(wanted):
            yield from [sector for sector in self._others if sector in wanted]
        else:
            yield from [sector for sector in wanted if sector in self._others]

    def _at(self, sector: int) -> bytes:
        return os.pread(self._fd, SECTOR, sector * SECTOR)


def _sectors(offset: int, length: int) -> range:
    return range(offset // SECTOR, -(-(offset + length) // SECTOR))


def _piece(sector: int, offset: int, data: bytes) -> bytes:
    """What data that begins at `offset` has of a sector."""
    first = max(sector * SECTOR - offset, 0)
    return data[first : (sector + 1) * SECTOR - offset]


def _short(content: Iterable[int]) -> str:
    return bytes(content)[:8].hex()
