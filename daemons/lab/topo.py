"""A lab as inert data, put together by a program: `Topo().add_switch("s1").add_host("h1").add_link("s1", "h1")`.

Knows: names and which port a cable goes into when nobody says; that `_` in a keyword is `-` in the lab file's network.
Refuses to know: what the keys mean. They are those of the lab file, and the file's own reader checks them (`check`,
or `vfab validate`). Nothing runs here and nothing is started: save it and `vfab up` the file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from daemons.errors import UserError

from . import yamltext
from .fields import NODE_NAME, NODE_RULE, PORT_NAME, PORT_RULE
from .mistake import did_you_mean, listed, quoted

# The first port of a kind that nobody named, and the word in the file that describes it.
FIRST: Final = {"switch": 1}
DESCRIBED: Final = {"switch": "ports"}
OPEN_DEPTH: Final = 3  # topology, nodes and each node on lines of their own
_NODE = re.compile(NODE_NAME)
_PORT = re.compile(PORT_NAME)


class TopoError(UserError):
    """A call that does not fit: a name that is no name, is taken, or is not there."""


class Topo:
    """Switches, hosts and cables. Every `add_` returns the Topo itself; keywords are the lab file's keys."""

    def __init__(
        self, name: str = "lab", *, vlans: Mapping[str, int] | None = None, comment: str = "", **keys: Any
    ) -> None:
        """`comment` stands at the top of the file; `keys` are the file's own, such as description and loops."""
        _matches(_NODE, name, "lab name", NODE_RULE)
        self.name = name
        self.comment = comment
        self.keys = _keys(keys)
        self.vlans: dict[str, int] = dict(vlans or {})
        self.nodes: dict[str, dict[str, Any]] = {}
        self.links: list[dict[str, Any]] = []
        self.storage: dict[str, dict[str, dict[str, Any]]] = {}
        self._used: dict[str, set[str]] = {}

    # --- nodes

    def add_switch(self, name: str, **keys: Any) -> Topo:
        """`ports={"eth5": {"access": 10, "qemu": "dial"}}`, `ageing=60`, `mac_table=65536`, `mirrors=...`"""
        return self.add_node(name, "switch", **keys)

    def add_host(self, name: str, *addresses: str, **keys: Any) -> Topo:
        """A userspace host; `addresses` with prefix length are those of eth0. `kind="netns"` makes it a real one."""
        kind = str(keys.pop("kind", "host"))
        given = {"addresses": list(addresses)} if addresses else {}
        return self.add_node(name, kind, **given, **keys)

    def add_node(self, name: str, kind: str, **keys: Any) -> Topo:
        """A node of any kind that lab files know."""
        _matches(_NODE, name, "node name", NODE_RULE)
        if name in self.nodes:
            raise TopoError(f"there is a node {quoted(name)} already; give this one another name")
        self.nodes[name] = {"kind": kind, **_keys(keys)}
        self._used[name] = set()
        return self

    def add_port(self, where: str, **keys: Any) -> Topo:
        """Describe a port (of all but switches: an interface): `add_port("s1:eth5", access=10, qemu="dial")`."""
        node, port = self._place(where)
        if not port:
            raise TopoError(f"{quoted(where)} is no port; write node:port, like s1:eth1")
        self._describe(node, port, _keys(keys))
        return self

    def add_vlan(self, name: str, vid: int) -> Topo:
        self.vlans[name] = vid
        return self

    # --- cables

    def add_link(
        self, a: str, b: str, params1: Mapping[str, Any] | None = None, params2: Mapping[str, Any] | None = None,
        **keys: Any,
    ) -> Topo:  # fmt: skip
        """A cable. An end is `s1:eth9`, or `s1`: then its next free port, eth1 on of a switch, eth0 on of a host.

        params1 and params2 (Mininet's words) describe the port at either end, `params1={"access": 10}`; keys are the
        link's own.
        """
        ends = [f"{node}:{port}" for node, port in (self._end(a), self._end(b))]
        for end, params in zip(ends, (params1, params2), strict=True):
            if params:
                self.add_port(end, **params)
        self.links.append({"endpoints": ends, **_keys(keys)})
        return self

    def _end(self, where: str) -> tuple[str, str]:
        node, port = self._place(where)
        if not port:
            port = self._free(node)
        elif port in self._used[node]:
            raise TopoError(f"there is a cable in {node}:{port} already; use another port")
        self._used[node].add(port)
        return node, port

    def _free(self, node: str) -> str:
        """The first that has no cable and that nobody described: what is described is meant for something."""
        kind = self.nodes[node]["kind"]
        taken = self._used[node] | set(self.nodes[node].get("ports") or {})
        number = FIRST.get(kind, 0)
        while f"eth{number}" in taken:
            number += 1
        return f"eth{number}"

    def _place(self, where: str) -> tuple[str, str]:
        node, colon, port = where.partition(":")
        if node not in self.nodes:
            there = f"there are {listed(self.nodes)}" if self.nodes else "add it first"
            raise TopoError(f"there is no node {quoted(node)}; {did_you_mean(node, self.nodes, there)}")
        if colon:
            _matches(_PORT, port, "port name", PORT_RULE)
        return node, port

    def _describe(self, node: str, port: str, keys: Mapping[str, Any]) -> None:
        word = DESCRIBED.get(self.nodes[node]["kind"], "interfaces")
        self.nodes[node].setdefault(word, {}).setdefault(port, {}).update(keys)

    # --- storage

    def add_pool(self, name: str, **keys: Any) -> Topo:
        """`members=["a.img", "b.img"], size="1GiB"`"""
        return self._store("pools", name, keys)

    def add_volume(self, name: str, pool: str, **keys: Any) -> Topo:
        """`size="500MiB", raid="raid1"`"""
        return self._store("volumes", name, {"pool": pool, **keys})

    def add_lun(self, name: str, volume: str, **keys: Any) -> Topo:
        """`nbd=True`, or `nbd={"tcp": "127.0.0.1:10809"}`"""
        return self._store("luns", name, {"volume": volume, **keys})

    def _store(self, shelf: str, name: str, keys: Mapping[str, Any]) -> Topo:
        _matches(_NODE, name, f"name for {shelf}", NODE_RULE)
        if name in self.storage.get(shelf, {}):
            raise TopoError(f"{quoted(name)} is one of the {shelf} already; give this one another name")
        self.storage.setdefault(shelf, {})[name] = _keys(keys)
        return self

    # --- what it is

    def kind(self, node: str) -> str:
        return str(self.nodes[node]["kind"])

    def cabled(self, node: str) -> set[str]:
        """The ports of a node that have a cable."""
        return set(self._used[node])

    def to_dict(self) -> dict[str, Any]:
        """What the lab file says, as plain values."""
        value: dict[str, Any] = {"name": self.name, **self.keys}
        if self.vlans:
            value["vlans"] = dict(self.vlans)
        nodes = {name: dict(keys) for name, keys in self.nodes.items()}
        value["topology"] = {"nodes": nodes, **({"links": [dict(link) for link in self.links]} if self.links else {})}
        if self.storage:
            value["storage"] = {shelf: dict(rows) for shelf, rows in self.storage.items()}
        return value

    def to_yaml(self) -> str:
        """The lab file. Raises TopoError for a value that no lab file can hold."""
        head = "".join(f"# {line}".rstrip() + "\n" for line in self.comment.splitlines())
        value = self.to_dict()
        topology, storage = value.pop("topology"), value.pop("storage", None)
        try:
            text = "".join(yamltext.dump({key: inner}, 0) for key, inner in value.items())
            text += _topology(topology)
            text += yamltext.dump({"storage": storage}, 2) if storage else ""
        except TypeError as error:
            raise TopoError(f"{error}; give text, numbers, lists or mappings") from None
        return head + text

    def save(self, path: str | Path) -> Path:
        """Write the lab file; where it is. Raises TopoError when that does not go."""
        file = Path(path)
        try:
            file.write_text(self.to_yaml(), encoding="utf-8")
        except OSError as error:
            raise TopoError(f"cannot write {file}: {error.strerror}") from None
        return file

    def check(self) -> None:
        """All mistakes in it, by the lines of `to_yaml()`, as one LabError; nothing if there is none."""
        from .loader import parse

        parse(self.to_yaml(), self.name)


