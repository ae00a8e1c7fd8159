"""Who hears whom: layer-2 domains by the exact VLAN rules, and what is odd about them.

Knows: how frames of a VLAN travel from port to port (tags pushed and popped, native VLANs that differ), and so
which hosts must answer a ping. Refuses to know: loops and islands (`graph`), positions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .crossing import crosses, enters, leaves
from .lab import End, Host, Interface, Lab, Nic
from .mistake import Finding

# (host, interface), or a VLAN of a switch: as the ports towards hosts see it, and as it came in by a trunk's port
Place = tuple[str, str] | tuple[str, int] | tuple[str, int, str]


class Member(NamedTuple):
    """An interface of a host, and where it is plugged in; `vid` is its VLAN there, 0 if its frames are dropped."""

    host: str
    nic: Nic
    interface: Interface
    end: End
    vid: int

    def __str__(self) -> str:
        return f"{self.host}:{self.interface.name}"


class Domain(NamedTuple):
    """Interfaces that hear each other's broadcasts, both ways, in the file's order.

    Where native VLANs differ on several trunks, two of them may hear each other by a third only.
    """

    members: tuple[Member, ...]


def members(lab: Lab) -> list[Member]:
    """All interfaces of hosts that are plugged in, hosts in the file's order."""
    plugged = {host_end: end for _, host_end, end in lab.nic_links()}
    found = []
    for host in lab.hosts.values():
        for nic in host.nics.values():
            end = plugged.get(End(host.name, nic.name))
            for interface in nic.interfaces if end is not None else ():
                assert end is not None
                found.append(Member(host.name, nic, interface, end, enters(lab.port(end), interface.vlan)))
    return found


def broadcast_domains(lab: Lab) -> list[Domain]:
    """The layer-2 domains that hold at least one host interface, in the order of their first member."""
    import networkx

    everybody = members(lab)
    flow = networkx.DiGraph()
    flow.add_nodes_from((member.host, member.interface.name) for member in everybody)
    for one, other in _hops(lab, everybody):
        flow.add_edge(one, other)
    domain_of = {place: i for i, part in enumerate(networkx.strongly_connected_components(flow)) for place in part}
    domains: dict[int, list[Member]] = defaultdict(list)
    for member in everybody:
        domains[domain_of[member.host, member.interface.name]].append(member)
    return [Domain(tuple(part)) for part in domains.values()]


def _hops(lab: Lab, everybody: list[Member]) -> Iterator[tuple[Place, Place]]:
    """Every hop that a frame from some host can make, one way each.

    A frame never leaves through the port that it came in by: where native VLANs differ it would come back changed.
    """
    trunks: dict[str, list[tuple[End, End]]] = defaultdict(list)
    for link in lab.trunks():
        if link.index not in lab.blocked:
            trunks[link.a.node].append((link.a, link.b))
            trunks[link.b.node].append((link.b, link.a))
    at_switch: dict[str, list[Member]] = defaultdict(list)
    for member in everybody:
        at_switch[member.end.node].append(member)
        if member.vid:
            yield (member.host, member.interface.name), (member.end.node, member.vid, "")
    todo: list[tuple[str, int, str]] = list({(each.end.node, each.vid, ""): None for each in everybody if each.vid})
    seen = set(todo)
    served: set[tuple[str, int]] = set()
    while todo:
        switch, vid, came = here = todo.pop()
        yield here, (switch, vid)
        for member in at_switch[switch] if (switch, vid) not in served else ():
            if leaves(lab.port(member.end), vid) == member.interface.vlan:
                yield (switch, vid), (member.host, member.interface.name)
        served.add((switch, vid))
        for near, far in trunks[switch]:
            there = crosses(lab.port(near), lab.port(far), vid) if near.port != came else 0
            if there:
                next_one = (far.node, there, far.port)
                yield here, next_one
                if next_one not in seen:
                    seen.add(next_one)
                    todo.append(next_one)


def addresses(host: Host) -> tuple[str, ...]:
    """The host's addresses without prefix length, IPv4 first."""
    every = [address for nic in host.nics.values() for interface in nic.interfaces for address in interface.addresses]
    return tuple(str(address.ip) for address in sorted(every, key=lambda address: address.version))


def expected_reach(lab: Lab) -> dict[tuple[str, str], tuple[str, ...]]:
    """Who must answer whom: (from, to) -> the addresses of `to` that answer, IPv4 first; hosts in the file's order.

    Same domain and same IP network; nothing is routed here. A pair that is not in the dict must stay separate.
    """
    reach: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    heard = _heard(lab)
    for domain in broadcast_domains(lab):
        by_network = defaultdict(list)
        for member in domain.members:
            for address in member.interface.addresses:
                by_network[address.network].append((member.host, member.interface.name, str(address.ip)))
        for group in by_network.values():
            for source, name, _ in group:
                for host, other, ip in group:
                    near, far = (source, name), (host, other)
                    if host != source and (heard is None or (far in heard[near] and near in heard[far])):
                        reach[source, host][ip] = None
    order = {name: i for i, name in enumerate(lab.hosts)}
    pairs = sorted(reach, key=lambda pair: (order[pair[0]], order[pair[1]]))
    return {pair: tuple(sorted(reach[pair], key=lambda ip: ":" in ip)) for pair in pairs}


def _heard(lab: Lab) -> dict[Place, set[Place]] | None:
    """Who hears each interface directly; None where it is all of the domain.

    It is not where native VLANs differ on two trunks in a row: there two may both hear a third, and not each other.
    """
    import networkx

    trunks = [link for link in lab.trunks() if link.index not in lab.blocked]
    if all(lab.port(link.a).pvid == lab.port(link.b).pvid for link in trunks):
        return None
    flow = networkx.DiGraph()
    everybody = members(lab)
    flow.add_nodes_from((member.host, member.interface.name) for member in everybody)
    for one, other in _hops(lab, everybody):  # a host that hears is another place than the host that speaks
        flow.add_edge(one, ("", other) if other[0] in lab.hosts else other)
    names = [(member.host, member.interface.name) for member in everybody]
    return {name: {place[1] for place in networkx.descendants(flow, name) if place[0] == ""} for name in names}


def duplicates(domains: Iterable[Domain]) -> list[Finding]:
    """One MAC address or one IP address at two places of a domain."""
    found = []
    for domain in domains:
        owner: dict[str, Member] = {}
        for member in domain.members:
            at = ("topology", "nodes", member.host, "interfaces", member.interface.name)
            first = owner.setdefault(member.nic.mac, member)
            if (first.host, first.nic.name) != (member.host, member.nic.name):
                what = f"{member} and {first} have the same MAC address {member.nic.mac} in one network"
                found.append(Finding((*at, "mac"), what, "give each its own, or leave mac: out"))
            for i, address in enumerate(member.interface.addresses):
                first = owner.setdefault(str(address.ip), member)
                if first is not member:
                    what = f"{member} and {first} have the same address {address.ip} in one VLAN"
                    found.append(Finding((*at, "addresses", i), what, "give each its own"))
                elif address in member.interface.addresses[:i]:
                    found.append(Finding((*at, "addresses", i), f"{address} stands here twice", "remove one"))
    return found
