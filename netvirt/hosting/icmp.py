"""ICMP (RFC 792) and ICMPv6 (RFC 4443) messages: echo, and errors with the packet that they quote.

Knows: bytes. Refuses to know: pings in flight, rate limits. What is wrong raises Drop.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from netvirt.hosting.checksum import checksum, is_valid
from netvirt.hosting.drop import Drop
from netvirt.hosting.ip import ICMP, ICMPV6, Packet, pseudo_header

HEADER_SIZE: Final = 8


class Types(NamedTuple):
    """The numbers of one version: IP protocol, message types, and type and code of "port unreachable"."""

    protocol: int
    request: int
    reply: int
    unreachable: int
    port_code: int
    exceeded: int
    quote: int  # the largest error packet in bytes: RFC 1812 section 4.3.2.3; RFC 4443 section 3.1


TYPES: Final = {
    4: Types(ICMP, 8, 0, 3, 3, 11, 576),
    16: Types(ICMPV6, 128, 129, 1, 4, 3, 1280),
}
"""By the length of an address."""


class Message(NamedTuple):
    type: int
    code: int
    ident: int
    sequence: int
    payload: bytes


class Quoted(NamedTuple):
    """The packet that an error is about. `first` and `second` are UDP ports, or an echo's ident and sequence."""

    src: bytes
    dst: bytes
    protocol: int
    first: int
    second: int


def parse(packet: Packet) -> Message:
    data = packet.payload
    if len(data) < HEADER_SIZE:
        raise Drop("icmp-malformed")
    covered = data
    if len(packet.dst) == 16:
        covered = pseudo_header(packet.src, packet.dst, ICMPV6, len(data)) + data
    if not is_valid(covered):
        raise Drop("icmp-checksum")
    kind, code, _sum, ident, sequence = struct.unpack_from(">BBHHH", data)
    return Message(kind, code, ident, sequence, data[HEADER_SIZE:])


def build(src: bytes, dst: bytes, message: Message) -> bytes:
    data = struct.pack(">BBHHH", message.type, message.code, 0, message.ident, message.sequence) + message.payload
    covered = pseudo_header(src, dst, ICMPV6, len(data)) + data if len(dst) == 16 else data
    return data[:2] + checksum(covered).to_bytes(2, "big") + data[4:]


def port_unreachable(packet: Packet) -> Message:
    """The error for a UDP packet to a closed port, quoting as much of it as one error may."""
    types = TYPES[len(packet.dst)]
    room = types.quote - (20 if len(packet.dst) == 4 else 40) - HEADER_SIZE
    return Message(types.unreachable, types.port_code, 0, 0, packet.raw[:room])


def quoted(message: Message, version: int) -> Quoted:
    """The head of the packet that an error is about; `version` is the length of an address, 4 or 16."""
    data = message.payload
    if version == 16:
        header, protocol_at, src_at, wanted = 40, 6, 8, 6
    else:
        header, protocol_at, src_at, wanted = 4 * (data[0] & 15) if data else 0, 9, 12, 4
    if len(data) < header + 8 or header < 20 or data[0] >> 4 != wanted:
        raise Drop("icmp-malformed")
    src, dst = data[src_at : src_at + version], data[src_at + version : src_at + 2 * version]
    protocol = data[protocol_at]
    at = header if protocol == 17 else header + 4
    first, second = struct.unpack_from(">HH", data, at)
    return Quoted(src, dst, protocol, first, second)
