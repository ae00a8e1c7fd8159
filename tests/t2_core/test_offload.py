"""Segmenting and checksums against packets that scapy builds one by one."""

from __future__ import annotations

import struct
import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netvirt.burst import Burst
from netvirt.dataplane import offload
from netvirt.dataplane.queue import Queue
from tests.support.unsegmented import ADDRESSES, CWR, FIN, PSH, Large, ones_sum, vnet

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # scapy's own deprecations
    from scapy.layers.inet import IP, TCP, UDP
    from scapy.layers.inet6 import (
        IPv6,
        IPv6ExtHdrDestOpt,
        IPv6ExtHdrHopByHop,
        IPv6ExtHdrRouting,
        IPv6ExtHdrSegmentRouting,
        PadN,
    )
    from scapy.packet import Raw

ALL = 0x6F
TAGS = st.lists(st.tuples(st.sampled_from([0x8100, 0x88A8]), st.integers(0, 0xFFFF)), max_size=3).map(tuple)
NOPS = st.integers(0, 10).map(lambda words: b"\x01" * (4 * words))
EXTENSIONS: list[Any] = [
    IPv6ExtHdrHopByHop(options=[PadN(optdata=bytes(10))]),
    IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(2))]),
    IPv6ExtHdrRouting(addresses=["fd00::9", "fd00::a"], segleft=2),  # goes on to fd00::a
    IPv6ExtHdrSegmentRouting(addresses=["fd00::b", "fd00::c"], segleft=1, lastentry=1),  # the first is the last hop
]


