"""The IP packets that words can ask for: an echo request, a UDP datagram, the first segment of a TCP connection.

Knows: their headers and checksums, with the same code that the lab's hosts have. Refuses to know: frames, words.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from netvirt.hosting import icmp, ip, udp
from netvirt.hosting.checksum import checksum

KINDS: Final = ("icmp", "udp", "tcp", "arp")
FEWEST: Final = {"icmp": 56, "udp": 18, "tcp": 0, "arp": 0}
"""Bytes of payload where no size is said; 56 as ping has, 18 for a frame of 60 bytes."""

_TCP: Final = 6
_SYN: Final = 0x5002  # a header of 5 words, and one flag (RFC 9293 section 3.1)
_WINDOW: Final = 65535
_SOURCE_PORT: Final = 49152  # the first of the dynamic ports, RFC 6335
_PORTS: Final = {"udp": 7, "tcp": 80}


def packet(kind: str, src: bytes, dst: bytes, port: int = 0) -> Callable[[int], bytes]:
    """What makes the packet with so many bytes of payload. src, dst: 4 or 16 bytes each; port: 0 = the usual one."""

    def make(extra: int) -> bytes:
        return ip.build(src, dst, *_BODIES[kind](src, dst, port or _PORTS.get(kind, 0), bytes(extra)))

    return make


def _icmp(src: bytes, dst: bytes, port: int, payload: bytes) -> tuple[int, bytes]:
    types = icmp.TYPES[len(dst)]
    return types.protocol, icmp.build(src, dst, icmp.Message(types.request, 0, 1, 1, payload))


def _udp(src: bytes, dst: bytes, port: int, payload: bytes) -> tuple[int, bytes]:
    return ip.UDP, udp.build(src, dst, _SOURCE_PORT, port, payload)


def _tcp(src: bytes, dst: bytes, port: int, payload: bytes) -> tuple[int, bytes]:
    head = struct.pack(">HHIIHHHH", _SOURCE_PORT, port, 0, 0, _SYN, _WINDOW, 0, 0)
    total = checksum(ip.pseudo_header(src, dst, _TCP, len(head) + len(payload)) + head + payload)
    return _TCP, head[:16] + total.to_bytes(2, "big") + head[18:] + payload


_BODIES: Final[dict[str, Callable[[bytes, bytes, int, bytes], tuple[int, bytes]]]] = {
    "icmp": _icmp, "udp": _udp, "tcp": _tcp,
}  # fmt: skip