def _topology(topology: Mapping[str, Any]) -> str:
    """A node to a line where it fits, a cable to a line always."""
    if not topology["nodes"]:
        return "topology: {nodes: {}}\n"
    text = "topology:\n" + _indented(yamltext.dump({"nodes": topology["nodes"]}, 1, yamltext.WIDTH - 2))
    if "links" in topology:
        text += "  links:\n"
        text += "".join(f"    - {_link(link)}\n" for link in topology["links"])
    return text


def _link(link: Mapping[str, Any]) -> str:
    """Both ends in quotes, as everybody writes them: node:port is text for this reader, but not for all."""
    rest = {key: value for key, value in link.items() if key != "endpoints"}
    ends = ", ".join(f'"{end}"' for end in link["endpoints"])
    if not rest:
        return f"endpoints: [{ends}]"
    more = yamltext.dump({"x": rest}, 0, 1 << 30).strip().removeprefix("x: {").removesuffix("}")
    return f"{{endpoints: [{ends}], {more}}}"


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())


def _keys(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Python's keywords as the file's keys; what is None was not said."""
    return {key.replace("_", "-"): value for key, value in keys.items() if value is not None}


def _matches(pattern: re.Pattern[str], name: object, what: str, rule: str) -> None:
    if not isinstance(name, str) or not pattern.fullmatch(name):
        raise TopoError(f"{quoted(name)} is no {what}; {rule}")
