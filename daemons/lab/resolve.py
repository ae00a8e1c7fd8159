"""The file's model -> the lab that is meant, with everything in it that does not fit together.

Knows: defaults, names of nodes and VLANs, which port a link is in. Refuses to know: positions (a finding carries its
way through the file), loops and reachability (`graph`, `domains`).
"""

from __future__ import annotations

from typing import NamedTuple

from . import run_files
from .hosts import resolve_host
from .lab import MAC_LIMIT, End, Host, Lab, Link, Switch
from .machine_rules import Around, clashes, limits_of, resolve_machine
from .machines import WORDS
from .mistake import LINKS, NODES, At, Finding, did_you_mean, listed, quoted
from .model import LabFile, Node
from .model import Link as FileLink
from .node_kinds import OWNERS, foreign_keys
from .port_settings import Vlans
from .storage_rules import Gone, resolve_storage
from .switch_vlans import resolve_switch
from .switchports import clashing_listeners, port_names, resolve_ports

AGEING_S = 300  # IEEE 802.1Q-2022, table 8-6


class Pruned(NamedTuple):
    """What the reader had to take out of the file because it was wrong: nothing more is said about it here."""

    nodes: frozenset[str] = frozenset()  # nodes that lost something, or are gone
    vlans: frozenset[str] = frozenset()  # names of VLANs that are gone
    links: bool = False  # a link is gone
    kinds: bool = False  # defaults or kinds lost something
    storage: Gone = Gone(frozenset())  # names of storage that are gone
    ways: frozenset[At] = frozenset()  # all of it, by the way to it

    def __bool__(self) -> bool:
        """Whether anything of the network is gone; what is said of it does not depend on the storage."""
        return bool(self.nodes or self.vlans or self.links or self.kinds)


def resolve(file: LabFile, pruned: Pruned = Pruned()) -> tuple[Lab, list[Finding]]:  # noqa: B008 - a frozen value
    """The lab in `file` as far as it makes sense, and what does not."""
    findings: list[Finding] = []
    vlans = Vlans(file.vlans, pruned.vlans, findings, pruned.ways)
    nodes = {name: node or Node() for name, node in file.topology.nodes.items()}
    kinds = {name: _kind(file, name, node, pruned) for name, node in nodes.items()}
    for name, node in nodes.items():
        if name not in pruned.nodes and not pruned.kinds:
            findings += foreign_keys(name, node, kinds[name])
    links, link_findings = _links(file.topology.links, kinds, pruned)
    findings += link_findings
    used = {end: link for link in links for end in (link.a, link.b)}
    switches = {}
    for name, node in nodes.items():
        if kinds[name] == "switch":
            switches[name] = _switch(file, name, node, used, kinds, vlans, findings)
    findings += clashing_listeners(switches)
    whole = not (pruned.links or link_findings)
    around = Around(file, switches, used, pruned.storage, findings)
    hosts = {name: _host(name, node, kinds[name], around, pruned, whole)
             for name, node in nodes.items() if kinds[name] != "switch"}  # fmt: skip
    findings += clashes(file, hosts)
    storage, wrong = resolve_storage(file.storage, set(nodes), pruned.storage)
    findings += wrong
    limits, names = limits_of(file), dict(file.vlans)
    lab = Lab(file.name, file.description, names, file.loops, switches, hosts, tuple(links), storage, limits)
    return lab, [*findings, *run_files.clashing(lab)]


def _host(name: str, node: Node, kind: str, around: Around, pruned: Pruned, whole: bool) -> Host:
    nics = {end.port for end in around.linked if end.node == name}
    about: list[Finding] = []
    host = resolve_host(around.file.name, name, node, nics, whole, _gateway(around.file, kind), about)
    spoilt = name in pruned.nodes
    # a gateway is not to blame where an address had to be taken out
    around.findings.extend(each for each in about if not (spoilt and each.at[-1] == "gateway"))
    return resolve_machine(host, node, kind, around, spoilt or pruned.kinds)


