"""Every field of a virtio-net header is hostile: what does not fit its frame is refused, nothing outside is read."""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netvirt.dataplane import offload
from netvirt.dataplane.offload import OffloadError
from tests.support.unsegmented import ADDRESSES, TCPV4, TCPV6, UDP_L4, WITH_ECN, Large, vnet

PLACE = "csum_start or csum_offset"
TYPE = "gso_type is unknown"
PACKET = "the packet is not what gso_type says"
SIZE = "gso_size makes no segments"

TCP4, TCP6 = Large(bytes(300), 100), Large(bytes(300), 100, ipv6=True)
UDP4, UDP6 = Large(bytes(300), 100, udp=True), Large(bytes(300), 100, ipv6=True, udp=True)


def patched(frame: bytes, at: int, new: bytes) -> bytes:
    return frame[:at] + new + frame[at + len(new) :]


class Guarded:
    """Memory that ends where the next page may not be touched."""

    SIZE = 1 << 17

    def __init__(self) -> None:
        self.pages = mmap.mmap(-1, self.SIZE + mmap.PAGESIZE)
        self.start = ctypes.addressof(ctypes.c_char.from_buffer(self.pages))
        library = ctypes.CDLL(None, use_errno=True)
        assert library.mprotect(ctypes.c_void_p(self.start + self.SIZE), mmap.PAGESIZE, 0) == 0

    def hold(self, data: bytes) -> memoryview:
        at = self.SIZE - len(data)
        self.pages[at : self.SIZE] = data
        return memoryview(self.pages)[at : self.SIZE]


@pytest.fixture(scope="module")
def guarded() -> Iterator[Guarded]:
    yield Guarded()


HEADERS = [
    (TCP4, vnet(1, start=13, offset=16), PLACE),
    (TCP4, vnet(1, start=0xFFFF, offset=0xFFFF), PLACE),
    (TCP4, vnet(1, start=34, offset=14 + 40 + 300 - 34 - 1), PLACE),  # one byte of it is outside
    (TCP4, vnet(1, TCPV4, 54, 100, 35, 16), PLACE),
    (TCP4, vnet(1, TCPV4, 54, 100, 34, 6), PLACE),
    (UDP4, vnet(1, UDP_L4, 42, 100, 34, 16), PLACE),
    (TCP4, vnet(0, TCPV4, 54, 100, 34, 16), TYPE),  # without NEEDS_CSUM
    (TCP4, vnet(1, 2, 54, 100, 34, 16), TYPE),
    (UDP4, vnet(1, 3, 42, 100, 34, 6), TYPE),  # UFO
    (TCP4, vnet(1, 0x7F, 54, 100, 34, 16), TYPE),
    (TCP4, vnet(1, WITH_ECN, 54, 100, 34, 16), TYPE),
    (UDP4, vnet(1, UDP_L4 | WITH_ECN, 42, 100, 34, 6), TYPE),
    (TCP4, vnet(1, TCPV6, 54, 100, 34, 16), PACKET),
    (TCP6, vnet(1, TCPV4, 74, 100, 54, 16), PACKET),
    (TCP4, vnet(1, UDP_L4, 54, 100, 34, 6), PACKET),
    (UDP6, vnet(1, TCPV6, 62, 100, 54, 16), PACKET),
    (TCP4, vnet(1, TCPV4, 54, 0, 34, 16), SIZE),
    (UDP6, vnet(1, UDP_L4, 62, 0, 54, 6), SIZE),
    (Large(bytes(1025), 1), Large(bytes(1025), 1).vnet, SIZE),  # more than 1024 segments
]


@pytest.mark.parametrize(("large", "header", "sentence"), HEADERS)
def test_a_header_that_does_not_fit(large: Large, header: bytes, sentence: str) -> None:
    for function in (offload.segment, offload.finish, offload.needs):
        with pytest.raises(OffloadError, match=sentence):
            function(large.frame(), header)


