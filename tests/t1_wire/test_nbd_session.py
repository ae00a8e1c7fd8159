"""Requests out of a stream of bytes, however it is cut; which of them are refused; replies as bytes; junk."""

from __future__ import annotations

import os
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storvirt.nbd.export import ExportInfo
from storvirt.nbd.output import Output
from storvirt.nbd.session import Request, Session
from storvirt.nbd.wire import MAX_PAYLOAD, Command, Error, NbdError
from tests.support.nbd_frames import Reply, replies, request

EXAMPLES = 20_000 if os.environ.get("VFAB_LONG") else 300
SIZE = 1 << 20
EXPORT = ExportInfo("v0", SIZE)
READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZERO, STATUS = range(8)
FUA, NO_HOLE, DF, REQ_ONE, FAST = 1, 2, 4, 8, 16


def value(request: Request) -> tuple[int, int, int, int, int, bytes | None]:
    payload = None if request.payload is None else bytes(request.payload)
    return request.type, request.flags, request.cookie, request.offset, request.length, payload


def feed(session: Session, data: bytes, chunk: int) -> list[tuple[int, int, int, int, int, bytes | None]]:
    """As a socket does it: into space(), at most `chunk` bytes at a time."""
    found = []
    while data:
        space = session.space()
        count = min(chunk, len(space), len(data))
        space[:count] = data[:count]
        session.filled(count)
        data = data[count:]
        while (taken := session.take()) is not None:
            found.append(value(taken))
        session.release()
    return found


BURST = [
    (READ, 0, 1, 4096, 512, None),
    (WRITE, FUA, 2, 8192, 1000, bytes(range(250)) * 4),
    (WRITE, 0, 3, 0, 0, b""),
    (FLUSH, 0, 2**64 - 1, 0, 0, None),
    (ZERO, NO_HOLE, 5, 2**63, 2**32 - 1, None),
    (WRITE, 0, 6, 512, 300_000, b"big" * 100_000),
    (77, 0xFFFF, 8, 0, 1, None),
    (DISC, 0, 9, 0, 0, None),
]
STREAM = b"".join(
    request(kind, offset, length, cookie=cookie, flags=flags, data=payload or b"")
    for kind, flags, cookie, offset, length, payload in BURST
)


@pytest.mark.parametrize("chunk", [1 << 20, 65536, 4099, 29, 1])
def test_a_burst_is_the_same_however_it_is_cut(chunk: int) -> None:
    session = Session(EXPORT)
    assert feed(session, STREAM + b"what follows a DISC is nothing", chunk) == BURST
    assert session.ended
    assert session.take() is None


def test_receive_gives_all_whole_requests_of_a_copy() -> None:
    session = Session(EXPORT)
    first = session.receive(STREAM[:2000])
    assert [value(each) for each in first] == BURST[:5]
    assert session.held == 2000 - sum(28 + len(payload or b"") for *_, payload in BURST[:5])
    assert [value(each) for each in session.receive(STREAM[2000:])] == BURST[5:]
    assert session.receive(b"") == []


def test_requests_of_one_receive_keep_their_payloads() -> None:
    session = Session(EXPORT)
    session.receive(request(WRITE, data=bytes(100))[:50])
    stream = b"".join(request(WRITE, data=bytes([n]) * 3000, cookie=n) for n in range(200))
    found = session.receive(request(WRITE, data=bytes(100))[50:] + stream)
    assert [bytes(each.payload or b"") for each in found[1:]] == [bytes([n]) * 3000 for n in range(200)]


