"""The ports of a switch: settings, who is behind them, and what a port is of which the file says nothing.

Knows: links and peers of ports. Refuses to know: what the keys of a port mean (`port_settings`), where links lead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from netvirt.settings import VlanSettings

from .lab import End, Link, Port, QemuPeer, Switch, TcpPeer
from .mistake import At, Finding, quoted
from .model import Node
from .monitors import monitor, shared
from .network_plugs import network_plug
from .plugs import Plug, clashing, plug_of
from .port_model import PEERS
from .port_model import Port as FilePort
from .port_settings import Vlans, settings
from .ways import ways


def port_names(switch: str, node: Node, used: Iterable[End]) -> list[str]:
    """The described ones in the file's order, then those that only links name."""
    return list(dict.fromkeys([*node.ports, *(end.port for end in used if end.node == switch)]))


def resolve_ports(
    switch: str,
    node: Node,
    used: Mapping[End, Link],
    kinds: Mapping[str, str],
    vlans: Vlans,
    findings: list[Finding],
    whole: VlanSettings | None,
    targets: frozenset[str],
) -> dict[str, Port]:
    """The switch's ports by name. whole: its VLANs, None if they are wrong; targets: destinations of its mirrors."""
    ports = {}
    for index, name in enumerate(port_names(switch, node, used), 1):
        given = node.ports.get(name) or FilePort()
        at: At = ("topology", "nodes", switch, "ports", name)
        link = used.get(End(switch, name))
        for key in PEERS:
            # Who is external plugs in by himself, in whatever the port is.
            if link is None or kinds.get(link.other(switch).node) == "external":
                break
            if getattr(given, key) is not None:
                what = f"port {switch}:{name} has {key}: and is an end of the link {link} too"
                findings.append(Finding((*at, key), what, "remove one of the two", key=True))
        to_switch = given.tcp is not None or (link is not None and kinds.get(link.other(switch).node) == "switch")
        made = settings(given, at, to_switch, vlans, whole)
        ports[name] = Port(
            name,
            made,
            ways(made, whole or VlanSettings(), name in targets),
            *_peers(given, switch, name, index, network_plug(given, made, vlans, at)),
            monitor(given.qemu, switch, name),
        )
    return ports


def _peers(
    given: FilePort, switch: str, name: str, index: int, network: Plug | None
) -> tuple[QemuPeer | None, TcpPeer | None, Plug | None]:
    """At most one of them."""
    asked, plug = given.tcp, network or plug_of(given, switch, name, index)
    qemu = QemuPeer(given.qemu.role, given.qemu.path) if given.qemu and plug is None else None
    return qemu, TcpPeer(asked.listen, asked.connect, asked.peer, asked.port or name) if asked else None, plug


def clashing_listeners(switches: Mapping[str, Switch]) -> list[Finding]:
    """Two switches cannot listen at one TCP address, two ports of one switch can; and what holds for other plugs."""
    owner: dict[str, str] = {}
    found = []
    for switch in switches.values():
        for port in switch.ports.values():
            if port.tcp is None or port.tcp.listen is None:
                continue
            first = owner.setdefault(port.tcp.listen, switch.name)
            if first != switch.name:
                at: At = ("topology", "nodes", switch.name, "ports", port.name, "tcp", "listen")
                what = f"{quoted(port.tcp.listen)} is taken by {quoted(first)} already"
                found.append(Finding(at, what, "use another TCP port"))
    plugs = {(s.name, p.name): p.plug for s in switches.values() for p in s.ports.values() if p.plug is not None}
    return [*found, *clashing(plugs), *shared(switches)]
