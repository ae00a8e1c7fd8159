"""Which hosts are neighbours, and taking out of the ARP and ND tables what a great `pingall` has put there.

Knows: networks of hosts, which pings are on their way. Refuses to know: echoes, messages to the kernel.
"""

from __future__ import annotations

from daemons.netns_config import parse_address, parse_network
from daemons.netns_hosts import Hosts, LabHost


class Neighbours:
    """What pings leave in the tables of their ends is taken out again when two hosts are done with each other.

    No sooner, because with an entry go the packets that wait for its answer.
    """

    def __init__(self, hosts: Hosts) -> None:
        self._owners = {address: host for host in hosts.hosts.values() for address in host.addresses()}
        self._busy: dict[frozenset[str], list[tuple[LabHost, str]]] = {}
        self._open: dict[frozenset[str], int] = {}

    def begin(self, source: LabHost, address: str) -> None:
        pair = self._pair(source, address)
        self._open[pair] = self._open.get(pair, 0) + 1
        self._busy.setdefault(pair, []).append((source, address))

    def end(self, source: LabHost, address: str) -> None:
        pair = self._pair(source, address)
        self._open[pair] -= 1
        if not self._open[pair]:
            for asker, asked in self._busy.pop(pair):
                self._forget(asker, asked)

    def _pair(self, source: LabHost, address: str) -> frozenset[str]:
        owner = self._owners.get(address)
        return frozenset((source.name, owner.name if owner is not None else address))

    def _forget(self, source: LabHost, address: str) -> None:
        wanted = parse_address(address, "")
        near = on_link(source, address)
        for dev, _ in near:
            source.namespace.forget_neighbour(dev, wanted)
        owner = self._owners.get(address)
        if owner is None:
            return
        for dev, own in on_link(owner, address):
            for _, asker in near if own == wanted else ():
                owner.namespace.forget_neighbour(dev, asker)


def on_link(host: LabHost, address: str) -> list[tuple[str, bytes]]:
    """(interface, its address) wherever `address` is in a network of this host's."""
    wanted = parse_address(address, "")
    found = []
    for interface in host.config.interfaces():
        for text in interface.addresses:
            own = parse_network(text, "")
            drop = 8 * len(wanted) - own.prefix
            if len(own.packed) == len(wanted) and _top(own.packed, drop) == _top(wanted, drop):
                found.append((interface.name, own.packed))
    return found


def _top(packed: bytes, drop: int) -> int:
    return int.from_bytes(packed, "big") >> drop
