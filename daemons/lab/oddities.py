"""What a lab may be on purpose but mostly is not: warnings about VLANs that end somewhere.

Knows: domains and the way between two switches. Refuses to know: mistakes (those are found elsewhere and stop the lab).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from .crossing import carries
from .domains import Domain, Member, members
from .lab import End, Lab, Link
from .mistake import Finding, listed

if TYPE_CHECKING:
    import networkx

MOST_PAIRS = 500  # a lab where more hosts miss each other has said enough


def warnings(lab: Lab, domains: list[Domain]) -> list[Finding]:
    """Everything odd about the lab's VLANs."""
    everybody = members(lab)
    return [*_deaf(lab, everybody), *_natives(lab, everybody), *_empty_vlans(lab, everybody), *_split(lab, domains)]


def _deaf(lab: Lab, everybody: list[Member]) -> Iterator[Finding]:
    """Interfaces whose frames their own port drops."""
    for member in everybody:
        if member.vid or not member.interface.addresses:
            continue
        port = lab.port(member.end)
        if port.settings.state != "forwarding":
            what, fix = f"port {member.end} is {port.settings.state}", "write state: forwarding, or remove state:"
        elif not member.interface.vlan:
            what, fix = f"port {member.end} takes no untagged frames", "give the trunk a native VLAN"
        elif not port.trunk:
            what, fix = (
                f"port {member.end} is an access port and takes no tags",
                f"write trunk: [{member.interface.vlan}] there",
            )
        else:
            what, fix = (
                f"port {member.end} does not let VLAN {member.interface.vlan} pass",
                "add it to the port's trunk:",
            )
        at = ("topology", "nodes", member.host, "interfaces", member.interface.name)
        yield Finding(at, f"{member} reaches no one: {what}", fix, key=True)


def _natives(lab: Lab, everybody: list[Member]) -> Iterator[Finding]:
    """Trunks whose ends do not agree on the VLAN of untagged frames."""
    used = {member.vid for member in everybody} | set(lab.vlans.values())
    for link in lab.trunks():
        ends = (lab.port(link.a), lab.port(link.b))
        if not all(port.settings.mode in ("access", "trunk", "native-untagged") for port in ends):
            continue  # a tunnel's VLAN and a customer's are different on purpose
        a, b = ends[0].pvid, ends[1].pvid
        at = ("topology", "links", link.index)
        if a and b and a != b:
            what = (
                f"untagged frames on {link} are VLAN {lab.vlan_name(a)} at {link.a} and {lab.vlan_name(b)} at {link.b}"
            )
            yield Finding(at, f"{what}: the two VLANs are joined here", "give both ends the same native VLAN")
        elif a != b and (a or b) in used:
            end, other = (link.a, link.b) if a else (link.b, link.a)
            what = f"VLAN {lab.vlan_name(a or b)} leaves {end} untagged, and {other} takes no untagged frames"
            yield Finding(at, what, "give both ends the same native VLAN")


def _empty_vlans(lab: Lab, everybody: list[Member]) -> Iterator[Finding]:
    """Named VLANs with nobody in them, or with one member, who has nobody to talk to."""
    # RSPAN VLANs carry what mirrors copy; in private VLANs one reaches members of another.
    special = {vid for switch in lab.switches.values() for vid in switch.vlans.remote}
    for switch in lab.switches.values():
        special |= {vid for first, isolated, others in switch.vlans.private for vid in (first, isolated, *others)}
    inside: dict[int, list[str]] = defaultdict(list)
    for member in everybody:
        inside[member.vid].append(str(member))
    linked = lab.link_of()
    for switch in lab.switches.values():
        for port in switch.ports.values():
            if End(switch.name, port.name) not in linked:
                for vid in set(lab.vlans.values()) & (port.allowed | {port.pvid}):
                    inside[vid].append(f"{switch.name}:{port.name}")
    for name, vid in lab.vlans.items():
        if vid in special:
            continue
        if not inside[vid]:
            what, fix = f"VLAN '{name}' ({vid}) reaches no one", "put a port into it, or remove it"
        elif len(inside[vid]) == 1:
            what, fix = f"VLAN '{name}' ({vid}) has one member only: {inside[vid][0]}", "put another port into it"
        else:
            continue
        yield Finding(("vlans", name), what, fix, key=True)


def _split(lab: Lab, domains: list[Domain]) -> Iterator[Finding]:
    """Hosts of one VLAN and one IP network that no frame joins, with the trunk that is to blame."""
    groups: dict[tuple[int, object], dict[int, Member]] = defaultdict(dict)
    for i, domain in enumerate(domains):
        for member in domain.members:
            for address in member.interface.addresses:
                if member.vid:
                    groups[member.vid, address.network].setdefault(i, member)
    blamed: dict[tuple[int, Link | None], list[str]] = defaultdict(list)
    cables = _cables(lab)
    apart = [(vid, *pair) for (vid, _), parts in groups.items() for pair in pairwise(parts.values())]
    for vid, one, other in apart[:MOST_PAIRS]:
        if _apart_on_purpose(lab, vid, one, other):
            continue
        way = _way(cables, one.end.node, other.end.node)
        if way is not None:  # parts without any way are reported as such
            trunk = next((link for link in way if not carries(lab, link, vid)), None)
            blamed[vid, trunk].append(f"{one} and {other}")
    for (vid, trunk), pairs in blamed.items():
        what = f"{listed(dict.fromkeys(pairs), 3)} are in VLAN {lab.vlan_name(vid)} and cannot reach each other"
        if trunk is None:
            yield Finding(("topology", "links"), what, "look at the trunks between them", key=True)
        else:
            fix = f"let the VLAN pass at both ends, {trunk.a} and {trunk.b}"
            yield Finding(("topology", "links", trunk.index), f"{what}: the trunk {trunk} does not carry it", fix)


def _apart_on_purpose(lab: Lab, vid: int, one: Member, other: Member) -> bool:
    """Protected ports of a switch, and stations of an isolated VLAN, are to have no way to each other."""
    ports = [lab.port(member.end) for member in (one, other)]
    isolated = {part[1] for member in (one, other) for part in lab.switches[member.end.node].vlans.private}
    return vid in isolated or (one.end.node == other.end.node and all(port.settings.protected for port in ports))


def _cables(lab: Lab) -> networkx.Graph:
    """The switches and the trunks that are not blocked."""
    import networkx

    cables = networkx.Graph()
    cables.add_nodes_from(lab.switches)
    for link in lab.trunks():
        if link.index not in lab.blocked and not cables.has_edge(link.a.node, link.b.node):
            cables.add_edge(link.a.node, link.b.node, link=link)
    return cables


def _way(cables: networkx.Graph, start: str, goal: str) -> list[Link] | None:
    """The trunks between two switches, fewest first; None if there is no way."""
    import networkx

    try:
        path = networkx.shortest_path(cables, start, goal)
    except networkx.NetworkXNoPath:
        return None
    return [cables.edges[pair]["link"] for pair in pairwise(path)]
