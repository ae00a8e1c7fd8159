"""GraphML, as NetworkX, yEd and the Internet Topology Zoo write it -> machines and cables.

Knows: nodes and edges, their labels and data (http://graphml.graphdrawing.org/specification.html). A node with several
neighbours becomes a switch, a leaf a host; a node that has a data field `kind` with one of our words is that.
Refuses to know: XML's dangers: a DOCTYPE, and with it every entity, is refused; nothing is loaded from anywhere.
"""

from __future__ import annotations

import re
from typing import Any, Final
from xml.parsers import expat

from ..mistake import quoted
from . import commands
from .building import MOST_CABLES, MOST_NODES, Builder, Machine

KINDS: Final = ("switch", "host", "netns", "external")
MOST_EDGES: Final = 10 * MOST_CABLES  # both directions of each, and some to leave out
MOST_DEPTH: Final = 100
MOST_TEXT: Final = 1000
LABELS: Final = ("label", "name", "hostname")
ADDRESSES: Final = ("address", "addresses", "ip", "ipv4", "ipv6")
NETWORK: Final = 10 << 24
CARRIED: Final = (*LABELS, *ADDRESSES, "kind", "port", "sourceport", "targetport")


class _Refused(Exception):
    """Something that no graph needs."""


class _Node:
    def __init__(self, identity: str, line: int) -> None:
        self.identity, self.line = identity, line
        self.data: dict[str, str] = {}
        self.near: list[str] = []


class _Edge:
    def __init__(self, ends: tuple[str, str], ports: tuple[str, str], line: int) -> None:
        self.ends, self.ports, self.line = ends, ports, line
        self.data: dict[str, str] = {}


class _Reader:
    """expat's handlers. Namespaces of names are dropped: `{...}node` and `node` are the same."""

    def __init__(self) -> None:
        self.nodes: dict[str, _Node] = {}
        self.edges: list[_Edge] = []
        self.keys: dict[str, tuple[str, str, int]] = {}  # id -> (name, for, line)
        self.said: list[tuple[int, str]] = []
        self.root = ""
        self.graphs = 0
        self._open: list[Any] = []
        self._key = ""
        self._text: list[str] | None = None
        self._room = 0  # characters that `_text` still takes
        self._depth = 0
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.EntityDeclHandler = self._doctype
        self._parser.ExternalEntityRefHandler = self._doctype

    def read(self, data: bytes) -> tuple[int, str] | None:
        """None, or (line, what is wrong with it)."""
        try:
            self._parser.Parse(data, True)
        except expat.ExpatError as error:
            return error.lineno, f"this is not XML: {expat.ErrorString(error.code)}"
        except LookupError:  # Python is asked for what expat does not know by itself
            return 1, "its encoding is none that is known; save it as UTF-8"
        except _Refused as error:
            return self._parser.CurrentLineNumber, str(error)
        return None

    def _doctype(self, *_: Any) -> int:
        raise _Refused("a DOCTYPE, or an entity, is refused; no graph needs one")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise _Refused(f"elements are nested more than {MOST_DEPTH} deep")
        name, line = name.rpartition(" ")[2], self._parser.CurrentLineNumber
        self.root = self.root or name
        if name == "node":
            self._node(attributes.get("id", ""), line)
        elif name == "edge":
            self._edge(attributes, line)
        elif name == "key":
            key = attributes.get("id", "")[:MOST_TEXT]
            word = attributes.get("attr.name") or attributes.get("yfiles.type") or key
            self.keys[key] = (word[:MOST_TEXT], attributes.get("for", "all"), line)
        elif name == "data":
            self._key, self._text, self._room = attributes.get("key", ""), [], MOST_TEXT
        elif name in ("NodeLabel", "EdgeLabel"):  # yEd: inside a data element
            self._key, self._text, self._room = "label", [], MOST_TEXT
        elif name == "graph":
            self.graphs += 1
            if self.graphs > 1:
                self.said.append((line, "a graph inside a graph, or a second one: all nodes are taken as one graph's"))
        elif name == "hyperedge":
            self.said.append((line, "left out: a hyperedge, which joins more than two"))

    def _node(self, identity: str, line: int) -> None:
        identity = identity[:MOST_TEXT]
        if len(self.nodes) >= MOST_NODES:
            raise _Refused(f"there are more than {MOST_NODES} nodes, and a lab may not have more")
        if identity in self.nodes:
            self.said.append((line, f"node {quoted(identity)} stands there twice"))
        self._open.append(self.nodes.setdefault(identity, _Node(identity, line)))

    def _edge(self, attributes: dict[str, str], line: int) -> None:
        if len(self.edges) >= MOST_EDGES:
            raise _Refused(f"there are more than {MOST_EDGES} edges")
        one, other, near, far = (
            attributes.get(key, "")[:MOST_TEXT] for key in ("source", "target", "sourceport", "targetport")
        )
        edge = _Edge((one, other), (near, far), line)
        self.edges.append(edge)
        self._open.append(edge)

    def _characters(self, text: str) -> None:
        if self._text is not None and self._room:
            self._text.append(text[: self._room])
            self._room -= len(self._text[-1])

    def _end(self, name: str) -> None:
        self._depth -= 1
        name = name.rpartition(" ")[2]
        if name in ("data", "NodeLabel", "EdgeLabel") and self._text is not None:
            said = " ".join("".join(self._text).split())
            if self._open and said:
                word = self.keys.get(self._key, (self._key,))[0].lower()
                self._open[-1].data.setdefault(word, said)
            self._text = None
        elif name in ("node", "edge") and self._open:
            self._open.pop()


