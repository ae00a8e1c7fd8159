"""QEMU's stream framing, both ways: whole, byte by byte, with trailing data, hostile lengths, and fuzzed."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netvirt.burst import FLAG_VNET, MAX_FRAME, Burst
from netvirt.ports.qemu_stream import Decoder, Encoder

Pair = tuple[socket.socket, socket.socket]
MAX_LENGTH = 69_632


def frame(size: int, fill: int = 0) -> bytes:
    return bytes([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]) + bytes([fill & 255]) * (size - 14)


def framed(*frames: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(data)) + data for data in frames)


def message(*frames: bytes) -> memoryview:
    burst = Burst()
    for data in frames:
        burst.append(data)
    return burst.message()


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(5)
        yield ours, theirs


def decode(decoder: Decoder, ours: socket.socket) -> list[bytes]:
    got = decoder.read(ours.fileno())
    return [] if got is None else Burst.parse(got).frames()


# What arrives in one piece -> the frames, and the counters (too_short, too_long).
CASES = [
    ("one", framed(frame(60)), [frame(60)], (0, 0)),
    ("shortest", framed(frame(14)), [frame(14)], (0, 0)),
    ("longest", framed(frame(MAX_FRAME)), [frame(MAX_FRAME)], (0, 0)),
    ("many", framed(frame(60), frame(1514), frame(61)), [frame(60), frame(1514), frame(61)], (0, 0)),
    ("empty frame", framed(b"", frame(60)), [frame(60)], (1, 0)),
    ("13 bytes", framed(bytes(13), frame(60)), [frame(60)], (1, 0)),
    ("longer than a burst takes", framed(bytes(MAX_FRAME + 1), frame(60)), [frame(60)], (0, 1)),
    ("QEMU's longest", framed(bytes(MAX_LENGTH), frame(60)), [frame(60)], (0, 1)),
    ("trailing prefix", framed(frame(60)) + b"\0\0", [frame(60)], (0, 0)),
    ("trailing half frame", framed(frame(60)) + framed(frame(100))[:50], [frame(60)], (0, 0)),
]


@pytest.mark.parametrize(("wire", "frames", "junk"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_decode_whole_and_byte_by_byte(pair: Pair, wire: bytes, frames: list[bytes], junk: tuple[int, int]) -> None:
    ours, theirs = pair
    whole = Decoder()
    theirs.sendall(wire)
    assert decode(whole, ours) == frames
    assert (whole.too_short, whole.too_long) == junk
    assert whole.frames == len(frames)
    assert whole.nbytes == sum(map(len, frames))
    assert whole.ended == ""

    if len(wire) > 4000:
        return  # a system call per byte; the short cases show the same
    dripped, got = Decoder(), []
    for place in range(len(wire)):
        theirs.sendall(wire[place : place + 1])
        got += decode(dripped, ours)
    assert got == frames
    assert (dripped.too_short, dripped.too_long) == junk


def test_decoded_headers_carry_no_time_identity_or_flags(pair: Pair) -> None:
    ours, theirs = pair
    theirs.sendall(framed(frame(60), frame(70)))
    got = Decoder().read(ours.fileno())
    assert got is not None and got.readonly
    assert [(f.time_ns, f.identity, f.flags, f.port) for f in Burst.parse(got)] == [(0, 0, 0, 0)] * 2


@pytest.mark.parametrize("length", [MAX_LENGTH + 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_hostile_length_ends_the_stream_after_the_frames_before_it(pair: Pair, length: int) -> None:
    ours, theirs = pair
    decoder = Decoder()
    theirs.sendall(framed(frame(60)) + struct.pack(">I", length) + framed(frame(61)))
    assert decode(decoder, ours) == [frame(60)]
    assert decoder.ended == "oversize"
    theirs.sendall(framed(frame(62)))
    assert decode(decoder, ours) == []
    decoder.reset()
    assert decode(decoder, ours) == [frame(62)]


def test_end_of_stream_and_reset_forget_the_partial_frame(pair: Pair) -> None:
    ours, theirs = pair
    decoder = Decoder()
    theirs.sendall(framed(frame(60))[:30])
    assert decode(decoder, ours) == []
    theirs.shutdown(socket.SHUT_WR)
    assert decode(decoder, ours) == []
    assert decoder.ended == "eof"
    ours2, theirs2 = socket.socketpair()
    with ours2, theirs2:
        decoder.reset()
        theirs2.sendall(framed(frame(64)))
        assert decode(decoder, ours2) == [frame(64)]
        assert decode(decoder, ours2) == []  # nothing there: would block
        assert decoder.ended == ""


def test_a_descriptor_that_is_no_socket_ends_the_stream() -> None:
    with open("/dev/null", "rb") as file:
        decoder = Decoder()
        assert decoder.read(file.fileno()) is None
        assert decoder.ended == "enotsock"


def test_a_full_socket_of_shortest_frames_fits_one_message(pair: Pair) -> None:
    """The worst growth from wire to burst (18 -> 38 bytes) stays inside the buffer and the limit of a message."""
    ours, theirs = pair
    wire = framed(*[frame(14, n) for n in range(16_000)])
    theirs.setblocking(False)
    sent, decoder = 0, Decoder()
    got: list[bytes] = []
    while len(got) < 16_000:
        while sent < len(wire):
            try:
                sent += theirs.send(wire[sent:])
            except BlockingIOError:
                break
        got += decode(decoder, ours)
    assert got == [frame(14, n) for n in range(16_000)]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=40), st.integers(0, 2000).map(lambda n: framed(bytes(n)))), max_size=12))
def test_any_bytes_give_whole_frames_or_an_end(chunks: list[bytes]) -> None:
    """Whatever the pieces are, the result is what an obvious decoder finds in their sum."""
    ours, theirs = socket.socketpair()
    decoder = Decoder()
    got: list[bytes] = []
    with ours, theirs:
        for chunk in chunks:
            if chunk and not decoder.ended:
                theirs.sendall(chunk)
                got += decode(decoder, ours)
    assert (got, decoder.ended) == obvious(b"".join(chunks))


def obvious(wire: bytes) -> tuple[list[bytes], str]:
    frames: list[bytes] = []
    while len(wire) >= 4:
        (length,) = struct.unpack_from(">I", wire)
        if length > MAX_LENGTH:
            return frames, "oversize"
        if len(wire) < 4 + length:
            break
        if 14 <= length <= MAX_FRAME:
            frames.append(wire[4 : 4 + length])
        wire = wire[4 + length :]
    return frames, ""


# --- the encoder


def test_encode_counts_and_framing(pair: Pair) -> None:
    ours, theirs = pair
    encoder = Encoder()
    assert encoder.write(ours.fileno(), message(frame(60), frame(1514))) is True
    assert theirs.recv(65536) == framed(frame(60), frame(1514))
    assert (encoder.frames, encoder.nbytes) == (2, 1574)
    assert encoder.write(ours.fileno(), message()) is True


def test_encode_more_than_one_batch_and_a_slow_reader(pair: Pair) -> None:
    """Partial writes at every possible place: the position survives, and nothing is sent twice or lost."""
    ours, theirs = pair
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
    frames = [frame(14 + n * 7 % 1500, n) for n in range(700)]
    whole, wanted = message(*frames), framed(*frames)
    encoder, got, blocked = Encoder(), b"", 0
    while not encoder.write(ours.fileno(), whole):
        blocked += 1
        got += theirs.recv(977)
    while len(got) < len(wanted):
        got += theirs.recv(65536)
    assert got == wanted
    assert blocked > 10
    assert encoder.frames == 700


def test_encode_drops_offloaded_frames_counted(pair: Pair) -> None:
    ours, theirs = pair
    vnet = bytes(12)
    for order in (["v", "p", "v", "v", "p", "v"], ["v", "v"]):
        burst, wanted = Burst(), []
        for number, kind in enumerate(order):
            burst.append(frame(60, number), vnet=vnet if kind == "v" else b"")
            if kind == "p":
                wanted.append(frame(60, number))
        encoder = Encoder()
        assert encoder.write(ours.fileno(), burst.message()) is True
        assert encoder.offload_unsupported == order.count("v")
        assert encoder.frames == len(wanted)
        if wanted:
            assert theirs.recv(65536) == framed(*wanted)


def test_encode_many_offloaded_frames_behind_a_full_batch(pair: Pair) -> None:
    ours, theirs = pair
    burst = Burst()
    for number in range(600):
        burst.append(frame(20, number), vnet=bytes(12) if 200 <= number < 500 else b"")
    encoder = Encoder()
    assert encoder.write(ours.fileno(), burst.message()) is True
    wanted = framed(*[frame(20, n) for n in range(600) if not 200 <= n < 500])
    assert theirs.recv(1 << 20) == wanted
    assert encoder.offload_unsupported == 300


def test_the_message_may_grow_between_two_writes(pair: Pair) -> None:
    ours, theirs = pair
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
    frames = [frame(1000, n) for n in range(30)]
    encoder = Encoder()
    assert encoder.write(ours.fileno(), message(*frames[:20])) is False
    grown, got = message(*frames), b""
    while not encoder.write(ours.fileno(), grown):
        got += theirs.recv(4096)
    while len(got) < 30 * 1004:
        got += theirs.recv(65536)
    assert got == framed(*frames)


def test_a_dead_peer_is_an_oserror_and_no_signal(pair: Pair) -> None:
    ours, theirs = pair
    theirs.close()
    with pytest.raises(BrokenPipeError):
        Encoder().write(ours.fileno(), message(frame(60)))


BROKEN = [
    b"",
    b"VB\x01\x00",
    b"XB\x01\x00" + bytes(12),
    b"VB\x02\x00" + bytes(12),
    b"VB\x01\x01" + bytes(12),
    b"VB\x01\x00" + struct.pack("<IQ", 1, 0),
    b"VB\x01\x00" + struct.pack("<IQ", 1, 0) + struct.pack("<IHHQQ", 60, 0, 0, 0, 0) + bytes(59),
    b"VB\x01\x00" + struct.pack("<IQ", 1, 0) + struct.pack("<IHHQQ", 0xFFFFFFFF, 0, 0, 0, 0) + bytes(60),
    b"VB\x01\x00" + struct.pack("<IQ", 1, 0) + struct.pack("<IHHQQ", 60, FLAG_VNET, 0, 0, 0) + bytes(60),
    b"VB\x01\x00" + struct.pack("<IQ", 0xFFFFFFFF, 0) + struct.pack("<IHHQQ", 14, 0, 0, 0, 0) + bytes(14),
]


@pytest.mark.parametrize("broken", BROKEN, ids=range(len(BROKEN)))
def test_no_message_is_one_error(pair: Pair, broken: bytes) -> None:
    encoder = Encoder()
    with pytest.raises(ValueError, match="no FRAMES message"):
        encoder.write(pair[0].fileno(), broken)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 5))
def test_any_body_is_written_or_refused(body: bytes, count: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        try:
            assert Encoder().write(ours.fileno(), b"VB\x01\x00" + struct.pack("<IQ", count, 0) + body) is True
        except ValueError as error:
            assert "no FRAMES message" in str(error)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(14, 3000), min_size=1, max_size=40), st.lists(st.integers(1, 5000), min_size=1, max_size=8))
def test_round_trip_through_a_small_socket(sizes: list[int], reads: list[int]) -> None:
    frames = [frame(size, number) for number, size in enumerate(sizes)]
    near, far = socket.socketpair()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
    encoder, decoder = Encoder(), Decoder()
    got: list[bytes] = []
    relay, end = socket.socketpair()
    with near, far, relay, end:
        whole: memoryview | None = message(*frames)
        step = 0
        while len(got) < len(frames):
            if whole is not None and encoder.write(near.fileno(), whole):
                whole = None
            far.setblocking(False)
            try:
                relay.sendall(far.recv(reads[step % len(reads)]))
            except BlockingIOError:
                pass
            got += decode(decoder, end)
            step += 1
    assert got == frames