def test_a_large_write_is_read_where_it_stays() -> None:
    session = Session(EXPORT)
    data = bytes(range(256)) * (MAX_PAYLOAD // 256)
    assert feed(session, request(WRITE, data=data), 212992)[0][5] == data
    session.release()
    assert session.held == 0
    assert len(session.space()) < 1 << 20  # the big buffer is gone


def test_an_idle_session_holds_nothing() -> None:
    session = Session(EXPORT)
    feed(session, STREAM[:5], 5)
    assert session.held == 5
    feed(session, STREAM[5:30], 64)
    assert session.held == 2
    assert feed(session, STREAM[30:], 1 << 20) == BURST[1:]
    assert session.held == 0


def test_space_is_never_empty() -> None:
    """An empty space would make the end of a stream of a socket that has bytes."""
    session = Session(EXPORT)
    full = len(session.space())
    one = request(READ, 0, 512)
    session.space()[:] = (one * (full // 28 + 1))[:full]
    session.filled(full)
    assert session.take() is not None
    assert len(session.space()) > 0
    taken = 1
    while session.take() is not None:
        taken += 1
    assert taken == full // 28
    with pytest.raises(ValueError, match="more bytes than"):
        session.filled(1 << 30)


@pytest.mark.parametrize(
    ("junk", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: nobody\r\n\r\n", "magic"),
        (bytes(28), "magic"),
        (struct.pack(">IHHQQI", 0x25609513, 0, WRITE, 1, 0, MAX_PAYLOAD + 1), "oversize"),
        (struct.pack(">IHHQQI", 0x25609513, 0, WRITE, 1, 0, 2**32 - 1), "oversize"),
    ],
)
def test_junk_ends_the_session_for_good(junk: bytes, reason: str) -> None:
    session = Session(EXPORT)
    session.receive(request(FLUSH))
    for more in (junk, request(FLUSH), b""):
        with pytest.raises(NbdError) as error:
            session.receive(more)
        assert error.value.reason == reason


def refusal(flags_of: ExportInfo, kind: int, offset: int, length: int, flags: int, *, meta: bool, plain: bool) -> int:
    session = Session(flags_of, not plain, meta)
    data = bytes(length) if kind == WRITE else b""
    (found,) = session.receive(request(kind, offset, length, flags=flags, data=data))
    return session.check(found)


READ_ONLY, QUICK = EXPORT._replace(read_only=True), EXPORT._replace(fast_zero=True)


@pytest.mark.parametrize(
    ("export", "kind", "offset", "length", "flags", "error"),
    [
        (EXPORT, READ, 0, SIZE, 0, 0),
        (EXPORT, READ, SIZE - 1, 1, FUA, 0),
        (EXPORT, READ, SIZE, 0, 0, 0),
        (EXPORT, READ, SIZE, 1, 0, Error.EINVAL),
        (EXPORT, READ, 2**64 - 1, 2, 0, Error.EINVAL),
        (EXPORT._replace(size=1 << 40), READ, 0, MAX_PAYLOAD, 0, 0),
        (EXPORT._replace(size=1 << 40), READ, 0, MAX_PAYLOAD + 1, 0, Error.EINVAL),
        (EXPORT, READ, 0, 512, NO_HOLE, Error.EINVAL),
        (EXPORT, READ, 0, 512, 0x8000, Error.EINVAL),
        (EXPORT, WRITE, SIZE - 512, 512, FUA, 0),
        (EXPORT, WRITE, SIZE - 511, 512, 0, Error.ENOSPC),
        (EXPORT, WRITE, SIZE + 1, 0, 0, Error.ENOSPC),
        (EXPORT, WRITE, 0, 512, DF, Error.EINVAL),
        (READ_ONLY, WRITE, 0, 512, 0, Error.EPERM),
        (READ_ONLY, TRIM, 0, 512, 0, Error.EPERM),
        (READ_ONLY, ZERO, 0, 512, 0, Error.EPERM),
        (READ_ONLY, READ, 0, 512, 0, 0),
        (READ_ONLY, FLUSH, 0, 0, 0, 0),
        (EXPORT, FLUSH, 0, 0, FUA, 0),
        (EXPORT, FLUSH, 512, 0, 0, Error.EINVAL),
        (EXPORT, TRIM, 0, SIZE, FUA, 0),
        (EXPORT, TRIM, 512, SIZE, 0, Error.EINVAL),
        (EXPORT, ZERO, 0, SIZE, FUA | NO_HOLE, 0),
        (EXPORT, ZERO, 512, SIZE, 0, Error.ENOSPC),
        (EXPORT, ZERO, 0, 512, FAST, Error.EINVAL),
        (QUICK, ZERO, 0, 512, FAST, 0),
        (QUICK, ZERO, 0, 512, FAST | NO_HOLE, Error.ENOTSUP),
        (EXPORT, CACHE, 0, 512, 0, Error.EINVAL),
        (EXPORT, STATUS, 0, SIZE, REQ_ONE, 0),
        (EXPORT, STATUS, 0, 0, 0, Error.EINVAL),
        (EXPORT, STATUS, 512, SIZE, 0, Error.EINVAL),
        (EXPORT, 8, 0, 0, 0, Error.EINVAL),
        (EXPORT, 0xFFFF, 0, 0, 0, Error.EINVAL),
    ],
)
def test_what_is_refused(export: ExportInfo, kind: int, offset: int, length: int, flags: int, error: int) -> None:
    assert refusal(export, kind, offset, length, flags, meta=True, plain=False) == error


def test_what_was_not_agreed_on_is_refused() -> None:
    assert refusal(EXPORT, READ, 0, 512, DF, meta=False, plain=False) == 0
    assert refusal(EXPORT, READ, 0, 512, DF, meta=False, plain=True) == Error.EINVAL
    assert refusal(EXPORT, STATUS, 0, 512, 0, meta=False, plain=False) == Error.EINVAL


def test_simple_replies() -> None:
    out = Output()
    out.done(1)
    out.data(2, 512, b"abc")
    out.error(3, Error.EIO, "member 3 is out")
    out.data(4, 0, b"")
    assert replies(bytes(memoryview(out)), {2: 3}) == [
        Reply("simple", 1, True, 0, b""),
        Reply("simple", 2, True, 0, b"abc"),
        Reply("simple", 3, True, 5, b""),
        Reply("simple", 4, True, 0, b""),
    ]


def test_structured_replies() -> None:
    out = Output(structured=True)
    out.done(1)
    out.chunk(2, 512, b"abc", False)
    out.hole(2, 515, 7, True)
    out.data(3, 9, b"xyz")
    out.data(4, 9, b"")
    out.error(5, Error.EIO, "member ü")
    out.status(6, 1, [(512, 0), (1024, 3)])
    assert replies(bytes(memoryview(out))) == [
        Reply("simple", 1, True, 0, b""),
        Reply(1, 2, False, 0, struct.pack(">Q", 512) + b"abc"),
        Reply(2, 2, True, 0, struct.pack(">QI", 515, 7)),
        Reply(1, 3, True, 0, struct.pack(">Q", 9) + b"xyz"),
        Reply(0, 4, True, 0, b""),
        Reply(0x8001, 5, True, 5, struct.pack(">IH", 5, 9) + "member ü".encode()),
        Reply(5, 6, True, 0, struct.pack(">IIIII", 1, 512, 0, 1024, 3)),
    ]
    assert out.errors == 1


@pytest.mark.parametrize("text", ["ü" * 1000, "x" + "ü" * 1000, "x" * 511 + "€€", "\ud800"])
def test_a_long_sentence_is_cut_between_characters(text: str) -> None:
    out = Output(structured=True)
    out.error(1, Error.EIO, text)
    (reply,) = replies(bytes(memoryview(out)))
    message = reply.data[6:]
    assert len(message) <= 512
    assert text.encode("utf-8", "replace").startswith(message.decode().encode())


def test_an_output_is_sent_in_pieces_and_taken_back() -> None:
    out = Output()
    for cookie in range(20_000):  # more than one buffer
        out.done(cookie)
    whole, sent = bytes(memoryview(out)), b""
    while out.pending:
        with memoryview(out) as view:
            with pytest.raises(MemoryError):
                out.done(1)
            with pytest.raises(MemoryError):
                out.rewind(0)
            piece = bytes(view[:4097])
        sent += piece
        out.sent(len(piece))
        if len(sent) < 5000:  # what is put meanwhile comes last
            out.append(b"more")
            whole += b"more"
    assert sent == whole
    out.done(1)
    mark = out.pending
    out.data(2, 0, bytes(5000))
    out.rewind(mark)
    assert len(memoryview(out)) == 16
    for wrong in (lambda: out.rewind(17), lambda: out.sent(17)):
        with pytest.raises(ValueError, match=r"."):
            wrong()
    out.append(b"")
    assert len(memoryview(out)) == 16


requests = st.builds(
    lambda kind, offset, length, flags, cookie, data: (
        request(kind, offset, length, flags=flags, cookie=cookie, data=data if kind == WRITE else b"")
        if kind != WRITE
        else request(kind, offset, flags=flags, cookie=cookie, data=data)
    ),
    st.one_of(st.sampled_from([command for command in Command if command != DISC]), st.integers(8, 65535)),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 65535),
    st.integers(0, 2**64 - 1),
    st.binary(max_size=200),
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(requests, max_size=8), st.binary(max_size=40), st.integers(1, 300))
def test_any_stream_in_any_pieces_gives_the_same(good: list[bytes], tail: bytes, chunk: int) -> None:
    def run(step: int) -> tuple[list[tuple[int, int, int, int, int, bytes | None]], str]:
        session, found, stream = Session(EXPORT), [], b"".join(good) + tail
        try:
            for at in range(0, len(stream), step):
                session.space()[: len(stream[at : at + step])] = stream[at : at + step]
                session.filled(len(stream[at : at + step]))
                while (taken := session.take()) is not None:
                    assert session.check(taken) in refusals
                    found.append(value(taken))
        except NbdError as error:
            return found, error.reason
        return found, ""

    refusals = {0, *(int(error) for error in Error)}
    whole = run(200_000)
    assert len(whole[0]) >= len(good)
    assert run(chunk) == whole