@st.composite
def larges(draw: st.DrawFn) -> Large:
    ipv6, udp = draw(st.booleans()), draw(st.booleans())
    mss = draw(st.sampled_from([1, 2, 7, 88, 536, 1460]) | st.integers(1, 3000))
    data = bytes(draw(st.integers(0, 255))) + draw(st.binary(max_size=40))
    size = draw(st.sampled_from([3, 2, 1, 0, 5])) * mss + draw(st.integers(0, mss))
    return Large(
        data=(data * (size // (len(data) or 1) + 1))[:size],
        mss=mss,
        ipv6=ipv6,
        udp=udp,
        tags=draw(TAGS),
        identification=draw(st.integers(0, 0xFFFF)),
        ip_options=b"" if ipv6 else draw(NOPS),
        headers=tuple(draw(st.lists(st.sampled_from(EXTENSIONS), max_size=3))) if ipv6 else (),
        sequence=draw(st.integers(0, 0xFFFFFFFF)),
        flags=draw(st.integers(0, 0xFF)) & ~0x06,
        urgent=draw(st.integers(0, 0xFFFF)),
        tcp_options=draw(NOPS),
        ecn=not udp and draw(st.booleans()),
    )


def same(got: bytes, expected: bytes, large: Large, tags: int) -> bool:
    """0 and 0xFFFF are the same checksum of TCP; a frame that is not cut up gets the latter."""
    at = large.start + 4 * (tags - len(large.tags)) + 16
    either = b"\0\0" if got[at : at + 2] == b"\xff\xff" and not large.udp else got[at : at + 2]
    return got == expected or got[:at] + either + got[at + 2 :] == expected


@settings(deadline=None, max_examples=150)
@given(larges(), st.none() | st.tuples(st.sampled_from([0x8100, 0x88A8]), st.integers(0, 0xFFFF)), st.booleans())
def test_segments_are_what_scapy_builds(large: Large, push: tuple[int, int] | None, strip: bool) -> None:
    strip = strip and bool(large.tags)
    tags = (*([push] if push else []), *large.tags[strip:])
    expected = list(large.segments(tags))
    frame = large.frame()
    got = offload.segment(frame, large.vnet, struct.pack("!HH", *push) if push else b"", strip)
    assert len(got) == len(expected)
    assert all(same(a, b, large, len(tags)) for a, b in zip(got, expected, strict=True))
    assert offload.needs(frame, large.vnet) == (large.need, max(map(len, large.segments(large.tags))) - 14)


@settings(deadline=None, max_examples=100)
@given(larges(), st.booleans(), st.booleans(), st.sampled_from([ALL, 0xFF, ALL & ~offload.ECN]) | st.integers(0, 0xFF))
def test_a_port_that_takes_it_gets_it_whole_and_the_header_moves_with_the_tag(
    large: Large, push: bool, strip: bool, takes: int
) -> None:
    """What the next one makes of it is what this one would have made."""
    frame, strip = large.frame(), strip and bool(large.tags)
    tag = b"\x81\x00\x00\x2a" if push else b""
    got = offload.leave(frame, large.vnet, takes, tag, strip)
    segments = offload.segment(frame, large.vnet, tag, strip)
    if large.need & ~takes:
        assert got == [(b"", segment) for segment in segments]
        return
    [(header, whole)] = got
    assert whole == frame[:12] + tag + frame[16 if strip else 12 :]
    moved = len(tag) - (4 if strip else 0)
    flags, gso, head, size, start, offset, buffers = struct.unpack("<BBHHHHH", header)
    assert (flags, start, offset, buffers) == (1, large.start + moved, 6 if large.udp else 16, 0)
    if large.need == offload.CSUM:
        assert (gso, head, size) == (0, 0, 0)
    else:
        _, gso_in, head_in, size_in = struct.unpack_from("<BBHH", large.vnet)
        assert (gso, head, size) == (gso_in, head_in + moved, size_in)
    assert offload.segment(whole, header) == segments


def test_a_lie_about_the_headers_length_is_not_believed() -> None:
    large = Large(bytes(range(200)), 90)
    for head in (0, 1, 13, 54, 60, 0xFFFF):
        header = large.vnet[:2] + head.to_bytes(2, "little") + large.vnet[4:]
        assert offload.segment(large.frame(), header) == list(large.segments(()))
        assert offload.leave(large.frame(), header, ALL) == [(large.vnet, large.frame())]


def test_only_the_first_says_cwr_and_only_the_last_fin_and_push() -> None:
    large = Large(bytes(30), 10, flags=0x10 | CWR | FIN | PSH, ecn=True)
    flags = [segment[47] for segment in offload.segment(large.frame(), large.vnet)]
    assert flags == [0x10 | CWR, 0x10, 0x10 | FIN | PSH]


def test_numbers_wrap() -> None:
    large = Large(bytes(30), 10, identification=0xFFFF, sequence=0xFFFFFFF6)
    segments = offload.segment(large.frame(), large.vnet)
    assert [segment[18:20].hex() for segment in segments] == ["ffff", "0000", "0001"]
    assert [segment[38:42].hex() for segment in segments] == ["fffffff6", "00000000", "0000000a"]


@pytest.mark.parametrize("ipv6", [False, True])
def test_a_udp_checksum_is_never_zero(ipv6: bool) -> None:
    """0 would mean: no checksum (RFC 768), and is not allowed at all in IPv6 (RFC 8200 clause 8.1)."""
    large = Large(bytes(20), 10, ipv6=ipv6, udp=True)
    at = large.start + 6
    sums = {segment[at : at + 2] for segment in large.segments(())}
    assert len(sums) == 1
    awkward = large._replace(data=(sums.pop() + bytes(8)) * 2)
    assert [s[at : at + 2] for s in offload.segment(awkward.frame(), awkward.vnet)] == [b"\xff\xff"] * 2


CHECKSUMMED = [
    (IP(src="1.2.3.4", dst="5.6.7.8") / UDP(sport=9, dport=9) / Raw(b"odd"), 20, 6),
    (IPv6(src="fd00::1", dst="fd00::2") / UDP(sport=9, dport=9) / Raw(b"even"), 40, 6),
    (IPv6(src="fd00::1", dst="fd00::2") / IPv6ExtHdrDestOpt() / UDP(sport=9, dport=9) / Raw(b"more"), 48, 6),
    (IP(src="1.2.3.4", dst="5.6.7.8") / TCP(sport=9, dport=9, flags="S"), 20, 16),
]


@pytest.mark.parametrize(("packet", "at", "offset"), CHECKSUMMED)
@pytest.mark.parametrize("tags", [b"", bytes.fromhex("81000064"), bytes.fromhex("88a8006481000001")])
def test_a_checksum_is_completed(packet: Any, at: int, offset: int, tags: bytes) -> None:
    whole = bytes(packet)
    lead = ADDRESSES + tags + (b"\x86\xdd" if whole[0] >> 4 == 6 else b"\x08\x00")
    field = at + offset
    rest = whole[at:field] + bytes(2) + whole[field + 2 :]
    right = int.from_bytes(whole[field : field + 2], "big")
    partial = ones_sum(struct.pack("!HH", ~right & 0xFFFF, ~ones_sum(rest) & 0xFFFF))
    frame = lead + whole[:field] + partial.to_bytes(2, "big") + whole[field + 2 :]
    header = vnet(1, start=len(lead) + at, offset=offset)
    assert offload.finish(frame, header) == lead + whole
    assert offload.needs(frame, header) == (offload.CSUM, len(frame) - 14)


def test_a_header_that_asks_for_nothing_is_an_ordinary_frame() -> None:
    frame = ADDRESSES + b"\x08\x06" + bytes(28)
    for header in (bytes(12), vnet(2), vnet(2, start=0xFFFF, offset=0xFFFF, size=9)):  # 2: the checksum was looked at
        assert offload.leave(frame, header, ALL) == [(b"", frame)]
        assert offload.needs(frame, header) == (0, 28)


def test_a_full_queue_keeps_the_first_segments_and_counts_the_others() -> None:
    large = Large(bytes(range(250)) * 40, 1000)
    cost = 24 + 54 + 1000
    queue = Queue(4 * cost + 5)
    assert offload.put(queue, large.frame(), large.vnet, time_ns=5, identity=6) == 4
    assert queue.statistics()["drops"] == {"queue-full": 6}
    frames = list(Burst.parse(queue.head() or b""))
    assert [frame.data for frame in frames] == list(large.segments(()))[:4]
    assert {(frame.time_ns, frame.identity, frame.flags, frame.port) for frame in frames} == {(5, 6, 0, 0)}
    assert offload.put(Queue(100), large.frame(), large.vnet, ALL) == 0


def test_a_full_queue_counts_a_frame_that_stays_whole_once() -> None:
    large = Large(bytes(1000), 400)
    for takes, lost in ((0, 3), (ALL, 1)):
        queue = Queue(100)
        assert offload.put(queue, large.frame(), large.vnet, takes) == 0
        assert queue.statistics()["drops"] == {"queue-full": lost}


def test_segments_fill_more_than_one_message() -> None:
    queue = Queue()
    large = Large(bytes(60_000), 60)
    for _ in range(3):
        assert offload.put(queue, large.frame(), large.vnet) == 1000
    sizes = []
    while (head := queue.head()) is not None:
        sizes.append(len(Burst.parse(head)))
        queue.pop()
    assert sum(sizes) == 3000 and max(sizes) <= 1024
