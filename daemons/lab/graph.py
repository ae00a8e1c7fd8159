"""The lab as a graph: who is cabled to whom, islands, and loops.

Knows: links, and which VLANs cross them; networkx does the graph work and is loaded on first use only, so that commands
that never look at a graph do not pay for it. Refuses to know: hosts' addresses (`domains`), positions, colours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from . import rounds, vids
from .crossing import crosses
from .domains import Domain as Domain
from .domains import broadcast_domains as broadcast_domains
from .lab import Lab, Link, Port
from .machines import WORDS
from .mistake import LINKS, NODES, Finding, listed
from .reach import addresses as addresses
from .reach import expected_reach as expected_reach

if TYPE_CHECKING:
    import networkx
    from networkx.utils import UnionFind

# Links in circles times kinds of VLANs: a ring of 256 switches with 4000 VLANs that all differ; some seconds' work.
MOST_WORK = 1_000_000


def build(lab: Lab) -> networkx.MultiGraph:
    """All nodes (attribute `kind`) and all links (key: the link's index; attributes `link` and `blocked`)."""
    import networkx

    graph = networkx.MultiGraph(name=lab.name)
    graph.add_nodes_from(lab.switches, kind="switch")
    for host in lab.hosts.values():
        graph.add_node(host.name, kind=host.kind)
    for link in lab.links:
        graph.add_edge(link.a.node, link.b.node, key=link.index, link=link, blocked=link.index in lab.blocked)
    return graph


def islands(lab: Lab) -> tuple[list[Finding], list[Finding]]:
    """Mistakes: machines without a link, but for virtual ones. Warnings: switches without anything; several parts."""
    import networkx

    graph = build(lab)
    mistakes, warnings = [], []
    for name, host in lab.hosts.items():
        if graph.degree(name) == 0 and host.kind != "vm":
            fix = f'add a link, such as endpoints: ["{next(iter(lab.switches), "s1")}:eth1", "{name}:eth0"]'
            what = f"{WORDS[host.kind].partition(' ')[2]} '{name}' has no link"
            mistakes.append(Finding((*NODES, name), what, fix, key=True))
    lonely = set()
    for name, switch in lab.switches.items():
        if graph.degree(name) == 0 and not switch.ports:
            lonely.add(name)
            what = f"switch '{name}' has no link and no port where anybody could attach"
            warnings.append(Finding((*NODES, name), what, "add a link or a port, or remove the switch", key=True))
    parts = [part for part in networkx.connected_components(graph) if not part & lonely and graph.subgraph(part).size()]
    order = {name: i for i, name in enumerate([*lab.switches, *lab.hosts])}
    parts.sort(key=lambda part: min(order[name] for name in part))
    if len(parts) > 1:
        firsts = [min(part, key=order.__getitem__) for part in parts]
        what = f"this lab falls into {len(parts)} parts that no link joins (around {listed(firsts)})"
        warnings.append(
            Finding((*NODES, firsts[1]), what, "join them with a link, or make each a lab of its own", key=True)
        )
    return mistakes, warnings


class Loop(NamedTuple):
    """A link that closes a circle in some VLANs."""

    link: Link
    vids: frozenset[int]
    circle: tuple[str, ...]  # switches, the first one again at the end


Spot = tuple[str, int]  # (switch, VLAN)
Join = tuple[frozenset[int], tuple[Spot, Spot]]  # VLANs that are treated alike, and what a link joins for them


class TooMuch(Exception):
    """More links in circles and more different VLANs than can be checked."""


def loops(lab: Lab) -> list[Loop]:
    """The links that close a circle, in the file's order; without them every VLAN is a tree (Kruskal).

    A link is taken whole: it counts as closing a circle when it does so in a single VLAN. Links that carry no VLAN in
    common are no circle. A direction is enough: a frame may not go round even one way.
    """
    from networkx.utils import UnionFind

    suspects = _in_circles(lab)
    classes = _classes([port for link in suspects for port in (lab.port(link.a), lab.port(link.b))])
    if len(suspects) * len(classes) > MOST_WORK:
        raise TooMuch
    trees: UnionFind[Spot] = UnionFind()
    kept: list[tuple[Spot, Spot]] = []
    found = []
    for link in suspects:
        joins = [(group, pair) for group in classes for pair in _joins(lab, link, group)]
        pairs = [pair for _, pair in joins]
        closing = _closing(trees, joins)
        if closing:
            circle = _circle([*kept, *(pair for pair in pairs if pair != closing[0][1])], *closing[0][1])
            found.append(Loop(link, frozenset().union(*(group for group, _ in closing)), circle))
            continue
        for pair in pairs:
            trees.union(*pair)
        kept += pairs
    return sorted([*found, *_rounds(lab, found)], key=lambda loop: loop.link.index)


def _rounds(lab: Lab, found: list[Loop]) -> list[Loop]:
    """What is still a loop when those links are gone: where ports do more than access and trunk."""
    if not rounds.special(lab):
        return []
    ports = [port for switch in lab.switches.values() for port in switch.ports.values()]
    left = lab.with_blocked(lab.blocked | {loop.link.index for loop in found})
    try:
        return [Loop(*each) for each in rounds.rounds(left, _classes(ports))]
    except rounds.TooMany:
        raise TooMuch from None


def _closing(trees: UnionFind[Spot], joins: list[Join]) -> list[Join]:
    """What of a link's joins closes a circle, with the trees that are there or with another join of the same link.

    The latter happens where native VLANs differ: (a, 1) and (a, 2) both meet (b, 2), and are joined behind `a` already.
    """
    from networkx.utils import UnionFind

    together: UnionFind[Spot] = UnionFind()
    closing = []
    for group, (one, other) in joins:
        near, far = trees[one], trees[other]
        if together[near] == together[far]:
            closing.append((group, (one, other)))
        together.union(near, far)
    return closing


def _in_circles(lab: Lab) -> list[Link]:
    """The trunks that are part of a physical circle; no other can close one."""
    import networkx

    cables = networkx.Graph()
    trunks = list(lab.trunks())
    parallel = set()
    for link in trunks:
        pair = (link.a.node, link.b.node)
        if cables.has_edge(*pair):
            parallel.add(frozenset(pair))
        cables.add_edge(*pair)
    bridges = {frozenset(pair) for pair in networkx.bridges(cables)} - parallel
    return [link for link in trunks if frozenset((link.a.node, link.b.node)) not in bridges]


def _classes(ports: Iterable[Port]) -> list[frozenset[int]]:
    """VIDs 1 to 4094 in groups that all these ports treat alike."""
    groups = [vids.ALL]
    for cut in dict.fromkeys(cut for port in ports for cut in port.ways.cuts()):
        groups = [part for group in groups for part in (group & cut, group - cut) if part]
    return sorted(groups, key=min)


def _joins(lab: Lab, link: Link, group: frozenset[int]) -> list[tuple[Spot, Spot]]:
    """Which (switch, VLAN) meets which over this link, for a group of VLANs that are treated alike."""
    vid = min(group)
    a, b = lab.port(link.a), lab.port(link.b)
    there, back = crosses(a, b, vid), crosses(b, a, vid)
    pairs = {((link.a.node, vid), (link.b.node, there)) for _ in (1,) if there}
    if back and crosses(a, b, back) != vid:
        pairs.add(((link.a.node, back), (link.b.node, vid)))
    return sorted(pairs)


def _circle(kept: Sequence[tuple[Spot, Spot]], one: Spot, other: Spot) -> tuple[str, ...]:
    import networkx

    way = networkx.shortest_path(networkx.Graph(kept), one, other)
    names = [one[0]] + [after[0] for before, after in pairwise(way) if after[0] != before[0]]
    return (*names, one[0])


def said(lab: Lab, vlans: frozenset[int]) -> str:
    """A set of VLANs for a sentence: names where there are some."""
    if vlans == vids.ALL:
        return "every VLAN"
    named = [f"{name} ({vid})" for name, vid in lab.vlans.items() if vid in vlans]
    rest = vlans - set(lab.vlans.values())
    if named and len(rest) > 8:
        return f"{listed(named)} and others"
    numbers = vids.text(rest).replace(",", ", ")
    return f"VLAN {', '.join(filter(None, [listed(named), numbers[:60]]))}"


def loop_findings(lab: Lab, found: Sequence[Loop]) -> list[Finding]:
    """The loops as mistakes, each with its circle."""
    fix = "remove one of its links, or write loops: block to have links outside a spanning tree blocked"
    return [
        Finding((*LINKS, loop.link.index), f"loop in {said(lab, loop.vids)}: {' - '.join(loop.circle)}", fix)
        for loop in found
    ]