def _switch(
    file: LabFile,
    name: str,
    node: Node,
    used: dict[End, Link],
    kinds: dict[str, str],
    vlans: Vlans,
    findings: list[Finding],
) -> Switch:
    at: At = (*NODES, name)
    parts = resolve_switch(node, port_names(name, node, used), at, vlans)
    targets = frozenset(mirror.to_port for mirror in parts.mirrors)
    whole = parts.vlans if parts.good else None
    ports = resolve_ports(name, node, used, kinds, vlans, findings, whole, targets)
    size = node.mac_table or MAC_LIMIT
    return Switch(name, _ageing(file, node), ports, size, parts.vlans, parts.mirrors, parts.static)


def _kind(file: LabFile, name: str, node: Node, pruned: Pruned) -> str:
    if node.kind is None and (name in pruned.nodes or pruned.kinds) and node.ports:
        return "switch"  # its kind was misspelt; ports tell what was meant
    return node.kind or file.topology.defaults.kind or "host"


def _ageing(file: LabFile, node: Node) -> int:
    kind = file.topology.kinds.switch
    return node.ageing or (kind and kind.ageing) or file.topology.defaults.ageing or AGEING_S


def _gateway(file: LabFile, kind: str) -> str | None:
    """The one that a machine has if its node says nothing; those that we do not set up have none."""
    kinds = file.topology.kinds
    if kind not in OWNERS["gateway"]:
        return None
    shared = kinds.host if kind == "host" else kinds.netns
    return (shared and shared.gateway) or file.topology.defaults.gateway


def _links(links: list[FileLink], kinds: dict[str, str], pruned: Pruned) -> tuple[list[Link], list[Finding]]:
    findings: list[Finding] = []
    used: dict[End, FileLink] = {}
    good = []
    for index, link in enumerate(links):
        at: At = (*LINKS, index, "endpoints")
        ends = [End(*text.split(":")) for text in link.endpoints]
        wrong = [finding for i, end in enumerate(ends) if (finding := _end(end, (*at, i), kinds, pruned, used))]
        if not wrong:
            wrong = _pair(ends[0], ends[1], at, kinds) or _transport(link, index, ends, kinds)
        findings += wrong
        for end in ends:
            used.setdefault(end, link)
        if not wrong and all(end.node in kinds for end in ends):
            good.append(Link(index, ends[0], ends[1], "tcp" if link.transport == "tcp" else "ipc"))
    return good, findings


def _end(end: End, at: At, kinds: dict[str, str], pruned: Pruned, used: dict[End, FileLink]) -> Finding | None:
    if end.node not in kinds:
        if end.node in pruned.nodes:
            return None
        fix = did_you_mean(
            end.node, kinds, f"add it to nodes:, or use one of {listed(kinds)}" if kinds else "add it to nodes:"
        )
        return Finding(at, f"there is no node {quoted(end.node)}", fix)
    if kinds[end.node] != "switch" and "." in end.port:
        what = f"{end} is a VLAN of a NIC, and a cable goes into the NIC itself"
        return Finding(at, what, f"write {end.node}:{end.port.split('.')[0]}")
    if end in used:
        what = f"port {end} is used twice (by the link {' - '.join(used[end].endpoints)} too)"
        return Finding(at, what, "use a free port, or remove one of the links")
    return None


def _pair(a: End, b: End, at: At, kinds: dict[str, str]) -> list[Finding]:
    if a.node == b.node:
        return [Finding(at, f"this link joins {quoted(a.node)} with itself", "give it an end at another node")]
    both = [kinds[end.node] for end in (a, b) if end.node in kinds]
    if len(both) == 2 and "switch" not in both:
        what = "hosts" if both == ["host", "host"] else "machines"
        return [Finding(at, f"{a.node} and {b.node} are both {what}", "put a switch between them")]
    return []


def _transport(link: FileLink, index: int, ends: list[End], kinds: dict[str, str]) -> list[Finding]:
    """TCP is between our own processes; the others are on this machine."""
    for end in ends if link.transport == "tcp" else ():
        if kinds.get(end.node, "host") not in ("switch", "host"):
            what = f"transport: tcp joins switches and hosts, and {quoted(end.node)} is {WORDS[kinds[end.node]]}"
            return [Finding((*LINKS, index, "transport"), what, "remove transport:", key=True)]
    return []
