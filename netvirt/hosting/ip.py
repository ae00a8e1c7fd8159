"""IPv4 (RFC 791) and IPv6 (RFC 8200) headers. Knows: headers. Refuses to know: routes, fragments, options, extensions.

Both directions; what is wrong raises Drop.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from netvirt.hosting.checksum import checksum, is_valid
from netvirt.hosting.drop import Drop

ICMP: Final = 1
UDP: Final = 17
ICMPV6: Final = 58
HOP_LIMIT: Final = 64  # RFC 1700
_FRAGMENT_BITS: Final = 0x3FFF  # "more fragments" and the offset; the two bits above are reserved and "don't fragment"
_DONT_FRAGMENT: Final = 0x4000
_IPV6_FRAGMENT: Final = 44

_IPV4: Final = struct.Struct(">BBHHHBBH4s4s")
_IPV6: Final = struct.Struct(">IHBB16s16s")


class Packet(NamedTuple):
    """One IP packet. `raw` is the whole of it without Ethernet padding, for quoting in ICMP errors."""

    src: bytes
    dst: bytes
    protocol: int
    hop_limit: int
    payload: bytes
    raw: bytes


def header_size(ip: bytes) -> int:
    """Bytes of our IP header towards an address of this kind."""
    return 20 if len(ip) == 4 else 40


def parse_ipv4(data: bytes) -> Packet:
    if len(data) < 20:
        raise Drop("ip-malformed")
    first, _tos, total, _ident, fragment, ttl, protocol, _sum, src, dst = _IPV4.unpack_from(data)
    header = 4 * (first & 15)
    if first >> 4 != 4 or header < 20 or not header <= total <= len(data):
        raise Drop("ip-malformed")
    if not is_valid(data[:header]):
        raise Drop("ip-checksum")
    if fragment & _FRAGMENT_BITS:
        raise Drop("ip-fragment")
    return Packet(src, dst, protocol, ttl, data[header:total], data[:total])


def parse_ipv6(data: bytes) -> Packet:
    if len(data) < 40:
        raise Drop("ip-malformed")
    first, length, protocol, hop_limit, src, dst = _IPV6.unpack_from(data)
    if first >> 28 != 6 or len(data) < 40 + length:
        raise Drop("ip-malformed")
    if protocol == _IPV6_FRAGMENT:
        raise Drop("ip-fragment")
    return Packet(src, dst, protocol, hop_limit, data[40 : 40 + length], data[: 40 + length])


def build(src: bytes, dst: bytes, protocol: int, payload: bytes, hop_limit: int = HOP_LIMIT) -> bytes:
    """One packet of the version that the addresses have."""
    if len(dst) == 16:
        return _IPV6.pack(6 << 28, len(payload), protocol, hop_limit, src, dst) + payload
    # Identification may be 0 where "don't fragment" is set (RFC 6864 section 4.1).
    fields = (0x45, 0, 20 + len(payload), 0, _DONT_FRAGMENT, hop_limit, protocol)
    header = _IPV4.pack(*fields, 0, src, dst)
    return _IPV4.pack(*fields, checksum(header), src, dst) + payload


def pseudo_header(src: bytes, dst: bytes, protocol: int, length: int) -> bytes:
    """What UDP and ICMPv6 checksums begin with (RFC 768; RFC 8200 section 8.1)."""
    if len(dst) == 16:
        return src + dst + struct.pack(">II", length, protocol)
    return src + dst + struct.pack(">HH", protocol, length)
