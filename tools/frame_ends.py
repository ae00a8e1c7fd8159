"""Who a frame is from and for: a host's name, its NIC, an IP or a MAC address -> the ends that are meant. Pure.

Knows: the interfaces of the lab's hosts (`Station`s are given), what is taken for an address that nobody knows.
Refuses to know: frames, the other words. BadInput has one sentence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address, ip_interface
from itertools import product
from typing import NamedTuple

from daemons.lab.mistake import did_you_mean, listed, quoted
from netvirt.addr import BROADCAST, mac_bytes
from netvirt.hosting import nd
from tools.errors import BadInput

Address = IPv4Address | IPv6Address
Subnet = IPv4Interface | IPv6Interface


class Station(NamedTuple):
    """An interface of a host: where it is, and what its frames look like. vlan and priority 0: without a tag."""

    host: str
    nic: str
    mac: bytes
    vlan: int = 0
    priority: int = 0
    addresses: tuple[Subnet, ...] = ()

    @property
    def place(self) -> str:
        return f"{self.host}:{self.nic}"


class End(NamedTuple):
    """One end of the frame. address: None where nobody knows it."""

    mac: bytes
    address: Subnet | None = None
    station: Station | None = None


def printable(text: str) -> str:
    return quoted(text)[1:-1]


def subnet(text: str) -> Subnet:
    try:
        address = ip_address(text)
    except ValueError:
        raise BadInput(f"{quoted(text)} is no IP address") from None
    if address.version != 4:
        raise BadInput(f"{address} is not IPv4, which ARP is for; neighbour discovery begins with icmp")
    return ip_interface(address)


def named(key: str, text: str, stations: Sequence[Station]) -> list[End]:
    """A MAC address, an IP address, a host, or one of its NICs."""
    if found := _by_mac(text, stations) or _by_name(text, stations) or _by_address(key, text, stations):
        return found
    hosts = list(dict.fromkeys(station.host for station in stations))
    there = did_you_mean(text, hosts, f"there are {listed(hosts)}" if hosts else "the lab has no hosts")
    raise BadInput(f"{key}={printable(text)}: there is no such host, and it is no MAC address; {there}")


def _by_mac(text: str, stations: Sequence[Station]) -> list[End]:
    try:
        mac = mac_bytes(text)
    except ValueError:
        return []
    return _of(station for station in stations if station.mac == mac) or [End(mac)]


def _by_name(text: str, stations: Sequence[Station]) -> list[End]:
    return _of(station for station in stations if text in (station.host, station.place))


def _by_address(key: str, text: str, stations: Sequence[Station]) -> list[End]:
    try:
        address = ip_address(text)
    except ValueError:
        return []
    if mac := group_mac(address):
        return [End(mac, ip_interface(address))]
    for station in stations:
        for own in station.addresses:
            if own.ip == address:
                return [End(station.mac, own, station)]
    raise BadInput(f"{key}={address}: no host of this lab has that address; give the MAC address of who has it")


def _of(stations: Iterable[Station]) -> list[End]:
    return [End(each.mac, own, each) for each in stations for own in (*each.addresses, None)]


def group_mac(address: Address) -> bytes:
    """Where packets for a group are sent (RFC 1112 section 6.4, RFC 2464 section 7); b"" for one host's address."""
    if address.version == 4 and address.packed == BROADCAST[:4]:
        return BROADCAST
    if not address.is_multicast:
        return b""
    low = address.packed
    return b"\x01\x00\x5e" + bytes([low[1] & 0x7F]) + low[2:] if len(low) == 4 else nd.multicast_mac(low)


def pair(sources: Sequence[End], targets: Sequence[End], vid: int | None) -> tuple[End, End]:
    """The two addresses that suit each other best: one VLAN if one was said, one subnet, IPv4 first."""

    def misfit(two: tuple[End, End]) -> tuple[bool, ...]:
        source, one, other = two[0], two[0].address, two[1].address
        both = one is not None and other is not None and one.version == other.version
        near = both and one is not None and other is not None and other.ip in one.network
        wrong = vid is not None and source.station is not None and source.station.vlan != vid
        return wrong, not near, not both, one is None and other is None, bool(one and one.version == 6)

    return min(product(sources, targets), key=misfit)


# --- their IP addresses


def addresses(source: End, target: End, kind: str) -> tuple[Address, Address]:
    """Who has none is taken for a neighbour of the other; two strangers are in TEST-NET-1 (RFC 5737)."""
    one, other = source.address, target.address
    if kind == "arp" and (one is None or one.version != 4):
        one = None
    if one is not None and other is not None and one.version == other.version:
        return one.ip, other.ip
    if other is not None and kind == "arp" and other.version != 4:
        raise BadInput("arp asks for IPv4 addresses, and that host has none; say who-has ADDRESS")
    if other is not None:
        return _neighbour(other, source, kind), other.ip
    if target.mac == BROADCAST and kind != "arp" and (one is None or one.version == 4):
        return one.ip if one else IPv4Address("192.0.2.1"), IPv4Address("255.255.255.255")
    if one is not None:
        return one.ip, _last(one)
    return IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")


def _neighbour(other: Subnet, source: End, kind: str) -> Address:
    own = source.station.addresses if source.station is not None else ()
    for each in own:
        if each.version == other.version:
            return each.ip
    if kind == "arp" and other.network.num_addresses == 1:
        return IPv4Address(0)  # a probe: who asks has no address yet (RFC 5227 section 2.1.1)
    return _last(other)


def _last(own: Subnet) -> Address:
    """The last address of a subnet that is not `own`."""
    if own.network.num_addresses <= 2:
        return IPv4Address("192.0.2.1") if own.version == 4 else IPv6Address("2001:db8::1")
    last = own.network.broadcast_address - 1
    return last if last != own.ip else last - 1
