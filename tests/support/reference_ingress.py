"""The reference switch's ingress rules: from bytes to a VLAN and a priority, or the reason why not.

Knows: IEEE Std 802.1Q-2018 clauses 6.9 (tag to VID and priority), 8.6.2 (member set), 8.6.3 and table 8-1 (reserved
addresses), 9.6 (the tag). Refuses to know: learning, where frames go, and everything in netvirt.

The first rule that fails gives the drop its name. Only the outermost tag of the port's own type is a tag; a C-tag on an
S-tag port, an S-tag on a C-tag port and an inner tag are payload.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.support.reference_settings import Port

RESERVED = bytes.fromhex("0180c20000")


class Dropped(Exception):
    """The reason is the message."""


@dataclass(frozen=True)
class Classified:
    """A frame inside the bridge: taken apart, with its VLAN and priority decided."""

    dst: bytes
    src: bytes
    vid: int
    pcp: int
    dei: int
    rest: bytes  # from the type field on, without the tag

    def payload(self) -> int:
        return len(self.rest) - 2


@dataclass(frozen=True)
class Tag:
    vid: int
    pcp: int
    dei: int


def read_tag(port: Port, data: bytes) -> Tag | None:
    """The tag in front, if it is one for this port. Asks for 18 bytes where there is one."""
    if port.mode == "dot1q-tunnel" or data[12:14] != port.tagged_type():
        return None
    if len(data) < 18:
        raise Dropped("runt")
    tci = data[14] * 256 + data[15]
    return Tag(tci % 4096, tci // 8192, tci // 4096 % 2)


def reserved(dst: bytes) -> int | None:
    """The last octet of one of the addresses that table 8-1 reserves, or MVRP's; else None."""
    if dst[0:5] == RESERVED and (dst[5] <= 0x0F or dst[5] == 0x21):
        return dst[5]
    return None


def classify(port: Port, data: bytes) -> Classified:
    """6.9: which VLAN, which priority."""
    tag = read_tag(port, data)
    if not takes_customer(port, data[12:]):
        raise Dropped("customer-not-allowed")
    if tag is not None and tag.vid == 4095:
        raise Dropped("bad-vid")
    if tag is not None and tag.vid != 0:
        if port.acceptable() == "untagged":
            raise Dropped("tagged-not-accepted")
        return Classified(data[0:6], data[6:12], _inside(port, tag.vid), tag.pcp, tag.dei, data[16:])
    if port.acceptable() == "tagged" or not port.pvid:
        raise Dropped("untagged-not-accepted")
    if tag is not None:
        return Classified(data[0:6], data[6:12], port.pvid, tag.pcp, tag.dei, data[16:])
    return Classified(data[0:6], data[6:12], port.pvid, port.priority, 0, data[12:])


def takes_customer(port: Port, rest: bytes) -> bool:
    """Clause 15.4: the edge of a C-tagged service interface is a member of its customer VIDs only, in and out (8.6.2,
    8.6.4). `rest`: the frame from its type field on, without service tag.
    """
    if port.mode != "dot1q-tunnel" or not port.customer:
        return True
    vid = (rest[2] * 256 + rest[3]) % 4096 if rest[0:2] == b"\x81\x00" and len(rest) >= 6 else 0
    return vid in port.customer


def _inside(port: Port, vid: int) -> int:
    """6.9: VID translation, from the wire. A VID that another one is translated to would be mistaken for it."""
    wire_to_inside = dict(port.translate)
    if vid in wire_to_inside:
        return wire_to_inside[vid]
    if vid in wire_to_inside.values():
        raise Dropped("vlan-not-allowed")
    return vid
