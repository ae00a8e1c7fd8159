"""Who hears whom: layer-2 domains by the exact VLAN rules, and what is odd about them.

Knows: how frames of a VLAN travel from port to port (tags pushed, popped and translated, tunnels, private VLANs,
protected ports, native VLANs that differ). Refuses to know: who answers a ping (`reach`), loops and islands (`graph`),
positions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .crossing import Tags, enters, hears, host_tags, leaves
from .lab import End, Interface, IpInterface, Lab, Nic, Port
from .mistake import Finding


class Inside(NamedTuple):
    """A frame inside a switch: its VLAN, the tags below it, did a protected port take it, by which trunk it came."""

    switch: str
    vid: int
    payload: Tags = ()
    shielded: bool = False
    came: str | None = None  # None: as the ports towards hosts see it; "": from one of those


Place = tuple[str, str] | Inside  # (host, interface), or inside a switch


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
                found.append(
                    Member(host.name, nic, interface, end, enters(lab.port(end), host_tags(interface.vlan))[0])
                )
    return found


def broadcast_domains(lab: Lab) -> list[Domain]:
    """The layer-2 domains that hold at least one host interface, in the order of their first member."""
    import networkx

    everybody = members(lab)
    flow = networkx.DiGraph()
    flow.add_nodes_from((member.host, member.interface.name) for member in everybody)
    for one, other in hops(lab, everybody):
        flow.add_edge(one, other)
    domain_of = {place: i for i, part in enumerate(networkx.strongly_connected_components(flow)) for place in part}
    domains: dict[int, list[Member]] = defaultdict(list)
    for member in everybody:
        domains[domain_of[member.host, member.interface.name]].append(member)
    return [Domain(tuple(part)) for part in domains.values()]


def hops(lab: Lab, everybody: list[Member]) -> Iterator[tuple[Place, Place]]:
    """Every hop that a frame from some host can make, one way each.

    A frame never leaves through the port that it came in by: where native VLANs differ it would come back changed.
    """
    trunks = trunks_of(lab)
    at_switch: dict[str, list[Member]] = defaultdict(list)
    todo: list[Inside] = []
    for member in everybody:
        at_switch[member.end.node].append(member)
        first = inside(member.end, lab.port(member.end), host_tags(member.interface.vlan))
        if first is not None:
            first = first._replace(came="")  # a host does not hear itself; its other VLANs may
            yield (member.host, member.interface.name), first
            todo.append(first)
    seen = set(todo)
    served: set[Inside] = set()
    while todo:
        here = todo.pop()
        there = here._replace(came=None)
        yield here, there
        if there not in served:
            served.add(there)
            yield from ((there, heard) for heard in _ears(lab, at_switch[here.switch], there))
        for far in onward(lab, trunks[here.switch], here):
            yield here, far
            if far not in seen:
                seen.add(far)
                todo.append(far)


def trunks_of(lab: Lab) -> dict[str, list[tuple[End, End]]]:
    """Switch -> (its end, the other end) of every trunk that is not blocked."""
    trunks: dict[str, list[tuple[End, End]]] = defaultdict(list)
    for link in lab.trunks():
        if link.index not in lab.blocked:
            trunks[link.a.node].append((link.a, link.b))
            trunks[link.b.node].append((link.b, link.a))
    return trunks


def inside(end: End, port: Port, tags: Tags) -> Inside | None:
    """A frame that comes in with these tags; None if it is dropped."""
    vid, payload = enters(port, tags)
    return Inside(end.node, vid, payload, port.ways.protected, end.port) if vid else None


def _out(port: Port, frame: Inside) -> Tags | None:
    return None if frame.shielded and port.ways.protected else leaves(port, frame.vid, frame.payload)


def _ears(lab: Lab, plugged: list[Member], frame: Inside) -> Iterator[tuple[str, str]]:
    """The interfaces at this switch that hear the frame."""
    for member in plugged:
        tags = _out(lab.port(member.end), frame)
        if tags is not None and hears(member.interface.vlan, tags):
            yield member.host, member.interface.name


def onward(lab: Lab, trunks: list[tuple[End, End]], frame: Inside) -> Iterator[Inside]:
    """The frame in the next switches."""
    for near, far in trunks:
        tags = _out(lab.port(near), frame) if near.port != frame.came else None
        there = None if tags is None else inside(far, lab.port(far), tags)
        if there is not None:
            yield there


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
            before: set[IpInterface] = set()
            for i, address in enumerate(member.interface.addresses):
                first = owner.setdefault(str(address.ip), member)
                if first is not member:
                    what = f"{member} and {first} have the same address {address.ip} in one VLAN"
                    found.append(Finding((*at, "addresses", i), what, "give each its own"))
                elif address in before:
                    found.append(Finding((*at, "addresses", i), f"{address} stands here twice", "remove one"))
                before.add(address)
    return found