def read(text: str, builder: Builder) -> None:
    """Raises Unreadable for what is no GraphML, or has more in it than a lab can have."""
    report = builder.report
    reader = _Reader()
    # The declaration may name another encoding than that in which the text came to us.
    wrong = reader.read(re.sub(r"^\s*<\?xml[^>]{0,200}\?>", "", text, count=1).encode("utf-8", "replace"))
    if wrong is not None:
        raise report.unreadable(*wrong)
    if reader.root != "graphml":
        raise report.unreadable(1, f"this is {quoted(reader.root)}, and no graphml")
    for line, what in reader.said:
        report.say(line, what)
    for name, where, line in reader.keys.values():
        if name.lower() not in CARRIED:
            report.say(line, f"not carried over: {quoted(name)} (of {where[:20]})")
    cables = _cables(reader, builder)
    machines = {node.identity: _machine(node, builder) for node in reader.nodes.values() if node.near}
    for node in reader.nodes.values():
        if not node.near:
            report.say(node.line, f"left out: node {quoted(node.identity)} has no edge")
    for edge in cables:
        one, other = (machines[end] for end in edge.ends)
        ports = edge.data.get("sourceport", edge.ports[0]), edge.data.get("targetport", edge.ports[1])
        _join(one, ports[0], other, ports[1], edge.line, builder)
    _address(machines, reader, builder)


def _cables(reader: _Reader, builder: Builder) -> list[_Edge]:
    """The edges that are cables; the way back of a directed one is the same cable."""
    found: list[_Edge] = []
    ways: set[tuple[str, str]] = set()
    for edge in reader.edges:
        one, other = edge.ends
        unknown = [end for end in edge.ends if end not in reader.nodes]
        if unknown:
            builder.report.say(edge.line, f"left out: an edge; there is no node {quoted(unknown[0])}")
        elif one == other:
            builder.report.say(edge.line, f"left out: an edge joins {quoted(one)} with itself")
        elif (other, one) in ways and (one, other) not in ways:
            builder.report.say(
                edge.line, f"left out: {quoted(one)} and {quoted(other)} are joined already, the other way"
            )
        else:
            ways.add((one, other))
            found.append(edge)
            for here, there in (edge.ends, edge.ends[::-1]):
                near = reader.nodes[here].near
                if there not in near:
                    near.append(there)
    return found


def _machine(node: _Node, builder: Builder) -> Machine:
    want = next((node.data[word] for word in LABELS if node.data.get(word)), node.identity)
    kind = node.data.get("kind", "").lower()
    if kind not in KINDS:
        kind = "switch" if len(node.near) > 1 else builder.hosts
    elif kind in ("host", "netns"):
        kind = builder.hosts
    return builder.add(node.identity, kind, node.line, want)


def _join(one: Machine, port: str, other: Machine, far: str, line: int, builder: Builder) -> None:
    builder.cable(one, port, other, far, line)


def _address(machines: dict[str, Machine], reader: _Reader, builder: Builder) -> None:
    """Hosts without an address get one, all in one network, so that they can be pinged."""
    hosts = [(identity, machine) for identity, machine in machines.items() if machine.kind in ("netns", "host")]
    prefix = min(24, 32 - (len(hosts) + 1).bit_length())
    made = 0
    for number, (identity, machine) in enumerate(hosts, 1):
        node = reader.nodes[identity]
        given = [word for key in ADDRESSES for word in re.split(r"[\s,;]+", node.data.get(key, "")) if word]
        first = min(machine.ports, default="eth0")
        for address in [address for address in given if _usable(address, node, machine, builder)]:
            machine.interface(first, node.line).addresses.append(address if "/" in address else f"{address}/24")
        if not machine.interfaces:
            value = NETWORK + number
            dotted = ".".join(str(value >> shift & 255) for shift in (24, 16, 8, 0))
            machine.interface(first, node.line).addresses.append(f"{dotted}/{prefix}")
            made += 1
    if made:
        builder.report.say(0, f"hosts without an address got one of 10.0.0.0/{prefix}: {made}")


def _usable(address: str, node: _Node, machine: Machine, builder: Builder) -> bool:
    if commands.fits(address):
        return True
    builder.report.say(node.line, f"not carried over: {quoted(address)} is no address for {machine.name}")
    return False
