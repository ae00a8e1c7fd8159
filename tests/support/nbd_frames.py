"""The client's half of NBD as bytes: builds options and requests, takes replies apart. For tests.

Knows: the protocol's layouts, written down here a second time, from the client's side. Refuses to know: sockets.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

FIXED, NO_ZEROES = 1, 2
HELLO = struct.pack(">I", FIXED | NO_ZEROES)


class OptionReply(NamedTuple):
    option: int
    type: int
    data: bytes


class Reply(NamedTuple):
    """kind: "simple", or a chunk's type. done: no more comes for this cookie. error: 0 or the wire's number."""

    kind: int | str
    cookie: int
    done: bool
    error: int
    data: bytes


def option(number: int, data: bytes = b"") -> bytes:
    return b"IHAVEOPT" + struct.pack(">II", number, len(data)) + data


def string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack(">I", len(raw)) + raw


def info(name: str | bytes, *wanted: int) -> bytes:
    return string(name) + struct.pack(f">H{len(wanted)}H", len(wanted), *wanted)


def meta(name: str, *queries: str) -> bytes:
    return string(name) + struct.pack(">I", len(queries)) + b"".join(map(string, queries))


def option_replies(data: bytes) -> list[OptionReply]:
    found = []
    while data:
        magic, number, kind, length = struct.unpack(">QIII", data[:20])
        assert magic == 0x3E889045565A9
        assert len(data) >= 20 + length
        found.append(OptionReply(number, kind, data[20 : 20 + length]))
        data = data[20 + length :]
    return found


def request(
    kind: int, offset: int = 0, length: int = 0, *, cookie: int = 7, flags: int = 0, data: bytes = b""
) -> bytes:
    return struct.pack(">IHHQQI", 0x25609513, flags, kind, cookie, offset, length or len(data)) + data


def replies(data: bytes, reads: dict[int, int] | None = None) -> list[Reply]:
    """`reads`: cookie -> length of the READs among the requests: a successful simple reply to them carries data."""
    found = []
    while data:
        magic = data[:4].hex()
        if magic == "67446698":
            error, cookie = struct.unpack(">IQ", data[4:16])
            size = 16 + (0 if error else (reads or {}).get(cookie, 0))
            found.append(Reply("simple", cookie, True, error, data[16:size]))
        else:
            assert magic == "668e33ef", magic
            flags, kind, cookie, length = struct.unpack(">HHQI", data[4:20])
            size = 20 + length
            body = data[20:size]
            error = struct.unpack(">I", body[:4])[0] if kind & 0x8000 else 0
            found.append(Reply(kind, cookie, flags == 1, error, body))
        assert len(data) >= size
        data = data[size:]
    return found


def assemble(chunks: list[Reply], offset: int, length: int) -> bytes:
    """What a structured READ gave; asserts that every byte came once."""
    content = bytearray(length)
    seen = bytearray(length)
    for chunk in chunks:
        if chunk.kind == 0:
            continue
        (place,) = struct.unpack(">Q", chunk.data[:8])
        if chunk.kind == 1:
            data = chunk.data[8:]
        else:
            assert chunk.kind == 2
            data = bytes(struct.unpack(">I", chunk.data[8:])[0])
        first = place - offset
        assert data and first >= 0 and first + len(data) <= length
        assert not any(seen[first : first + len(data)])
        seen[first : first + len(data)] = b"\1" * len(data)
        content[first : first + len(data)] = data
    assert all(seen)
    assert [chunk.done for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    return bytes(content)


def extents(reply: Reply) -> list[tuple[int, int]]:
    """(length, state) of a BLOCK_STATUS reply."""
    assert reply.kind == 5
    return [(length, state) for length, state in struct.iter_unpack(">II", reply.data[4:])]
