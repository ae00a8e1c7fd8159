"""What an uplink is to do, checked and frozen: the network that it serves, its leases, its way out.

Knows: the keys of an uplink in netnsd's configuration (ARCHITECTURE.md). Refuses to know: what runs. Mistakes are
UserErrors that say where.
"""

from __future__ import annotations

import os
import socket
from typing import Any, Final, NamedTuple

from daemons.errors import UserError
from daemons.netns_config import Network, parse_network
from netvirt.hosting.dhcp import LARGEST_RANGE, Service

WAN: Final = "wan0"
# Between us and pasta only, never on a wire. The first is meant for such a purpose (RFC 7335), the second for networks
# that nobody else can reach (RFC 2544): one of them is not the lab's.
WAYS: Final = (("192.0.0.0", 29), ("198.18.0.0", 29))
_LONGEST_LEASE: Final = 0xFFFFFFFE  # the largest number means for ever (RFC 2131 section 3.3)
_IPV4: Final = 4


class Side(NamedTuple):
    """An interface of the uplink towards the lab, with one of its IPv4 networks."""

    dev: str
    own: Network
    mtu: int

    @property
    def address(self) -> str:
        return socket.inet_ntoa(self.own.packed)

    @property
    def network(self) -> str:
        return f"{text_of(number_of(self.own.packed) & mask_of(self.own.prefix))}/{self.own.prefix}"


class Way(NamedTuple):
    """The little network between the uplink's namespace and pasta.

    host: the address that stands for this machine's loopback; "": its loopback is out of reach.
    """

    own: str
    prefix: int
    gateway: str
    host: str


class UplinkConfig(NamedTuple):
    """`folder`: where its files may be. `sides`: the first one's network has the leases of `service`.

    dns: the addresses at which questions are answered.
    """

    name: str
    folder: str
    nics: tuple[str, ...]
    sides: tuple[Side, ...]
    service: Service
    dns: tuple[str, ...]
    way: Way


def parse_uplink(value: dict[str, Any]) -> UplinkConfig:
    """`value` has passed daemons.netns_config but for an uplink's own keys. Raises UserError."""
    where = f"uplink {value['name']}"
    sides = tuple(_sides(value, where))
    if not sides:
        raise UserError(f"{where} has no IPv4 address; give it one such as 10.0.2.1/24, the gateway of its network")
    way, dns = _way(value, sides, where), _yes(value, "dns", True, where)
    folder, addresses = os.path.dirname(value["nics"][0]["path"]), tuple(side.address for side in sides if dns)
    nics, service = tuple(nic["name"] for nic in value["nics"]), _service(value, sides[0], dns, where)
    return UplinkConfig(value["name"], folder, nics, sides, service, addresses, way)


def number_of(packed: bytes) -> int:
    return int.from_bytes(packed, "big")


def text_of(number: int) -> str:
    return socket.inet_ntoa(number.to_bytes(_IPV4, "big"))


def mask_of(prefix: int) -> int:
    return (0xFFFFFFFF << (32 - prefix)) & 0xFFFFFFFF


def _sides(value: dict[str, Any], where: str) -> list[Side]:
    found = []
    for nic in value["nics"]:
        for interface in nic["interfaces"]:
            for text in interface["addresses"]:
                own = parse_network(text, where)
                if len(own.packed) == _IPV4:
                    found.append(Side(interface["name"], own, interface["mtu"] or nic["mtu"]))
    return found


def _service(value: dict[str, Any], side: Side, dns: bool, where: str) -> Service:
    lease_s = value.get("lease_s", 3600)
    if isinstance(lease_s, bool) or not isinstance(lease_s, int) or not 1 <= lease_s <= _LONGEST_LEASE:
        raise UserError(f"{where}: 'lease_s' is a number of seconds from 1 to {_LONGEST_LEASE}, not {lease_s!r:.40}")
    span = value.get("ipv4_range")
    if not isinstance(span, list | tuple) or len(span) != 2:
        raise UserError(f"{where} needs an 'ipv4_range': the first and the last address that it leases")
    first, last = (number_of(_address(each, where)) for each in span)
    network = number_of(side.own.packed) & mask_of(side.own.prefix)
    inside = all(each & mask_of(side.own.prefix) == network for each in (first, last))
    if not inside or not 0 <= last - first < LARGEST_RANGE:
        raise UserError(f"{where}: the range {span[0]} to {span[1]} is not one of its network {side.network}")
    own = side.own.packed
    return Service(
        server=own, prefix=side.own.prefix, first=first.to_bytes(4, "big"), last=last.to_bytes(4, "big"),
        lease_s=lease_s, router=own, dns=(own,) if dns else (), mtu=side.mtu,
    )  # fmt: skip


def _way(value: dict[str, Any], sides: tuple[Side, ...], where: str) -> Way:
    base, prefix = next(way for way in WAYS if not any(_overlap(way, side) for side in sides) or way == WAYS[-1])
    start = number_of(socket.inet_aton(base))
    own, gateway = text_of(start + 2), text_of(start + 1)
    return Way(own, prefix, gateway, gateway if _yes(value, "host_loopback", False, where) else "")


def _overlap(way: tuple[str, int], side: Side) -> bool:
    mask = mask_of(min(way[1], side.own.prefix))
    return number_of(socket.inet_aton(way[0])) & mask == number_of(side.own.packed) & mask


def _yes(value: dict[str, Any], key: str, usual: bool, where: str) -> bool:
    said = value.get(key, usual)
    if not isinstance(said, bool):
        raise UserError(f"{where}: {key!r} is true or false, not {said!r:.40}")
    return said


def _address(text: object, where: str) -> bytes:
    try:
        return socket.inet_pton(socket.AF_INET, str(text))
    except (OSError, ValueError):
        raise UserError(f"{where}: {text!r:.60} is no IPv4 address") from None