PACKETS = [
    (TCP4, 12, b"\x08\x06"),  # ARP
    (TCP4, 14, b"\x65"),  # version 6 behind IPv4's type
    (TCP4, 14, b"\x44"),  # a header of 16 bytes
    (TCP4, 20, b"\x20\x00"),  # more fragments
    (TCP4, 20, b"\x00\x01"),  # the second fragment
    (TCP4, 23, b"\x11"),
    (TCP4, 46, b"\x40"),  # a TCP header of 16 bytes
    (TCP4, 47, b"\x12"),  # SYN
    (TCP4, 47, b"\x14"),  # RST
    (TCP6, 14, b"\x40"),
    (TCP6, 20, b"\x2c"),  # a fragment header
    (TCP6, 20, b"\x33"),  # authentication: the sum of its segments would be wrong
    (TCP6, 20, b"\x3b"),  # nothing follows
]


@pytest.mark.parametrize(("large", "at", "new"), PACKETS)
def test_a_packet_that_can_not_be_cut_up(large: Large, at: int, new: bytes) -> None:
    with pytest.raises(OffloadError, match=PACKET):
        offload.segment(patched(large.frame(), at, new), large.vnet)


EXTENDED = patched(TCP6.frame(), 20, b"\x3c")[:54] + bytes.fromhex("0600010400000000") + TCP6.frame()[54:]
ENDING = [(large.frame(), large.vnet) for large in (TCP4, TCP6, UDP4, UDP6, TCP4._replace(ip_options=b"\1" * 8))]


@pytest.mark.parametrize(("frame", "header"), [*ENDING, (EXTENDED, vnet(1, TCPV6, 82, 100, 62, 16))])
def test_a_packet_that_ends_in_its_headers(guarded: Guarded, frame: bytes, header: bytes) -> None:
    early = vnet(1, header[1], size=100, start=14)  # a place that is in the shortest of them, too
    head = len(frame) - 300
    for length in range(16, head):
        for chosen in (header, early):
            with pytest.raises(OffloadError, match=f"{PACKET}|{PLACE}"):
                offload.segment(guarded.hold(frame[:length]), chosen)
    assert offload.segment(guarded.hold(frame[:head]), header)  # no data: one segment without


def test_a_tcp_header_that_goes_beyond_the_frame(guarded: Guarded) -> None:
    frame = patched(TCP4.frame(), 46, b"\xf0")  # 60 bytes
    for length in range(52, 94):
        with pytest.raises(OffloadError, match=PACKET):
            offload.segment(guarded.hold(frame[:length]), TCP4.vnet)
    assert offload.segment(guarded.hold(frame[:94]), TCP4.vnet)


def test_an_extension_header_that_goes_beyond_the_frame(guarded: Guarded) -> None:
    frame = patched(TCP6.frame(), 20, b"\x3c")  # destination options, and what was TCP says 255 * 8 + 8 bytes
    with pytest.raises(OffloadError, match=PACKET):
        offload.segment(guarded.hold(patched(frame, 54, b"\x06\xff")), TCP6.vnet)


def test_headers_that_are_longer_than_any() -> None:
    chain = b"".join(bytes([60 if n < 99 else 6, 0, 1, 4, 0, 0, 0, 0]) for n in range(100))
    frame = TCP6.frame()
    frame = patched(frame, 20, b"\x3c")[:54] + chain + frame[54:]
    with pytest.raises(OffloadError, match=SIZE):
        offload.segment(frame, vnet(1, TCPV6, 874, 100, 854, 16))


@pytest.mark.parametrize(
    ("frame", "header", "tag", "strip", "sentence"),
    [
        (bytes(13), bytes(12), b"", False, "a frame of 13 bytes"),
        (bytes(65_558), bytes(12), b"", False, "a frame of 65558 bytes"),
        (bytes(60), bytes(10), b"", False, "a virtio-net header of 10 bytes"),
        (bytes(60), bytes(12), b"\x81\x00", False, "a tag of 2 bytes"),
        (bytes(60), bytes(12), b"", True, "no tag that could be taken away"),
        (bytes(65_557), bytes(12), b"\x81\x00\x00\x01", False, "with its tag the frame has more than 65557 bytes"),
        (TCP4.frame(), TCP4.vnet, b"\x81\x00\x00", False, "a tag of 3 bytes"),
    ],
)
def test_arguments_that_can_not_be(frame: bytes, header: bytes, tag: bytes, strip: bool, sentence: str) -> None:
    with pytest.raises(OffloadError, match=sentence):
        offload.segment(frame, header, tag, strip)


