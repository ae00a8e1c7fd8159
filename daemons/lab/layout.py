"""What a picture of a lab shows, before it is text or SVG: rows of switches, what is in their ports, colours of VLANs.

Knows: which switch belongs above which, and what to write about a port. Refuses to know: characters, pixels, what runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from . import vids
from .crossing import enters, host_tags
from .lab import End, Host, Lab, Link, Nic, Port

if TYPE_CHECKING:
    import networkx


SORTS = {"netns": "namespace", "vm": "virtual machine", "external": "external", "uplink": "uplink"}


class Attached(NamedTuple):
    """What is in a port that is no trunk to a switch of this lab."""

    port: str
    kind: str  # of the machine, or "qemu" | "tcp" | "free", or the kind of another plug
    name: str  # the machine's name, or what to call the others
    nic: str  # the machine's NIC, "" for the others
    addresses: tuple[str, ...]
    vlans: tuple[int, ...]  # of the port; for a trunk those that the host uses, or () for all
    tagged: bool

    @property
    def machine(self) -> bool:
        """Whether it is a node of the lab."""
        return self.nic != ""

    @property
    def word(self) -> str:
        """What sort of machine it is, "" for the usual one and for what is no machine."""
        return SORTS.get(self.kind, "") if self.machine else ""


class Trunk(NamedTuple):
    """A link between two switches, the upper (or left) end first."""

    link: Link
    one: End
    other: End
    vlans: frozenset[int]
    blocked: bool


def rows(lab: Lab) -> list[list[str]]:
    """The switches in rows from top to bottom; a link never skips a row.

    Switches without hosts stand above those with (a spine above its leafs); where all have hosts and the cables are no
    chain, the best connected switch stands on top. A row is ordered by the places of the neighbours above.
    """
    import networkx

    if not lab.switches:
        return []
    cables = networkx.Graph()
    cables.add_nodes_from(lab.switches)
    cables.add_edges_from((link.a.node, link.b.node) for link in lab.trunks())
    with_hosts = {end.node for _, _, end in lab.nic_links()}
    made: list[list[str]] = []
    order = {name: i for i, name in enumerate(lab.switches)}
    for part in sorted(networkx.connected_components(cables), key=lambda part: min(map(order.__getitem__, part))):
        levels = _levels(cables.subgraph(part), with_hosts & part, order)
        for i, level in enumerate(levels):
            made[i : i + 1] = [[*made[i], *level] if i < len(made) else level]
    return made


def _levels(part: networkx.Graph, low: set[str], order: dict[str, int]) -> list[list[str]]:
    import networkx

    if low and len(low) < len(part):
        distance = networkx.multi_source_dijkstra_path_length(part, low)
        top = max(distance.values())
        level = {name: top - far for name, far in distance.items()}
    elif max(dict(part.degree).values()) > 2:
        root = min(part, key=lambda name: (-part.degree(name), order[name]))
        level = networkx.single_source_shortest_path_length(part, root)
    else:
        return [_chain(part, order)]
    made: list[list[str]] = [[] for _ in range(max(level.values()) + 1)]
    for name in sorted(part, key=order.__getitem__):
        made[level[name]].append(name)
    for above, row in pairwise(made):
        _follow(part, above, row)
    return made


def _follow(part: networkx.Graph, above: list[str], row: list[str]) -> None:
    """Order a row by the mean place of each switch's neighbours above (the barycentre method)."""
    place = {name: i for i, name in enumerate(above)}

    def mean(name: str) -> float:
        places = [place[near] for near in part[name] if near in place]
        return sum(places) / len(places) if places else 0.0

    row.sort(key=mean)


def _chain(part: networkx.Graph, order: dict[str, int]) -> list[str]:
    """A chain or a ring from one end to the other, begun at the end that the file names first."""
    import networkx

    ends = [name for name in part if part.degree(name) < 2] or list(part)
    return list(networkx.dfs_preorder_nodes(part, min(ends, key=order.__getitem__)))


def attached(lab: Lab, switch: str) -> list[Attached]:
    """What is in the ports of a switch, in the ports' order, trunks to other switches left out."""
    linked = lab.link_of()
    found = []
    for port in lab.switches[switch].ports.values():
        link = linked.get(End(switch, port.name))
        if link is None:
            found.append(_open(port))
        elif link.other(switch).node in lab.hosts:
            found.append(_host(lab, port, link.other(switch)))
    return found


def _open(port: Port) -> Attached:
    if port.qemu is not None:
        kind, name = "qemu", "QEMU guest"
    elif port.tcp is not None:
        kind, name = "tcp", f"lab {port.tcp.peer}" if len(port.tcp.peer) < 40 else "another lab"
    elif port.plug is not None:
        kind, name = port.plug.kind, port.plug.who.removeprefix("a ")
    else:
        kind, name = "free", "free port"
    vlans = () if port.allowed == vids.ALL else tuple(sorted(port.allowed))
    return Attached(port.name, kind, name, "", (), vlans, port.trunk)


def _host(lab: Lab, port: Port, end: End) -> Attached:
    host: Host = lab.hosts[end.node]
    nic: Nic = host.nics[end.port]
    addresses = tuple(str(address) for interface in nic.interfaces for address in interface.addresses)
    heard = (enters(port, host_tags(interface.vlan))[0] for interface in nic.interfaces)
    vlans = tuple(dict.fromkeys(vid for vid in heard if vid))
    return Attached(port.name, host.kind, end.node, end.port, addresses, vlans, port.trunk)


def trunks(lab: Lab, placed: list[list[str]]) -> list[Trunk]:
    """The links between switches in the file's order."""
    place = {name: (y, x) for y, row in enumerate(placed) for x, name in enumerate(row)}
    found = []
    for link in lab.trunks():
        one, other = sorted((link.a, link.b), key=lambda end: place[end.node])
        vlans = lab.port(one).allowed & lab.port(other).allowed
        found.append(Trunk(link, one, other, vlans, link.index in lab.blocked))
    return found


def colours(lab: Lab, how_many: int) -> dict[int, int]:
    """VLAN -> the number of its colour, named VLANs first."""
    ports = (port for switch in lab.switches.values() for port in switch.ports.values())
    others = sorted({port.pvid for port in ports} - {0} - set(lab.vlans.values()))
    return {vid: i % how_many for i, vid in enumerate([*lab.vlans.values(), *others])}


def short(vlans: Iterable[int], most: int = 24) -> str:
    """VIDs for a label: `10, 20`, or `all`, or `12 VLANs` where they are too long for it."""
    every = frozenset(vlans)
    text = ", ".join(map(str, sorted(every))) if len(every) <= 4 else vids.text(every).replace(",", ", ")
    if every == vids.ALL:
        return "all"
    return text if len(text) <= most else f"{len(every)} VLANs"
