"""Who must answer whose ping, and of whom nobody can say.

Knows: domains, IP networks, ports that hold frames back at times. Refuses to know: how frames travel (`domains`), what
machines route (`routed`), positions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from .domains import Inside, Place, broadcast_domains, hops, members
from .lab import End, Host, Lab
from .routed import Reach as Reach
from .routed import unsure
from .ways import CLOSED


def addresses(host: Host) -> tuple[str, ...]:
    """The host's addresses without prefix length, IPv4 first."""
    every = [address for nic in host.nics.values() for interface in nic.interfaces for address in interface.addresses]
    return tuple(str(address.ip) for address in sorted(every, key=lambda address: address.version))


def expected_reach(lab: Lab) -> Reach:
    """Who must answer whom: (from, to) -> the addresses of `to` that answer, IPv4 first; hosts in the file's order.

    Same domain and same IP network. A pair that is not in the dict must stay separate, but for those of
    doubtful_reach(): whether they answer depends on how much is sent, on who was there first, on machines that route.
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
    if not doubted and not hosts and all(host.kind == "host" for host in lab.hosts.values()):
        return {}
    reach = _reach(lab) if reach is None else reach
    sure = _reach(_closed(lab, doubted))
    found = {
        pair: addresses if hosts & set(pair) else _without(addresses, sure.get(pair, ()))
        for pair, addresses in reach.items()
    }
    for pair, addresses in unsure(lab, reach).items():
        found[pair] = tuple(dict.fromkeys((*found.get(pair, ()), *addresses)))
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
    for one, other in hops(lab, everybody):  # a host that hears is another place than the host that speaks
        flow.add_edge(one, other if isinstance(other, Inside) else ("", other))
    names = [(member.host, member.interface.name) for member in everybody]
    return {
        name: {place[1] for place in networkx.descendants(flow, name) if not isinstance(place, Inside)}
        for name in names
    }
