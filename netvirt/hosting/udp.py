"""UDP headers (RFC 768). Knows: ports, length, checksum. Refuses to know: who listens. What is wrong raises Drop."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from netvirt.hosting.checksum import checksum, is_valid
from netvirt.hosting.drop import Drop
from netvirt.hosting.ip import UDP, Packet, pseudo_header

HEADER_SIZE: Final = 8
_HEADER: Final = struct.Struct(">HHHH")


class Segment(NamedTuple):
    src_port: int
    dst_port: int
    payload: bytes


def parse(packet: Packet) -> Segment:
    data = packet.payload
    if len(data) < HEADER_SIZE:
        raise Drop("udp-malformed")
    src_port, dst_port, length, sent_sum = _HEADER.unpack_from(data)
    if not HEADER_SIZE <= length <= len(data) or dst_port == 0:
        raise Drop("udp-malformed")
    data = data[:length]
    if sent_sum == 0:
        # No checksum: allowed over IPv4, not over IPv6 (RFC 8200 section 8.1).
        if len(packet.dst) == 16:
            raise Drop("udp-checksum")
    elif not is_valid(pseudo_header(packet.src, packet.dst, UDP, length) + data):
        raise Drop("udp-checksum")
    return Segment(src_port, dst_port, data[HEADER_SIZE:])


def build(src: bytes, dst: bytes, src_port: int, dst_port: int, payload: bytes) -> bytes:
    length = HEADER_SIZE + len(payload)
    data = _HEADER.pack(src_port, dst_port, length, 0) + payload
    # A computed zero is sent as all ones, because zero says "no checksum" (RFC 768).
    total = checksum(pseudo_header(src, dst, UDP, length) + data) or 0xFFFF
    return _HEADER.pack(src_port, dst_port, length, total) + payload
