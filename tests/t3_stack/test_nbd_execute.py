"""Requests executed against a Block, simple and structured, at any byte, in any order, against plain memory."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storvirt.block import BlockError
from storvirt.nbd.execute import AGAIN, HUNGRY, MOST_EXTENTS, execute
from storvirt.nbd.export import ExportInfo
from storvirt.nbd.session import Session
from storvirt.nbd.wire import Error
from tests.support.memory_block import MemoryBlock
from tests.support.nbd_frames import Reply, assemble, extents, replies, request

SIZE = 1 << 20
READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZERO, STATUS = range(8)
FUA, NO_HOLE, DF, REQ_ONE, FAST = 1, 2, 4, 8, 16


class Served:
    def __init__(self, structured: bool = True, size: int = SIZE) -> None:
        self.block = MemoryBlock(size)
        self.session = Session(ExportInfo("v0", size, fast_zero=True), structured, meta=structured)

    def ask(self, *requests: bytes, reads: dict[int, int] | None = None) -> list[Reply]:
        self.put(b"".join(requests))
        while execute(self.session, self.block) == AGAIN:
            pass
        return self.heard(reads)

    def put(self, data: bytes) -> None:
        space = self.session.space()
        space[: len(data)] = data
        self.session.filled(len(data))

    def heard(self, reads: dict[int, int] | None = None) -> list[Reply]:
        data = bytes(memoryview(self.session.output))
        self.session.output.sent(len(data))
        return replies(data, reads)

    def read(self, offset: int, length: int, flags: int = 0) -> bytes:
        chunks = self.ask(request(READ, offset, length, flags=flags), reads={7: length})
        if self.session.structured:
            return assemble(chunks, offset, length)
        return chunks[0].data


OK = [Reply("simple", 7, True, 0, b"")]


@pytest.mark.parametrize("structured", [False, True])
@pytest.mark.parametrize(("offset", "length"), [(0, 4096), (512, 1), (1, 1022), (511, 2), (4095, 9000), (SIZE - 3, 3)])
def test_any_byte_can_be_written_and_read(structured: bool, offset: int, length: int) -> None:
    served = Served(structured)
    served.block.content[:] = b"\xaa" * SIZE
    data = bytes(n % 251 for n in range(length))
    assert served.ask(request(WRITE, offset, data=data)) == OK
    assert served.read(offset, length) == data
    expected = bytearray(b"\xaa" * SIZE)
    expected[offset : offset + length] = data
    assert served.block.content == expected


def test_whole_sectors_are_not_read_before_they_are_written() -> None:
    served = Served()
    served.ask(request(WRITE, 512, data=bytes(1024)))
    assert served.block.calls == [("write", 512, 1024, False)]


@pytest.mark.parametrize(("offset", "length"), [(0, 512), (100, 50), (100, 1000), (500, 24), (1, 8190), (4096, 4096)])
def test_zero_and_trim_spare_their_neighbours(offset: int, length: int) -> None:
    for kind in (ZERO, TRIM):
        served = Served()
        served.block.content[:] = b"\xaa" * SIZE
        assert served.ask(request(kind, offset, length)) == OK
        content = served.block.content
        assert content[:offset] == b"\xaa" * offset
        assert content[offset + length :] == b"\xaa" * (SIZE - offset - length)
        if kind == ZERO:
            assert content[offset : offset + length] == bytes(length)


def test_flags_reach_the_block() -> None:
    served = Served()
    served.ask(
        request(WRITE, 0, data=bytes(512), flags=FUA),
        request(ZERO, 512, 512, flags=FUA | NO_HOLE),
        request(ZERO, 1024, 512, flags=FAST),
        request(TRIM, 1536, 512, flags=FUA),
        request(FLUSH),
    )
    assert served.block.calls == [
        ("write", 0, 512, True),
        ("zero-keep", 512, 512, True),
        ("zero", 1024, 512, False),
        ("trim", 1536, 512, True),
        ("flush", 0, 0, False),
    ]


def test_requests_of_no_length_do_nothing() -> None:
    for structured in (False, True):
        served = Served(structured)
        found = served.ask(*(request(kind, 1000) for kind in (READ, WRITE, TRIM, ZERO)))
        assert [reply.error for reply in found] == [0] * 4
        assert not [call for call in served.block.calls if call[0] != "read"]


def test_holes_are_sent_as_holes_unless_they_must_not() -> None:
    served = Served()
    served.ask(request(WRITE, 65536, data=b"x" * 4096))
    found = served.ask(request(READ, 0, 262144))
    assert [reply.kind for reply in found] == [2, 1, 2]
    assert assemble(found, 0, 262144) == served.block.content[:262144]
    (whole,) = served.ask(request(READ, 0, 262144, flags=DF))
    assert (whole.kind, whole.data[8:]) == (1, bytes(served.block.content[:262144]))
    (small,) = served.ask(request(READ, 0, 4096))
    assert small.kind == 1


def test_block_status() -> None:
    served = Served()
    served.ask(request(WRITE, 65536, data=b"x" * 4096))
    (status,) = served.ask(request(STATUS, 0, SIZE))
    assert status.data[:4] == b"\0\0\0\1"
    assert extents(status) == [(65536, 3), (4096, 0), (SIZE - 69632, 3)]
    assert extents(served.ask(request(STATUS, 100, SIZE - 100, flags=REQ_ONE))[0]) == [(65436, 3)]
    assert extents(served.ask(request(STATUS, 65537, 1))[0]) == [(1, 0)]


def test_block_status_is_bounded() -> None:
    served = Served(size=16 << 20)
    for offset in range(0, 16 << 20, 8192):
        served.block.write(offset, bytes(4096))
    found = extents(served.ask(request(STATUS, 0, 16 << 20))[0])
    assert len(found) == MOST_EXTENTS
    assert sum(length for length, _ in found) < 16 << 20


@pytest.mark.parametrize("kind", [READ, WRITE, FLUSH, TRIM, ZERO, STATUS])
def test_a_failing_block_is_answered_with_its_sentence(kind: int) -> None:
    served = Served()
    served.block.fail = BlockError(errno.EDQUOT, "no space left for member m2 of pool p0")
    served.put(request(FLUSH, flags=0x40, cookie=1))
    data = bytes(65536) if kind == WRITE else b""
    (refused, failed) = served.ask(request(kind, 0, 0 if kind == FLUSH else 65536, data=data))
    assert (refused.cookie, refused.error) == (1, Error.EINVAL)
    assert (failed.kind, failed.cookie, failed.done, failed.error) == (0x8001, 7, True, Error.ENOSPC)
    assert failed.data[6:].decode() == "no space left for member m2 of pool p0"
    served.block.fail = None
    assert served.ask(request(FLUSH)) == OK


def test_a_read_that_fails_halfway_gives_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    served = Served()
    served.ask(request(WRITE, 65536, data=b"x" * 4096))

    def lost(offset: int, length: int) -> bytes:
        raise BlockError(errno.EIO, "lost")

    monkeypatch.setattr(served.block, "read", lost)
    assert [reply.kind for reply in served.ask(request(READ, 0, 262144))] == [0x8001]


def test_refused_requests_do_not_touch_the_block() -> None:
    served = Served(structured=False)
    found = served.ask(
        request(WRITE, SIZE, data=bytes(512), cookie=1),
        request(READ, SIZE, 512, cookie=2),
        request(CACHE, 0, 512, cookie=3),
        request(99, cookie=4),
        request(FLUSH, cookie=5),
    )
    assert [(reply.cookie, reply.error) for reply in found] == [
        (1, Error.ENOSPC), (2, Error.EINVAL), (3, Error.EINVAL), (4, Error.EINVAL), (5, 0),
    ]  # fmt: skip
    assert served.block.calls == [("flush", 0, 0, False)]


def test_it_stops_before_the_replies_grow_too_big() -> None:
    served = Served()
    served.put(request(READ, 0, 65536, flags=DF) * 100)
    assert execute(served.session, served.block, limit=200_000) == AGAIN
    assert 200_000 <= served.session.output.pending < 300_000
    assert len(served.heard()) == 4
    assert execute(served.session, served.block, limit=1 << 30, most=5) == AGAIN
    assert len(served.heard()) == 5
    assert execute(served.session, served.block, limit=1 << 30) == HUNGRY
    assert len(served.heard()) == 91


def test_disc_ends_it_without_a_reply() -> None:
    served = Served()
    assert served.ask(request(FLUSH), request(DISC), request(FLUSH)) == OK
    assert served.session.ended
    assert served.session.statistics()["flush"] == 1


SMALL = 64 << 10
operation = st.tuples(
    st.sampled_from([READ, WRITE, ZERO, TRIM]), st.integers(0, SMALL), st.integers(0, 9000), st.integers(0, 255)
)


@settings(max_examples=150, deadline=None)
@given(st.booleans(), st.lists(operation, max_size=12))
def test_like_plain_memory(structured: bool, operations: list[tuple[int, int, int, int]]) -> None:
    served, model = Served(structured, SMALL), bytearray(SMALL)
    for kind, offset, length, fill in operations:
        length = min(length, SMALL - offset)
        if kind == READ:
            if length:
                assert served.read(offset, length) == model[offset : offset + length]
            continue
        data = bytes([fill]) * length if kind == WRITE else b""
        (reply,) = served.ask(request(kind, offset, length, data=data))
        assert reply.error == 0
        if kind == TRIM:  # whole sectors only: here they read as zeros
            offset, end = -(-offset // 512) * 512, (offset + length) // 512 * 512
            length = max(0, end - offset)
        model[offset : offset + length] = data or bytes(length)
    assert served.block.content == model
