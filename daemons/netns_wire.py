"""rtnetlink messages that set up an interface, its addresses and routes, and the kernel's answers; bytes and values.

Knows: rtnetlink(7), linux/if_link.h, if_addr.h, rtnetlink.h. Refuses to know: sockets, namespaces, what is wanted.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

RTM_NEWLINK, RTM_DELLINK = 16, 17
RTM_NEWADDR, RTM_DELADDR = 20, 21
RTM_NEWROUTE, RTM_DELROUTE = 24, 25
RTM_DELNEIGH: Final = 29
NLMSG_ERROR: Final = 2
REQUEST, ACK, REPLACE, EXCLUSIVE, CREATE = 0x1, 0x4, 0x100, 0x200, 0x400
CAPPED, TLVS = 0x100, 0x200  # in an answer: the request is not in it; attributes follow

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_TXQLEN, IFLA_LINKINFO = 1, 3, 4, 5, 13, 18
INFO_KIND, INFO_DATA = 1, 2
VLAN_ID, VLAN_EGRESS, VLAN_MAPPING = 1, 3, 1
IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_FLAGS = 1, 2, 4, 8
NODAD: Final = 0x02
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_VIA = 1, 4, 5, 6, 18
NDA_DST: Final = 1
TABLE_MAIN, PROTOCOL_STATIC, SCOPE_LINK, SCOPE_NOWHERE, UNICAST = 254, 4, 253, 255, 1
IFF_UP: Final = 1
INET, INET6 = 2, 10
NESTED: Final = 0x8000
PRIORITIES: Final = 8  # skb->priority as sockets set it (SO_PRIORITY), each mapped to the interface's PCP

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEIGHBOUR = struct.Struct("=B3xiHBB")


class Answer(NamedTuple):
    """What the kernel said to one request: 0 or an errno, and its own words for that (often none)."""

    error: int
    words: str


def attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def _message(kind: int, flags: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, REQUEST | ACK | flags, 1, 0) + body


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def set_link(index: int, *, up: bool = False, mac: bytes = b"", mtu: int = 0, queue: int = 0) -> bytes:
    """Changes an interface; what is not given stays. queue: packets that wait to be sent."""
    flags = IFF_UP if up else 0
    body = _LINK.pack(0, 0, index, flags, flags)
    body += attribute(IFLA_ADDRESS, mac) if mac else b""
    body += _number(IFLA_MTU, mtu) if mtu else b""
    body += _number(IFLA_TXQLEN, queue) if queue else b""
    return _message(RTM_NEWLINK, 0, body)


def add_vlan(name: str, parent: int, vid: int, pcp: int) -> bytes:
    """An interface for the VLAN `vid` over the one with the number `parent`; all that it sends has this PCP."""
    data = attribute(VLAN_ID, struct.pack("=H", vid))
    if pcp:
        mappings = (attribute(VLAN_MAPPING, struct.pack("=II", each, pcp)) for each in range(PRIORITIES))
        data += attribute(VLAN_EGRESS | NESTED, b"".join(mappings))
    info = attribute(INFO_KIND, b"vlan\0") + attribute(INFO_DATA | NESTED, data)
    body = _LINK.pack(0, 0, 0, 0, 0) + attribute(IFLA_IFNAME, name.encode() + b"\0") + _number(IFLA_LINK, parent)
    return _message(RTM_NEWLINK, CREATE | EXCLUSIVE, body + attribute(IFLA_LINKINFO | NESTED, info))


def delete_link(index: int) -> bytes:
    return _message(RTM_DELLINK, 0, _LINK.pack(0, 0, index, 0, 0))


def address(index: int, packed: bytes, prefix: int, *, delete: bool = False) -> bytes:
    """Gives an interface an address of 4 or 16 bytes, which is used at once (RFC 4862 5.4 is left out), or takes it."""
    four = len(packed) == 4
    body = _ADDRESS.pack(INET if four else INET6, prefix, 0 if four else NODAD, 0, index)
    body += attribute(IFA_LOCAL, packed) + attribute(IFA_ADDRESS, packed)
    if four and prefix < 31:  # RFC 3021: with 31 bits there is no broadcast address
        host_bits = (1 << (32 - prefix)) - 1
        body += attribute(IFA_BROADCAST, (int.from_bytes(packed, "big") | host_bits).to_bytes(4, "big"))
    if not four:
        body += _number(IFA_FLAGS, NODAD)
    return _message(RTM_DELADDR, 0, body) if delete else _message(RTM_NEWADDR, CREATE | REPLACE, body)


def route(to: bytes, prefix: int, via: bytes, index: int, metric: int, *, delete: bool = False) -> bytes:
    """A route to a network (4 or 16 bytes; prefix 0: to all) by a gateway (b"": on-link), an interface (0: any)."""
    scope = SCOPE_NOWHERE if delete else 0 if via else SCOPE_LINK if len(to) == 4 else 0
    body = _ROUTE.pack(
        INET if len(to) == 4 else INET6, prefix, 0, 0, TABLE_MAIN, PROTOCOL_STATIC, scope, UNICAST, 0
    )  # fmt: skip
    body += attribute(RTA_DST, to) if prefix else b""
    if via and len(via) == len(to):
        body += attribute(RTA_GATEWAY, via)
    elif via:  # RFC 5549: IPv4 by an IPv6 router
        body += attribute(RTA_VIA, struct.pack("=H", INET if len(via) == 4 else INET6) + via)
    body += _number(RTA_OIF, index) if index else b""
    body += _number(RTA_PRIORITY, metric) if metric else b""
    return _message(RTM_DELROUTE, 0, body) if delete else _message(RTM_NEWROUTE, CREATE | REPLACE, body)


def forget_neighbour(index: int, packed: bytes) -> bytes:
    """Takes an address out of an interface's ARP or ND table."""
    body = _NEIGHBOUR.pack(INET if len(packed) == 4 else INET6, index, 0, 0, 0)
    return _message(RTM_DELNEIGH, 0, body + attribute(NDA_DST, packed))


def parse_answer(data: bytes) -> Answer | None:
    """The first answer to a request in a datagram of the kernel, if there is one. Ends at what it can't read."""
    at = 0
    while len(data) - at >= _HEADER.size + 4:
        size, kind, flags, _, _ = _HEADER.unpack_from(data, at)
        if not _HEADER.size <= size <= len(data) - at:
            return None
        if kind == NLMSG_ERROR and size >= _HEADER.size + 4:
            return _answer(data[at + _HEADER.size : at + size], flags)
        at += (size + 3) & ~3
    return None


def _answer(body: bytes, flags: int) -> Answer:
    (code,) = struct.unpack_from("=i", body)
    at = 4 + _HEADER.size
    if not flags & CAPPED and len(body) >= at and code:  # the whole request stands in it
        (length,) = struct.unpack_from("=I", body, 4)
        at = 4 + ((length + 3) & ~3)
    while flags & TLVS and len(body) - at >= _ATTRIBUTE.size:
        size, kind = _ATTRIBUTE.unpack_from(body, at)
        if not _ATTRIBUTE.size <= size <= len(body) - at:
            break
        if kind == 1:  # NLMSGERR_ATTR_MSG
            return Answer(-code, body[at + 4 : at + size].rstrip(b"\0").decode(errors="replace"))
        at += (size + 3) & ~3
    return Answer(-code, "")
