"""Who hears whom: layer-2 domains by the exact VLAN rules, and what is odd about them.

Knows: how frames of a VLAN travel from port to port (tags pushed, popped and translated, tunnels, private VLANs,
protected ports, native VLANs that differ), and so which hosts must answer a ping.
Refuses to know: loops and islands (`graph`), positions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from .crossing import Tags, enters, hears, host_tags, leaves
from .lab import End, Host, Interface, Lab, Nic, Port
from .mistake import Finding
from .ways import CLOSED


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


def addresses(host: Host) -> tuple[str, ...]:
    """The host's addresses without prefix length, IPv4 first."""
    every = [address for nic in host.nics.values() for interface in nic.interfaces for address in interface.addresses]
    return tuple(str(address.ip) for address in sorted(every, key=lambda address: address.version))


Reach = dict[tuple[str, str], tuple[str, ...]]


def expected_reach(lab: Lab) -> Reach:
    """Who must answer whom: (from, to) -> the addresses of `to` that answer, IPv4 first; hosts in the file's order.

    Same domain and same IP network; nothing is routed here. A pair that is not in the dict must stay separate, but for
    those of doubtful_reach(): whether they answer depends on how much is sent, or on who was there first.
    """
    reach = _reach(lab)
    unsure = doubtful_reach(lab, reach)
    return {pair: sure for pair, found in reach.items() if (sure := _without(found, unsure.get(pair, ())))}


def doubtful_reach(lab: Lab, reach: Reach | None = None) -> Reach:
    """What may answer or not, as in expected_reach(). `reach`: what _reach(lab) said already."""
    doubted = {
        End(switch.name, port.name) for switch in lab.switches.values() for port in switch.ports.values()
        if port.ways.doubtful
    }  # fmt: skip
    hosts = _misled(lab)
    if not doubted and not hosts:
        return {}
    reach = _reach(lab) if reach is None else reach
    sure = _reach(_closed(lab, doubted))
    found = {
        pair: addresses if hosts & set(pair) else _without(addresses, sure.get(pair, ()))
        for pair, addresses in reach.items()
    }
    return {pair: addresses for pair, addresses in found.items() if addresses}


def _without(some: tuple[str, ...], others: Iterable[str]) -> tuple[str, ...]:
    return tuple(each for each in some if each not in others)


def _closed(lab: Lab, ends: set[End]) -> Lab:
    """The lab as if nothing passed some ports."""
    switches = {
        switch.name: replace(
            switch,
            ports={
                name: replace(port, ways=CLOSED) if End(switch.name, name) in ends else port
                for name, port in switch.ports.items()
            },
        )
        for switch in lab.switches.values()
    }
    return replace(lab, switches=switches)


def _misled(lab: Lab) -> set[str]:
    """Hosts whose frames may be sent elsewhere: by a static station, or by a table that all VLANs share."""
    shared = any(switch.vlans.shared for switch in lab.switches.values())
    static = {
        (station.mac, station.vid, End(switch.name, station.port))
        for switch in lab.switches.values()
        for station in switch.static
    }
    given = {mac for mac, _, _ in static}
    misled = set()
    for member in members(lab):
        right = {(member.nic.mac, member.vid, member.end)}
        if member.nic.mac in given and {entry for entry in static if entry[0] == member.nic.mac} != right:
            misled.add(member.host)
        if shared and len(member.nic.interfaces) > 1:
            misled.add(member.host)
    return misled


def _reach(lab: Lab) -> Reach:
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


def _heard(lab: Lab) -> dict[Place, set[tuple[str, str]]] | None:
    """Who hears each interface directly; None where it is all of the domain.

    It is not where a port is anything but plain access or trunk, or where native VLANs differ on two trunks in a row:
    there two may both hear a third, and not each other.
    """
    import networkx

    trunks = [link for link in lab.trunks() if link.index not in lab.blocked]
    plain = all(port.ways.plain for switch in lab.switches.values() for port in switch.ports.values())
    if plain and all(lab.port(link.a).pvid == lab.port(link.b).pvid for link in trunks):
        return None
    flow = networkx.DiGraph()
    everybody = members(lab)
    flow.add_nodes_from((member.host, member.interface.name) for member in everybody)
    for one, other in _hops(lab, everybody):  # a host that hears is another place than the host that speaks
        flow.add_edge(one, other if isinstance(other, Inside) else ("", other))
    names = [(member.host, member.interface.name) for member in everybody]
    return {
        name: {place[1] for place in networkx.descendants(flow, name) if not isinstance(place, Inside)}
        for name in names
    }


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
