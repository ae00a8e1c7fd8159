"""A running lab as the shell speaks of it: nodes by name, and which port is cabled to which.

Knows: what each process of the lab was told (the state file). Refuses to know: commands, what is up.
"""

from __future__ import annotations

from ipaddress import ip_interface
from typing import Any, NamedTuple

from daemons.errors import UserError
from daemons.lab.mistake import did_you_mean, listed, quoted
from tools.labs import KnownLab, desired

# The daemon's kind -> its list of nodes, and what these are when they do not say it.
_HOLDERS = {"hostd": ("hosts", "host"), "netnsd": ("hosts", "netns"), "vmd": ("machines", "vm")}


class Node(NamedTuple):
    """kind: switch, host, netns, uplink, vm, external or pool; addresses with prefix length."""

    name: str
    kind: str
    addresses: tuple[str, ...] = ()
    nics: tuple[str, ...] = ()


class Link(NamedTuple):
    """A cable, a switch's end first; `states` are those of the ports that switches have at its ends."""

    a: tuple[str, str]
    b: tuple[str, str]

    def __str__(self) -> str:
        return f"{':'.join(self.a)} -- {':'.join(self.b)}"


class View(NamedTuple):
    nodes: dict[str, Node]
    links: list[Link]
    ports: dict[tuple[str, str], dict[str, Any]]  # a switch's port -> its configuration

    def node(self, name: str) -> Node:
        """Raises UserError."""
        if name not in self.nodes:
            near = did_you_mean(name, self.nodes, f"there are {listed(self.nodes)}")
            raise UserError(f"there is no node {quoted(name)}; {near}")
        return self.nodes[name]

    def between(self, one: str, other: str) -> list[Link]:
        """The cables between two nodes. Raises UserError if there is none."""
        wanted = {self.node(one).name, self.node(other).name}
        found = [link for link in self.links if {link.a[0], link.b[0]} == wanted]
        if not found:
            raise UserError(f"there is no link between {one} and {other}; links lists those there are")
        return found


def look(lab: KnownLab) -> View:
    """What is so now. Raises UserError if the lab is gone."""
    nodes: dict[str, Node] = {}
    ports: dict[tuple[str, str], dict[str, Any]] = {}
    machines: dict[str, Node] = {}
    for name, want in desired(lab).items():
        if want.kind == "switchd":
            nodes[name] = Node(name, "switch")
            ports |= {(name, row["name"]): row for row in want.config["ports"]}
        elif want.kind == "stord":
            machines[name] = Node(name, "pool")
        elif want.kind in _HOLDERS:
            machines |= {node.name: node for node in _held(want.kind, want.config)}
    nodes |= machines
    links = []
    for place, row in ports.items():
        peer, _, far = str(row.get("peer", "")).partition(":")
        if not far:
            continue
        nodes.setdefault(peer, Node(peer, "external"))
        if (peer, far) not in ports or place < (peer, far):
            links.append(Link(place, (peer, far)))
    return View(nodes, links, ports)


def _held(kind: str, config: dict[str, Any]) -> list[Node]:
    word, usual = _HOLDERS[kind]
    rows = [(usual, row) for row in config.get(word, ())] + [("uplink", row) for row in config.get("uplinks", ())]
    return [
        Node(row["name"], what, tuple(_addresses(row)), tuple(nic["name"] for nic in row.get("nics", ())))
        for what, row in rows
    ]


def _addresses(row: dict[str, Any]) -> list[str]:
    return [
        address
        for nic in row.get("nics", ())
        for interface in nic.get("interfaces", ())
        for address in interface["addresses"]
    ]


def address_of(target: Node, source: Node) -> str | None:
    """The address by which a node is reached: in a network of the source's if there is one; without prefix length."""
    near = [ip_interface(address).network for address in source.addresses]
    theirs = [ip_interface(address).ip for address in target.addresses]
    found = [ip for ip in theirs if any(ip in network for network in near)] or theirs
    return str(found[0]) if found else None
