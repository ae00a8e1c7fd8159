"""Bytes <-> Ethernet frames with 802.1Q and 802.1ad tags, and one line of text per frame for logs.

Knows: IEEE 802.3 headers, tags (IEEE 802.1Q-2018 clause 9), just enough of ARP, IPv4 and IPv6 to describe a frame.
Refuses to know: ports, VLAN membership, the frame check sequence (virtual links carry none), minimum sizes (a virtual
NIC sends 42-byte ARP frames; whatever has its 14 bytes of header is a frame). Junk raises FrameError and nothing else.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

from netvirt.addr import MAC_SIZE, MAX_PCP, mac_text

HEADER_SIZE: Final = 14
TAG_SIZE: Final = 4
TPID_CUSTOMER: Final = 0x8100  # C-TAG, IEEE 802.1Q-2018 table 9-1
TPID_SERVICE: Final = 0x88A8  # S-TAG, the same table
TPIDS: Final = frozenset((TPID_CUSTOMER, TPID_SERVICE))

ETHERTYPE_IPV4: Final = 0x0800
ETHERTYPE_ARP: Final = 0x0806
ETHERTYPE_IPV6: Final = 0x86DD
_LARGEST_LENGTH: Final = 0x05DC  # up to here the type field is an 802.3 length (IEEE 802.3-2018 clause 3.2.6)
_VID_BITS: Final = 0x0FFF


class FrameError(ValueError):
    """Bytes that are no frame, or values that no frame can carry; one sentence."""


class Tag(NamedTuple):
    """One VLAN tag: TPID, priority 0-7, drop eligible, VID 0-4095 as it stands on the wire (0 and 4095 are kept)."""

    tpid: int
    pcp: int
    dei: bool
    vid: int


class Ethernet(NamedTuple):
    """A frame. `tags` are outermost first; `ethertype` is the field behind the last tag."""

    dst: bytes
    src: bytes
    tags: tuple[Tag, ...]
    ethertype: int
    payload: bytes

    def build(self) -> bytes:
        """The frame's bytes, without FCS and without padding. Raises FrameError."""
        if len(self.dst) != MAC_SIZE or len(self.src) != MAC_SIZE:
            raise FrameError(f"a MAC address has 6 bytes, not {len(self.dst)} and {len(self.src)}")
        if not 0 <= self.ethertype <= 0xFFFF or self.ethertype in TPIDS:
            raise FrameError(f"0x{self.ethertype:x} cannot be the type of a frame's payload")
        tags = b"".join(tag_bytes(tag) for tag in self.tags)
        return b"".join((self.dst, self.src, tags, self.ethertype.to_bytes(2, "big"), self.payload))


def parse(data: bytes | bytearray | memoryview) -> Ethernet:
    """The frame in `data`. Bytes behind the real payload (padding) stay in the payload. Raises FrameError."""
    data = bytes(data)
    if len(data) < HEADER_SIZE:
        raise FrameError(f"a frame has at least 14 bytes of header, this one ends after {len(data)}")
    tags: list[Tag] = []
    at = 2 * MAC_SIZE
    ethertype = int.from_bytes(data[at : at + 2], "big")
    while ethertype in TPIDS:
        if len(data) < at + TAG_SIZE + 2:
            raise FrameError(f"the VLAN tag at byte {at} is cut off: the frame ends after {len(data)} bytes")
        tci, following = struct.unpack_from(">HH", data, at + 2)
        tags.append(_tag(ethertype, tci))
        ethertype = following
        at += TAG_SIZE
    return Ethernet(data[:6], data[6:12], tuple(tags), ethertype, data[at + 2 :])


def tag_bytes(tag: Tag) -> bytes:
    """The four bytes of a tag: TPID and tag control information (IEEE 802.1Q-2018 clause 9.6). Raises FrameError."""
    if tag.tpid not in TPIDS:
        raise FrameError(f"0x{tag.tpid:x} is not a tag protocol identifier; 0x8100 and 0x88a8 are")
    if not 0 <= tag.pcp <= MAX_PCP:
        raise FrameError(f"a tag's priority is 0 to 7, not {tag.pcp}")
    if not 0 <= tag.vid <= _VID_BITS:
        raise FrameError(f"a tag's VID is 0 to 4095, not {tag.vid}")
    return struct.pack(">HH", tag.tpid, tag.pcp << 13 | bool(tag.dei) << 12 | tag.vid)


