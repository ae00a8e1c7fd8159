"""Large TCP and UDP packets as a host gives them to its NIC, and the packets they stand for: scapy makes and sums both.

Shares nothing with netvirt.dataplane: it cuts a description of a packet up, not its bytes.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # scapy's own deprecations
    from scapy.layers.inet import IP, TCP, UDP
    from scapy.layers.inet6 import IPv6
    from scapy.packet import Raw

CSUM, TSO4, TSO6, ECN, USO4, USO6 = 1, 2, 4, 8, 0x20, 0x40
ADDRESSES = bytes.fromhex("020000000002020000000001")
TCPV4, TCPV6, UDP_L4, WITH_ECN = 1, 4, 5, 0x80
FIN, PSH, URG, CWR = 0x01, 0x08, 0x20, 0x80


def vnet(flags: int = 1, gso: int = 0, head: int = 0, size: int = 0, start: int = 0, offset: int = 0) -> bytes:
    """A virtio-net header: struct virtio_net_hdr_v1, little-endian."""
    return struct.pack("<BBHHHHH", flags, gso, head, size, start, offset, 0)


def ones_sum(data: bytes) -> int:
    """The sum of RFC 1071, not inverted."""
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) & 1)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


class Large(NamedTuple):
    """One packet that is to be cut up. `tags`: (type, TCI), the outermost first. `headers`: IPv6 extension headers."""

    data: bytes
    mss: int
    ipv6: bool = False
    udp: bool = False
    tags: tuple[tuple[int, int], ...] = ()
    identification: int = 0
    ip_options: bytes = b""
    headers: tuple[Any, ...] = ()
    sequence: int = 0
    flags: int = 0x10
    urgent: int = 0
    tcp_options: bytes = b""
    ecn: bool = False

    def __repr__(self) -> str:
        return f"Large({', '.join(f'{name}={value!r:.60}' for name, value in self._asdict().items())})"

    def ethernet(self, tags: tuple[tuple[int, int], ...]) -> bytes:
        kind = b"\x86\xdd" if self.ipv6 else b"\x08\x00"
        return ADDRESSES + b"".join(struct.pack("!HH", *tag) for tag in tags) + kind

    def packet(self, index: int, data: bytes, flags: int, urgent: int) -> bytes:
        """An IP packet with this data, as scapy builds it: `index` segments went before it."""
        transport: Any
        if self.udp:
            transport = UDP(sport=4000, dport=5000) / Raw(data)
        else:
            words = 5 + len(self.tcp_options) // 4
            sequence = (self.sequence + index * self.mss) & 0xFFFFFFFF
            transport = TCP(
                sport=4000, dport=5000, seq=sequence, ack=77, flags=flags, window=500, urgptr=urgent, dataofs=words
            ) / Raw(self.tcp_options + data)
        if not self.ipv6:
            ip: Any = IP(
                src="10.0.0.1", dst="10.0.0.2", id=(self.identification + index) & 0xFFFF, flags="DF",
                options=self.ip_options, ihl=5 + len(self.ip_options) // 4,
            )  # fmt: skip
            return bytes(ip / transport)
        layers: Any = IPv6(src="fd00::1", dst="fd00::2", fl=0x12345)
        for header in self.headers:
            layers = layers / header.copy()
        return bytes(layers / transport)

    def frame(self) -> bytes:
        """The large frame: its checksum field has the sum of the pseudo header (virtio 1.2 clause 5.1.6.2)."""
        whole = self.packet(0, self.data, self.flags, self.urgent)
        at = self.start - 14 - 4 * len(self.tags)
        field = at + (6 if self.udp else 16)
        transport = whole[at:field] + bytes(2) + whole[field + 2 :]
        # What remains of a right checksum without everything but the pseudo header.
        partial = ones_sum(struct.pack("!HH", ~int.from_bytes(whole[field : field + 2], "big") & 0xFFFF,
                                       ~ones_sum(transport) & 0xFFFF))  # fmt: skip
        return (
            self.ethernet(self.tags)
            + whole[:at]
            + transport[: field - at]
            + partial.to_bytes(2, "big")
            + whole[field + 2 :]
        )

    @property
    def start(self) -> int:
        """csum_start of the large frame."""
        ip = 40 + sum(len(bytes(header)) for header in self.headers) if self.ipv6 else 20 + len(self.ip_options)
        return 14 + 4 * len(self.tags) + ip

    @property
    def vnet(self) -> bytes:
        gso = UDP_L4 if self.udp else (TCPV6 if self.ipv6 else TCPV4) | (WITH_ECN if self.ecn else 0)
        head = self.start + (8 if self.udp else 20 + len(self.tcp_options))
        return vnet(1, gso, head, self.mss, self.start, 6 if self.udp else 16)

    @property
    def need(self) -> int:
        if len(self.data) <= self.mss:
            return CSUM
        if self.udp:
            return CSUM | (USO6 if self.ipv6 else USO4)
        return CSUM | (TSO6 if self.ipv6 else TSO4) | (ECN if self.ecn else 0)

    def segments(self, tags: tuple[tuple[int, int], ...]) -> Iterator[bytes]:
        """The frames on the wire, leaving with `tags`."""
        pieces = [self.data[at : at + self.mss] for at in range(0, len(self.data), self.mss)] or [b""]
        for index, piece in enumerate(pieces):
            flags, urgent, offset = self.flags, self.urgent, index * self.mss
            if index:
                flags &= ~CWR
            if index < len(pieces) - 1:
                flags &= ~(FIN | PSH)
            if flags & URG and offset:
                flags, urgent = (flags, urgent - offset) if urgent >= offset else (flags & ~URG, 0)
            yield self.ethernet(tags) + self.packet(index, piece, flags, urgent)
