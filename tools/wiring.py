"""What is plugged into which port of a lab, from the configurations of its nodes. Pure.

Knows: the two configuration values of ARCHITECTURE.md, which way leads to a host. Refuses to know: whether anybody is
connected, what a frame may do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_interface
from typing import Any, Final, NamedTuple

from netvirt.addr import mac_bytes
from netvirt.host import Interface
from tools.frame_ends import Station

Config = Mapping[str, Any]
Place = tuple[str, str]  # (switch, port)


class Far(NamedTuple):
    """What is at the other end of a port. kind: switch | host | lab | guest | other | free; text is for people."""

    kind: str
    node: str = ""
    port: str = ""
    text: str = ""

    def __str__(self) -> str:
        return self.text or f"{self.node}:{self.port}"


# A port's kind and the first words of its `peer` -> what is there, where it is no node of this lab.
_KINDS: Final = (
    ("qemu", "", "guest"),
    ("dgram", "", "guest"),
    ("listen", "lab ", "lab"),
    ("listen", "a switch of another lab", "lab"),
    ("dial", "", "lab"),
    ("listen", "", "free"),
)


class Wiring:
    """A lab's ports and who is in them. switches: configurations by name; hosts: those of hostd and netnsd."""

    def __init__(self, switches: Mapping[str, Config], hosts: Sequence[Config]) -> None:
        self.ports: dict[str, list[str]] = {name: [row["name"] for row in it["ports"]] for name, it in switches.items()}
        self.vlans = {text: int(vid) for it in switches.values() for vid, text in it.get("vlans", {}).items()}
        self.nics = dict(_nics(hosts))
        self.stations = [
            Station(host, nic, each.mac, each.vlan, each.priority, tuple(map(ip_interface, each.addresses)))
            for place, interfaces in self.nics.items()
            for host, _, nic in [place.partition(":")]
            for each in interfaces
        ]
        rows = {(name, row["name"]): row for name, it in switches.items() for row in it["ports"]}
        self._far = {place: self._find(place, row, rows) for place, row in rows.items()}
        self._open = {place for place, row in rows.items() if row.get("state", "forwarding") == "forwarding"}
        self.plugged = {str(far): place for place, far in self._far.items() if far.kind == "host"}

    def far(self, switch: str, port: str) -> Far:
        """What is in a port; a port that is not known any more has nobody."""
        return self._far.get((switch, port), Far("free", text="nobody"))

    def _find(self, place: Place, row: Config, rows: Mapping[Place, Config]) -> Far:
        node, _, port = row.get("peer", "").partition(":")
        if rows.get((node, port), {}).get("peer") == ":".join(place):
            return Far("switch", node, port)
        if f"{node}:{port}" in self.nics:
            return Far("host", node, port)
        for kind, begins, what in _KINDS:
            if row["kind"] == kind and row.get("peer", "").startswith(begins):
                return Far(what, text=row.get("peer") or "whoever is plugged in")
        return Far("other", text=row.get("peer") or row["kind"])

    def toward(self, nic: str) -> dict[str, str]:
        """Switch -> the port that leads to this NIC, over links that are not blocked where there are such."""
        if nic not in self.plugged:
            return {}
        first, port = self.plugged[nic]
        found = {first: port}
        for passable in (self._open, set(self._far)):
            left = deque(found)
            while left:
                near = left.popleft()
                for name in self.ports[near]:
                    far = self._far[near, name]
                    both = {(near, name), (far.node, far.port)}
                    if far.kind == "switch" and far.node not in found and both <= passable:
                        found[far.node] = far.port
                        left.append(far.node)
        return found


def _nics(hosts: Sequence[Config]) -> Iterator[tuple[str, list[Interface]]]:
    for host in hosts:
        for nic in host["nics"]:
            mac = mac_bytes(nic["mac"])
            yield f"{host['name']}:{nic['name']}", [Interface(mac=mac, **each) for each in nic["interfaces"]]
