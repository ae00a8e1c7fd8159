"""ARP for IPv4 over Ethernet (RFC 826). Knows: the 28 bytes. Refuses to know: tables, timers. Junk raises Drop."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from netvirt.addr import is_group
from netvirt.hosting.drop import Drop

REQUEST: Final = 1
REPLY: Final = 2
_HEAD: Final = bytes.fromhex("0001 0800 06 04")  # Ethernet, IPv4, 6 and 4 bytes
_BODY: Final = struct.Struct(">H6s4s6s4s")


class Arp(NamedTuple):
    operation: int
    sender_mac: bytes
    sender_ip: bytes
    target_mac: bytes
    target_ip: bytes


def parse(data: bytes) -> Arp:
    if len(data) < 28 or data[:6] != _HEAD:
        raise Drop("arp-malformed")
    message = Arp(*_BODY.unpack_from(data, 6))
    if message.operation not in (REQUEST, REPLY) or is_group(message.sender_mac):
        raise Drop("arp-malformed")
    return message


def build(message: Arp) -> bytes:
    return _HEAD + _BODY.pack(*message)