def push_tag(data: bytes, tag: Tag) -> bytes:
    """`data` with `tag` as its new outermost tag. Raises FrameError."""
    if len(data) < HEADER_SIZE:
        raise FrameError(f"a frame has at least 14 bytes of header, this one ends after {len(data)}")
    return b"".join((data[:12], tag_bytes(tag), data[12:]))


def pop_tag(data: bytes) -> tuple[Tag | None, bytes]:
    """The outermost tag and the frame without it; (None, data) for an untagged frame. Raises FrameError."""
    frame = parse(data)
    if not frame.tags:
        return None, data
    return frame.tags[0], data[:12] + data[12 + TAG_SIZE :]


def describe(data: bytes) -> str:
    """One line for logs: addresses, tags, what is inside, length in bytes. Never raises, whatever `data` is."""
    try:
        frame = parse(data)
    except FrameError as error:
        return f"{len(data)} bytes that are no frame: {error}"
    words = [mac_text(frame.src), ">", mac_text(frame.dst)]
    for tag in frame.tags:
        words.append(
            ("vlan" if tag.tpid == TPID_CUSTOMER else "s-vlan") + f" {tag.vid} pcp {tag.pcp}" + " dei" * tag.dei
        )
    words += [_describe_payload(frame.ethertype, frame.payload), f"({len(data)} bytes)"]
    return " ".join(words)


def _tag(tpid: int, tci: int) -> Tag:
    return Tag(tpid, tci >> 13, bool(tci & 0x1000), tci & _VID_BITS)


_IP_PROTOCOLS: Final = {1: "ICMP", 2: "IGMP", 6: "TCP", 17: "UDP", 58: "ICMPv6"}
_ARP_OPERATIONS: Final = {1: "who has {target}, tell {sender}", 2: "{sender} is at {mac}"}
_OTHER_TYPES: Final = {0x8809: "slow protocol", 0x88CC: "LLDP", 0x888E: "802.1X", 0x8808: "pause", 0x86DD: "IPv6"}


def _describe_payload(ethertype: int, payload: bytes) -> str:
    if ethertype == ETHERTYPE_ARP and len(payload) >= 28:
        form = _ARP_OPERATIONS.get(int.from_bytes(payload[6:8], "big"), "operation unknown")
        sender, target = IPv4Address(payload[14:18]), IPv4Address(payload[24:28])
        return "ARP " + form.format(sender=sender, target=target, mac=mac_text(payload[8:14]))
    if ethertype == ETHERTYPE_IPV4 and len(payload) >= 20:
        header = 4 * (payload[0] & 15)
        ends = str(IPv4Address(payload[12:16])), str(IPv4Address(payload[16:20]))
        return "IPv4 " + _describe_ip(*ends, payload[9], payload[header:])
    if ethertype == ETHERTYPE_IPV6 and len(payload) >= 40:
        ends = str(IPv6Address(payload[8:24])), str(IPv6Address(payload[24:40]))
        return "IPv6 " + _describe_ip(*ends, payload[6], payload[40:])
    if ethertype <= _LARGEST_LENGTH:
        return "LLC (spanning tree)" if payload[:2] == b"\x42\x42" else "LLC"
    return _OTHER_TYPES.get(ethertype, f"type 0x{ethertype:04x}")


def _describe_ip(src: str, dst: str, protocol: int, inner: bytes) -> str:
    name = _IP_PROTOCOLS.get(protocol, f"protocol {protocol}")
    if name in ("UDP", "TCP") and len(inner) >= 4:
        ports = struct.unpack(">HH", inner[:4])
        return f"{src} > {dst} {name} {ports[0]} > {ports[1]}"
    if name in ("ICMP", "ICMPv6") and inner:
        return f"{src} > {dst} {name} type {inner[0]}"
    return f"{src} > {dst} {name}"