def test_the_largest_frames() -> None:
    whole = Large(bytes(65_495), 1460)  # 65,535 bytes of IP
    assert len(offload.segment(whole.frame(), whole.vnet)) == 45
    frame = (
        ADDRESSES
        + bytes.fromhex("8100000186dd")
        + Large(bytes(65_479), 65_478, ipv6=True).packet(0, bytes(65_479), 16, 0)
    )
    assert len(frame) == 65_557
    header = vnet(1, TCPV6, 78, 65_478, 58, 16)
    assert [len(segment) for segment in offload.segment(frame, header)] == [65_556, 79]
    with pytest.raises(OffloadError, match="with its tag the frame has more than"):
        offload.segment(frame, header, b"\x81\x00\x00\x01")
    with pytest.raises(OffloadError, match=SIZE):  # an IPv4 packet of 65,536 bytes
        offload.segment(patched(TCP4.frame(), 354, bytes(65_203)), vnet(1, TCPV4, 54, 65_496, 34, 16))
    smaller = vnet(1, TCPV6, 78, 1440, 58, 16)  # too long with another tag: so it is cut up although the port takes it
    assert len(offload.leave(frame, smaller, 0x6F, b"\x81\x00\x00\x01")) == 46
    assert len(offload.leave(frame, smaller, 0x6F)) == 1


NASTY = st.sampled_from([0, 1, 13, 14, 34, 38, 42, 54, 58, 0x7FFF, 0xFFFE, 0xFFFF]) | st.integers(0, 0xFFFF)
HOSTILE = st.builds(
    lambda flags, gso, *numbers: struct.pack("<BBHHHHH", flags, gso, *numbers),
    st.sampled_from([0, 1, 1, 1, 2, 3, 0xFF]), st.sampled_from([0, 1, 3, 4, 5, 0x81, 0x84, 0x85]) | st.integers(0, 255),
    NASTY, NASTY, NASTY, st.sampled_from([6, 16]) | NASTY, NASTY,
)  # fmt: skip
SOME = st.sampled_from([TCP4, TCP6, UDP4, UDP6, TCP4._replace(tags=((0x88A8, 1), (0x8100, 2)), ip_options=b"\1" * 12)])


@settings(deadline=None, max_examples=200)
@given(
    SOME, st.none() | HOSTILE, st.lists(st.tuples(st.integers(12, 90), st.integers(0, 255)), max_size=6),
    st.none() | st.integers(14, 400), st.integers(0, 255), st.booleans(), st.booleans(),
)  # fmt: skip
def test_whatever_comes_it_is_refused_or_becomes_frames_that_hold_the_same_data(
    guarded: Guarded, large: Large, header: bytes | None, changes: list[tuple[int, int]], cut: int | None,
    takes: int, push: bool, strip: bool,
) -> None:  # fmt: skip
    mangled = bytearray(large.frame())
    for at, value in changes:
        mangled[at] = value
    frame, chosen = bytes(mangled[:cut]), header or large.vnet
    tag = b"\x81\x00\x00\x07" if push else b""
    try:
        got = offload.leave(guarded.hold(frame), chosen, takes, tag, strip)
    except OffloadError:
        return
    assert 1 <= len(got) <= 1024
    lead = frame[:12] + tag
    assert all(data.startswith(lead) and len(data) <= len(frame) + 4 for _, data in got)
    assert len({len(data) for _, data in got[:-1]}) <= 1
    moved = len(tag) - (4 if strip else 0)
    if len(got) == 1:
        assert len(got[0][1]) == len(frame) + moved
        return
    assert max(len(data) for _, data in got) == offload.needs(frame, chosen)[1] + 14 + moved
    head = len(got[0][1]) - struct.unpack_from("<H", chosen, 4)[0]
    together = b"".join(data[head:] for _, data in got)
    assert together == frame[head - moved :]
