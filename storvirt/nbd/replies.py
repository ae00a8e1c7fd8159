"""What a server answers, taken apart: which request is done, with what, and nothing that was not asked for.

Knows: simple and structured replies, which request each must belong to, how much may come. Refuses to know: sockets,
who waits. Every byte that can't be right raises ServerError: the stream can't be trusted from there on.
"""

from __future__ import annotations

import errno
from typing import Final

from storvirt.nbd.terms import ServerError
from storvirt.nbd.wire import (
    CHUNK,
    CHUNK_DONE,
    MAX_STRING,
    SIMPLE_REPLY,
    SIMPLE_REPLY_MAGIC,
    STRUCTURED_REPLY_MAGIC,
    Chunk,
    Command,
    Error,
)  # fmt: skip

# The numbers on the wire are Linux's; any other is to be taken for EINVAL (proto.md, "Error values").
_KNOWN: Final = frozenset(Error)


class Asked:
    """A request that was sent. `error`: errno, 0 when all is well; valid when `done`. content: of a read."""

    __slots__ = ("content", "covered", "done", "error", "kind", "length", "offset")

    def __init__(self, kind: Command, offset: int, length: int) -> None:
        self.kind, self.offset, self.length = kind, offset, length
        self.content = bytearray(length) if kind == Command.READ else bytearray()
        self.covered = 0
        self.done = False
        self.error = 0

    def end(self, error: int) -> None:
        if self.kind == Command.READ and not error and not self.error and self.covered != self.length:
            raise ServerError(f"it answered {self.covered} bytes of a read of {self.length}")
        self.error = self.error or error
        self.done = True


class Replies:
    """feed(bytes) settles what they answer. waiting: what was sent and is not answered, by cookie."""

    def __init__(self, structured: bool) -> None:
        self.waiting: dict[int, Asked] = {}
        self._structured = structured
        self._data = bytearray()

    def feed(self, data: bytes | memoryview) -> None:
        """Raises ServerError."""
        self._data += data
        at = 0
        try:
            while (used := self._one(at)) > 0:
                at += used
        finally:
            del self._data[:at]

    def _asked(self, cookie: int) -> Asked:
        asked = self.waiting.get(cookie)
        if asked is None:
            raise ServerError(f"it answered a request that was never made (cookie {cookie:#x})")
        return asked

    def _one(self, at: int) -> int:
        """Bytes of one whole reply or chunk; 0 when it is not there yet."""
        have = len(self._data) - at
        if have < 4:
            return 0
        magic = int.from_bytes(self._data[at : at + 4], "big")
        if magic == SIMPLE_REPLY_MAGIC:
            return self._simple(at, have)
        if magic == STRUCTURED_REPLY_MAGIC and self._structured:
            return self._chunk(at, have)
        raise ServerError(f"its reply begins with {magic:#010x}, which is none")

    def _simple(self, at: int, have: int) -> int:
        if have < SIMPLE_REPLY.size:
            return 0
        _, error, cookie = SIMPLE_REPLY.unpack_from(self._data, at)
        asked = self._asked(cookie)
        if self._structured and asked.kind == Command.READ:
            raise ServerError("it answered a read with a simple reply, though it agreed on structured ones")
        size = SIMPLE_REPLY.size
        if asked.kind == Command.READ and not error:
            if have < size + asked.length:
                return 0
            asked.content[:] = self._data[at + size : at + size + asked.length]
            asked.covered = asked.length
            size += asked.length
        self._end(cookie, asked, error)
        return size

    def _chunk(self, at: int, have: int) -> int:
        if have < CHUNK.size:
            return 0
        _, flags, kind, cookie, length = CHUNK.unpack_from(self._data, at)
        asked = self._asked(cookie)
        if length > asked.length + 8 + MAX_STRING:
            raise ServerError(f"a chunk of its reply has {length} bytes, which is too long")
        if have < CHUNK.size + length:
            return 0
        start = at + CHUNK.size
        error = self._meaning(asked, kind, bytes(self._data[start : start + length]))
        if error and not asked.error:
            asked.error = error
        if flags & CHUNK_DONE:
            self._end(cookie, asked, 0)
        return CHUNK.size + int(length)

    def _end(self, cookie: int, asked: Asked, error: int) -> None:
        asked.end(_errno(error))
        del self.waiting[cookie]

    def _meaning(self, asked: Asked, kind: int, body: bytes) -> int:
        """The errno of an error chunk, else 0."""
        if kind == Chunk.NONE and not body:
            return 0
        if kind >> 15 and len(body) >= 6:  # an error, of a kind that we need not know
            return _errno(int.from_bytes(body[:4], "big")) or errno.EINVAL
        if asked.kind == Command.READ and kind == Chunk.OFFSET_DATA and len(body) > 8:
            self._place(asked, int.from_bytes(body[:8], "big"), body[8:])
            return 0
        if asked.kind == Command.READ and kind == Chunk.OFFSET_HOLE and len(body) == 12:
            size = int.from_bytes(body[8:], "big")
            if size > asked.length:
                raise ServerError("a hole of its reply is larger than what was asked for")
            self._place(asked, int.from_bytes(body[:8], "big"), bytes(size))
            return 0
        raise ServerError(f"a chunk of its reply is of kind {kind} with {len(body)} bytes, which is none")

    def _place(self, asked: Asked, offset: int, data: bytes) -> None:
        start = offset - asked.offset
        if start < 0 or start + len(data) > asked.length:
            raise ServerError(f"it answered {len(data)} bytes at {offset}, where nobody had asked for any")
        asked.content[start : start + len(data)] = data
        # Chunks of one reply may not overlap (proto.md), so that counting them is enough.
        asked.covered += len(data)


def _errno(number: int) -> int:
    return number if number == 0 or number in _KNOWN else int(errno.EINVAL)
