"""The burst format against its tables in ARCHITECTURE.md, written here a second time with struct."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from netvirt import burst as b
from netvirt.burst import Burst, BurstError, Frame, pack_header, unpack_header

VNET = bytes(range(12))
ETHERNET = bytes.fromhex("ffffffffffff 020000000001 0806")


def header(count: int, kind: int = 0, epoch: int = 0, version: int = 1, magic: bytes = b"VB") -> bytes:
    return magic + struct.pack("<BBIQ", version, kind, count, epoch)


def entry(data: bytes, flags: int = 0, port: int = 0, time_ns: int = 0, identity: int = 0, length: int = -1) -> bytes:
    """`data` holds the virtio-net header when the flags say that there is one."""
    if length < 0:
        length = len(data) - (12 if flags & 1 else 0)
    return struct.pack("<IHHQQ", length, flags, port, time_ns, identity) + data


def test_the_numbers_are_those_of_the_architecture_page() -> None:
    assert (b.HEADER_SIZE, b.FRAME_HEADER_SIZE, b.VNET_SIZE) == (16, 24, 12)
    assert (b.MIN_FRAME, b.MAX_FRAME, b.MAX_MESSAGE) == (14, 65_535 + 22, 1 << 20)
    kinds = (b.KIND_FRAMES, b.KIND_HELLO, b.KIND_WELCOME, b.KIND_REFUSED, b.KIND_CREDIT, b.KIND_BYE, b.KIND_GONE,
             b.KIND_PACKED)  # fmt: skip
    assert kinds == tuple(range(8))
    assert (b.FLAG_VNET, b.FLAG_IN, b.FLAG_OUT) == (1, 2, 4)


# (what is appended as keyword arguments, the same as bytes)
CASES: list[tuple[list[dict[str, object]], bytes]] = [
    ([], b""),
    ([{"data": ETHERNET}], entry(ETHERNET)),
    ([{"data": ETHERNET + bytes(46)}], entry(ETHERNET + bytes(46))),
    (
        [{"data": ETHERNET, "time_ns": 1_700_000_000_000_000_001, "identity": 0xFEDC_BA98_7654_3210}],
        entry(ETHERNET, time_ns=1_700_000_000_000_000_001, identity=0xFEDC_BA98_7654_3210),
    ),
    ([{"data": ETHERNET, "flags": 2, "port": 65535}], entry(ETHERNET, flags=2, port=65535)),
    ([{"data": ETHERNET, "flags": 4, "port": 1}], entry(ETHERNET, flags=4, port=1)),
    ([{"data": ETHERNET, "vnet": VNET}], entry(VNET + ETHERNET, flags=1)),
    ([{"data": ETHERNET, "flags": 1}], entry(ETHERNET)),  # the flag follows from the header, not the other way round
    ([{"data": bytes(65_557)}], entry(bytes(65_557))),
    ([{"data": bytes([n]) * (14 + n)} for n in range(5)], b"".join(entry(bytes([n]) * (14 + n)) for n in range(5))),
    ([{"data": ETHERNET, "vnet": VNET}, {"data": ETHERNET}], entry(VNET + ETHERNET, flags=1) + entry(ETHERNET)),
]


@pytest.mark.parametrize(("frames", "body"), CASES)
@pytest.mark.parametrize("epoch", [0, 7, 2**64 - 1])
def test_both_ways(frames: list[dict[str, Any]], body: bytes, epoch: int) -> None:
    message = header(len(frames), epoch=epoch) + body
    built = Burst(epoch)
    for frame in frames:
        built.append(**frame)
    assert bytes(built.message()) == bytes(memoryview(built)) == message
    assert (len(built), built.nbytes) == (len(frames), len(message))
    for read in (built, Burst.parse(message), Burst.parse(memoryview(message)), Burst.parse(bytearray(message))):
        assert read.epoch == epoch
        assert [frame.data for frame in read] == read.frames() == [frame["data"] for frame in frames]
        for got, wanted in zip(read, frames, strict=True):
            assert got.time_ns == wanted.get("time_ns", 0)
            assert got.identity == wanted.get("identity", 0)
            assert got.port == wanted.get("port", 0)
            assert got.vnet == wanted.get("vnet", b"")
            assert got.flags == (int(str(wanted.get("flags", 0))) & ~1 | bool(got.vnet))
    assert unpack_header(message) == (0, len(frames), epoch)


@pytest.mark.parametrize(("frames", "body"), [case for case in CASES if len(case[1]) < 1000])
def test_byte_by_byte_only_the_whole_message_is_one(frames: list[dict[str, object]], body: bytes) -> None:
    message = header(len(frames)) + body
    for size in range(len(message)):
        with pytest.raises(BurstError):
            Burst.parse(message[:size])
    for junk in (b"\0", b"VB", header(0), entry(ETHERNET), bytes(24)):
        with pytest.raises(BurstError):
            Burst.parse(message + junk)


HOSTILE = [
    (b"", "shorter"),
    (b"V", "shorter"),
    (header(0)[:15], "shorter"),
    (header(0, magic=b"BV"), "no virtfab burst"),
    (bytes(16), "no virtfab burst"),
    (header(0, version=0), "version 0"),
    (header(0, version=2), "version 2"),
    (header(0, kind=8), "kind 8"),
    (header(0, kind=255), "kind 255"),
    *[(header(0, kind=kind), f"kind {kind}") for kind in range(1, 8)],
    (header(1), "announces 1"),
    (header(2**32 - 1), "announces 4294967295"),
    (header(2**32 - 1) + entry(ETHERNET), "announces"),
    (header(0) + entry(ETHERNET), "announces 0"),
    (header(1) + entry(ETHERNET, length=13), "13 bytes"),
    (header(1) + entry(ETHERNET, length=0), "0 bytes"),
    (header(1) + entry(ETHERNET, length=15), "cut short"),
    (header(1) + entry(ETHERNET, flags=1, length=14), "cut short"),
    (header(1) + entry(bytes(65_558)), "65558 bytes"),
    (header(1) + entry(ETHERNET, length=2**31), "frames have"),
    (header(1) + entry(ETHERNET, length=2**32 - 1), "frames have"),
    (header(1) + entry(ETHERNET, length=2**32 - 24), "frames have"),
    (header(16) + entry(bytes(65_557)) * 16, "longer than"),
]


@pytest.mark.parametrize(("message", "says"), HOSTILE, ids=range(len(HOSTILE)))
def test_junk_is_one_kind_of_error_with_a_sentence(message: bytes, says: str) -> None:
    with pytest.raises(BurstError, match=says):
        Burst.parse(message)


def test_the_header_of_every_kind() -> None:
    for kind in range(8):
        assert pack_header(kind, 3, 2**63) == header(3, kind=kind, epoch=2**63)
        assert unpack_header(pack_header(kind, 3, 2**63)) == (kind, 3, 2**63)
    for message in (b"", header(0)[:15], header(0, magic=b"XX"), header(0, version=9), header(0, kind=8)):
        with pytest.raises(BurstError):
            unpack_header(message)
    with pytest.raises(BurstError, match="longer"):
        unpack_header(header(0) + bytes(b.MAX_MESSAGE))


@pytest.mark.parametrize("size", [0, 1, 13, 65_558])
def test_what_can_be_no_frame_is_refused_and_nothing_changes(size: int) -> None:
    burst = Burst()
    burst.append(ETHERNET)
    with pytest.raises(BurstError, match=f"{size} bytes"):
        burst.append(bytes(size))
    with pytest.raises(BurstError, match="virtio"):
        burst.append(ETHERNET, vnet=bytes(11))
    assert bytes(burst.message()) == header(1) + entry(ETHERNET)


def test_a_burst_grows_to_the_largest_message_and_no_further() -> None:
    burst = Burst(capacity=1)
    size = (1 << 20) // 16 - 25  # with its header this leaves 16 bytes in 16 frames: the message's own header
    for _ in range(16):
        burst.append(bytes(size))
    assert burst.nbytes == b.MAX_MESSAGE
    with pytest.raises(BurstError, match="longer"):
        burst.append(ETHERNET)
    assert len(Burst.parse(burst.message())) == 16


def test_a_burst_that_is_looked_at_does_not_change() -> None:
    burst = Burst()
    burst.append(ETHERNET)
    first, second = burst.message(), memoryview(burst)
    assert first.readonly
    for view in (first, second):
        with pytest.raises(BufferError):
            burst.append(ETHERNET)
        with pytest.raises(BufferError):
            burst.clear()
        assert bytes(view) == header(1) + entry(ETHERNET)
        view.release()
    burst.append(ETHERNET)
    assert len(burst) == 2
    burst.clear()
    assert (len(burst), burst.frames(), bytes(burst.message())) == (0, [], header(0))


def test_a_view_outlives_its_burst() -> None:
    burst = Burst(5)
    burst.append(ETHERNET)
    view = burst.message()
    del burst
    assert bytes(view) == header(1, epoch=5) + entry(ETHERNET)


def test_parse_copies() -> None:
    message = bytearray(header(1) + entry(ETHERNET))
    burst = Burst.parse(message)
    message[40:] = bytes(14)
    assert burst.frames() == [ETHERNET]


def test_a_parsed_burst_can_be_added_to() -> None:
    burst = Burst.parse(header(1, epoch=9) + entry(ETHERNET))
    burst.append(VNET + bytes(2), time_ns=5)
    assert bytes(burst.message()) == header(2, epoch=9) + entry(ETHERNET) + entry(VNET + bytes(2), time_ns=5)


def test_an_iterator_sees_no_freed_memory_when_the_burst_changes() -> None:
    burst = Burst()
    for n in range(3):
        burst.append(bytes([n]) * 14)
    seen: list[Frame] = []
    for frame in burst:
        seen.append(frame)
        if len(seen) == 1:
            burst.append(bytes(60_000))
        if len(seen) == 2:
            burst.clear()
    assert [frame.data[0] for frame in seen] == [0, 1]
