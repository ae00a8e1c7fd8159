"""What a VXLAN port may be given: addresses in numbers, and which VLAN is which VNI. Pure.

Knows: how they are written, and what can't be together. Refuses to know: sockets, datagrams, lab files.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from netvirt.ports.errors import PortError

PORT: Final = 4789
LARGEST_VNI: Final = (1 << 24) - 1
MOST_REMOTES: Final = 256


class Endpoint(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_endpoint(text: str) -> Endpoint:
    """`10.0.0.2`, `10.0.0.2:8472`, `fd00::2`, `[fd00::2]:4789`; without a port it is 4789. Raises PortError."""
    host, colon, port = text, "", ""
    if text.startswith("[") or text.count(":") == 1:
        host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    try:
        number = int(port) if colon else PORT
        if (colon and not (port.isascii() and port.isdecimal())) or not 1 <= number <= 65535:
            raise ValueError
        return Endpoint(str(ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))), number)
    except ValueError:
        rule = "write it in numbers, like 10.0.0.2, 10.0.0.2:4789 or [fd00::2]:4789"
        raise PortError(f"{text!r} is no address of a tunnel; {rule}") from None


def check_vnis(vnis: Mapping[int, int]) -> None:
    """VID -> VNI; VID 0: frames without a tag. Raises PortError."""
    taken: dict[int, int] = {}
    for vid, vni in vnis.items():
        if not 0 <= vid <= 4094 or not 0 < vni <= LARGEST_VNI:
            raise PortError(f"VLAN {vid} with VNI {vni}: out of range; a VLAN is 1 to 4094, a VNI 1 to {LARGEST_VNI}")
        if taken.setdefault(vni, vid) != vid:
            raise PortError(f"VNI {vni} is given to VLAN {taken[vni]} and VLAN {vid}; each VLAN needs one of its own")
    if not taken:
        raise PortError("a vxlan port without a VNI carries nothing; give at least one VLAN its VNI")


def check_ends(local: str, remotes: Iterable[str]) -> tuple[Endpoint, list[Endpoint]]:
    """Our end and the others. Raises PortError."""
    here, there = parse_endpoint(local), [parse_endpoint(remote) for remote in remotes]
    if not 0 < len(there) <= MOST_REMOTES:
        raise PortError(f"this vxlan port has {len(there)} remotes; it needs 1 to {MOST_REMOTES}")
    hosts = {here.host}
    for end in there:
        if (":" in end.host) != (":" in here.host):
            raise PortError(f"{end} and {here} are IPv4 and IPv6; use addresses of one kind")
        if end.host in hosts:
            raise PortError(f"{end.host} is there twice; each end of a tunnel has an IP address of its own")
        hosts.add(end.host)
    return here, there


def check_tunnel(local: str, remotes: Iterable[str], vnis: Mapping[int, int]) -> tuple[Endpoint, list[Endpoint]]:
    """All of it. Raises PortError."""
    check_vnis(vnis)
    return check_ends(local, remotes)
