"""One copy of a segment of the log, on one member: whole records in it, and what they say was durable.

Knows: where a record may begin, how far a segment goes. Refuses to know: which copies there are, what an entry does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from storvirt.backing.member import Member
from storvirt.pool.record import ALIGN, FLUSHED, HEAD, MAGIC, claimed_length, parse
from storvirt.pool.slab import Slab

PIECE = 1 << 20  # bytes of a segment that are looked at in one go: it may have 2 GiB


class LogCopy(NamedTuple):
    """Column `number` of a slab, at `base` of `member` (None: it is not there). pool: its id; extent: bytes."""

    slab: Slab
    number: int
    member: Member | None
    base: int
    pool: bytes
    extent: int

    def whole(self, at: int, expected: int | None) -> bytes | None:
        """The bytes that the head which is here claims. expected: number of the record's first entry; None: any."""
        head = self.slab.piece(self.number, at, HEAD.size) if at + HEAD.size <= self.extent else None
        length = claimed_length(head, self.pool, self.slab.number, expected) if head is not None else 0
        return self.slab.piece(self.number, at, length) if 0 < length <= self.extent - at else None

    def flushed(self, at: int) -> int:
        """Entries below this number had been made durable, say whole records from a place on."""
        most = past = 0  # what looks like a record inside of one is somebody's data
        for place in self._heads(at):
            whole = self.whole(place, None) if place >= past else None
            parsed = parse(whole) if whole is not None else None
            if whole is not None and parsed is not None:
                past = place + len(whole)
                most = max([most, *(entry.where for entry in parsed[0] if entry.kind == FLUSHED)])
        return most

    def _heads(self, at: int) -> Iterator[int]:
        """Places where a record may begin. Holes are passed over: to read them is slow."""
        while self.member is not None:
            filled = self.member.data_from(self.base + at, self.base + self.extent) - self.base
            at = max(at, filled // ALIGN * ALIGN)
            if at >= self.extent:
                return
            data = self.slab.piece(self.number, at, min(PIECE, self.extent - at)) or b""
            found = data.find(MAGIC)
            while found >= 0:
                if (at + found) % ALIGN == 0:
                    yield at + found
                found = data.find(MAGIC, found + 1)
            at += PIECE
