"""IPv6 neighbour solicitation and advertisement (RFC 4861 sections 4.3, 4.4, 7.1). Junk raises Drop.

Knows: the two messages and their link-layer address option. Refuses to know: tables, timers, routers; duplicate address
detection (RFC 4862) is left out, because a lab's addresses are given by its file and checked there.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from netvirt.hosting.drop import Drop
from netvirt.hosting.icmp import Message
from netvirt.hosting.ip import Packet

SOLICITATION: Final = 135
ADVERTISEMENT: Final = 136
HOP_LIMIT: Final = 255  # section 7.1: a packet with less may have come through a router
ALL_NODES: Final = bytes.fromhex("ff02" + "00" * 13 + "01")
UNSPECIFIED: Final = bytes(16)
_SOURCE_OPTION: Final = 1
_TARGET_OPTION: Final = 2
_SOLICITED: Final = 0x4000  # flags in the upper half of what an echo has as its ident
_OVERRIDE: Final = 0x2000


class Neighbour(NamedTuple):
    """One message: the `target` address, the MAC address from its option if there is one, the flags."""

    type: int
    target: bytes
    mac: bytes | None
    solicited: bool
    override: bool


def solicited_node(ip: bytes) -> bytes:
    """The multicast address that the owner of `ip` listens to (RFC 4291 section 2.7.1)."""
    return bytes.fromhex("ff02" + "00" * 9 + "01ff") + ip[13:]


def multicast_mac(ip: bytes) -> bytes:
    """RFC 2464 section 7."""
    return b"\x33\x33" + ip[12:]


def parse(packet: Packet, message: Message) -> Neighbour:
    options = message.payload[16:]
    target = message.payload[:16]
    if packet.hop_limit != HOP_LIMIT or message.code != 0 or len(target) < 16 or target[0] == 0xFF:
        raise Drop("nd-malformed")
    solicited = message.type == ADVERTISEMENT and bool(message.ident & _SOLICITED)
    if solicited and packet.dst[0] == 0xFF:
        raise Drop("nd-malformed")
    mac = _mac_option(options, _SOURCE_OPTION if message.type == SOLICITATION else _TARGET_OPTION)
    if packet.src == UNSPECIFIED and (mac is not None or message.type == ADVERTISEMENT):
        raise Drop("nd-malformed")
    return Neighbour(message.type, target, mac, solicited, bool(message.ident & _OVERRIDE))


def _mac_option(options: bytes, wanted: int) -> bytes | None:
    mac = None
    while options:
        size = 8 * options[1] if len(options) > 1 else 0
        if size == 0 or size > len(options):
            raise Drop("nd-malformed")
        if options[0] == wanted:
            mac = options[2:8]
            if mac[0] & 1:
                raise Drop("nd-malformed")
        options = options[size:]
    return mac


def solicitation(target: bytes, mac: bytes) -> Message:
    return Message(SOLICITATION, 0, 0, 0, target + bytes((_SOURCE_OPTION, 1)) + mac)


def advertisement(target: bytes, mac: bytes, solicited: bool) -> Message:
    flags = _OVERRIDE | (_SOLICITED if solicited else 0)
    return Message(ADVERTISEMENT, 0, flags, 0, target + bytes((_TARGET_OPTION, 1)) + mac)
