"""The configuration of a host's interface: names, MAC, VLAN, addresses, gateway; checked once, here.

Knows: what a lab may ask for. Refuses to know: frames and running state. Mistakes raise HostError with one sentence.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final, NamedTuple

from netvirt.addr import MAC_SIZE, check_pcp, check_vid, is_group

MIN_MTU: Final = 1280  # RFC 8200 section 5: what IPv6 needs
MAX_MTU: Final = 9216  # what the switches' ports take
DEFAULT_MTU: Final = 1500


class HostError(ValueError):
    """Something that a host was asked for and cannot do; the sentence says what."""


class Interface(NamedTuple):
    """One interface of a host: one VLAN on one NIC.

    `vlan` 0 sends untagged frames (with a priority: priority-tagged ones) and takes untagged and priority-tagged ones;
    another VLAN sends and takes frames tagged with it. `priority` is the PCP of what is sent. `addresses` are texts
    "ip/prefix". `gateway` is one address, on-link. `mtu` is the largest IP packet in bytes.
    """

    name: str
    mac: bytes
    vlan: int = 0
    priority: int = 0
    addresses: Sequence[str] = ()
    gateway: str | None = None
    mtu: int = DEFAULT_MTU


class Address(NamedTuple):
    """One of our addresses: 4 or 16 bytes, and its subnet as a number and how far to shift for it."""

    ip: bytes
    prefix: int
    network: int
    shift: int

    def covers(self, ip: bytes) -> bool:
        return len(ip) == len(self.ip) and int.from_bytes(ip, "big") >> self.shift == self.network


def make_address(ip: bytes, prefix: int) -> Address:
    shift = 8 * len(ip) - prefix
    return Address(ip, prefix, int.from_bytes(ip, "big") >> shift, shift)


def parse_ip(text: str) -> bytes:
    """4 or 16 bytes of one host's address. Raises HostError."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise HostError(f"{text!r:.60} is not an IPv4 or IPv6 address") from None
    if address.is_multicast or address.is_unspecified or address.is_loopback or address == _LIMITED_BROADCAST:
        raise HostError(f"{text} is not the address of one host")
    return address.packed


_LIMITED_BROADCAST: Final = ipaddress.IPv4Address("255.255.255.255")


def ip_text(ip: bytes) -> str:
    return str(ipaddress.ip_address(ip))


def parse_address(text: str) -> Address:
    """`"10.0.0.1/24"` or `"fd00::1/64"`. Raises HostError."""
    ip, slash, prefix = text.partition("/")
    if not slash or not prefix.isascii() or not prefix.isdigit():
        raise HostError(f"{text!r:.60} is not an address with its prefix length; write it like 10.0.0.1/24")
    packed = parse_ip(ip)
    bits = 8 * len(packed)
    if not 1 <= int(prefix[:4]) <= bits:
        raise HostError(f"the prefix length of {text!r:.60} must be from 1 to {bits}")
    address = make_address(packed, int(prefix))
    host_part = int.from_bytes(packed, "big") & ((1 << address.shift) - 1)
    if bits == 32 and address.shift > 1 and host_part in (0, (1 << address.shift) - 1):
        what = "name of its subnet" if host_part == 0 else "broadcast address of its subnet"
        raise HostError(f"{text} is the {what}, not a host's address")
    return address


def link_local(mac: bytes) -> Address:
    """fe80::/64 with the modified EUI-64 of the MAC address (RFC 4291 appendix A)."""
    return make_address(b"\xfe\x80" + bytes(6) + bytes((mac[0] ^ 2,)) + mac[1:3] + b"\xff\xfe" + mac[3:], 64)


def check_interface(interface: Interface) -> None:
    """Raises HostError or AddrError with one sentence about the first mistake."""
    if len(interface.mac) != MAC_SIZE or is_group(interface.mac) or interface.mac == bytes(MAC_SIZE):
        raise HostError(f"interface {interface.name} needs a MAC address of its own, and not that of a group")
    if interface.vlan != 0:
        check_vid(interface.vlan)
    check_pcp(interface.priority)
    if not MIN_MTU <= interface.mtu <= MAX_MTU:
        raise HostError(f"the MTU of interface {interface.name} must be from {MIN_MTU} to {MAX_MTU}")
    addresses = [parse_address(text) for text in interface.addresses]
    if interface.gateway is not None:
        gateway = parse_ip(interface.gateway)
        if not any(address.covers(gateway) for address in (*addresses, link_local(interface.mac))):
            raise HostError(f"the gateway {interface.gateway} is in none of the subnets of interface {interface.name}")
        if any(address.ip == gateway for address in addresses):
            raise HostError(f"the gateway {interface.gateway} is interface {interface.name} itself")
