"""What was read -> a Topo whose file the loader takes; what it would not take is left out, and said.

Knows: which keys a kind of node has; that an address needs a cable, a router a network, a circle of switches
`loops: block`. Refuses to know: the formats.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from ..mistake import quoted
from ..topo import Topo
from .building import Builder, Interface, Machine, Route
from .report import Report

TRUNK = {"trunk": "all", "native": 1}


def finish(builder: Builder, comment: str) -> Topo:
    """The lab. Raises Unreadable if there is nothing in it."""
    machines = list(builder.machines.values())
    if not machines:
        raise builder.report.unreadable(0, "there is no node in it")
    topo = Topo(builder.name, description=builder.description or None, comment=comment)
    _let_tags_pass(builder, machines)
    for machine in machines:
        if machine.kind == "external" and not machine.ports:
            builder.report.say(machine.line, f"left out: {machine.name} has no link")
        elif machine.kind != "switch" and not machine.ports:
            builder.report.say(machine.line, f"left out: {machine.name} has no link, and a machine here has one")
        else:
            topo.add_node(machine.name, machine.kind, **_keys(machine, builder.report))
    for one, other in builder.cables:
        topo.add_link(one, other)
    if _circle(builder.cables, {machine.name for machine in machines if machine.kind == "switch"}):
        topo.keys["loops"] = "block"
        builder.report.say(0, "switches are joined in a circle: loops: block takes the links out that close one")
    return topo


def _tagged(machines: list[Machine]) -> set[str]:
    """Machines that send tags, or may: those with interfaces such as eth1.10, and whatever we do not know."""
    return {
        machine.name
        for machine in machines
        if machine.kind == "external" or any("." in name for name in machine.interfaces)
    }


def _let_tags_pass(builder: Builder, machines: list[Machine]) -> None:
    """The ports of switches that lead to somebody who sends tags are trunks: a bridge would let them pass."""
    tagged = _tagged(machines)
    switches = {machine.name: machine for machine in machines if machine.kind == "switch"}
    for ends in builder.cables:
        for here, there in (ends, ends[::-1]):
            node, _, port = here.partition(":")
            if node in switches and there.partition(":")[0] in tagged:
                switches[node].settings.setdefault(port, dict(TRUNK))


def _keys(machine: Machine, report: Report) -> dict[str, Any]:
    keys: dict[str, Any] = {"description": machine.description or None}
    if machine.kind == "switch":
        keys["ports"] = machine.settings or None
        return keys
    if machine.kind == "external":
        _say_unused(machine, report)
        return keys
    interfaces = _interfaces(machine, report)
    keys.update(_network(machine, interfaces, report))
    keys["sysctls"] = dict(machine.sysctls) if machine.kind == "netns" and machine.sysctls else None
    if machine.kind == "host" and machine.sysctls:
        report.say(machine.line, f"left out: the sysctls of {machine.name}; userspace hosts have none (--hosts netns)")
    first = interfaces.get("eth0")
    if first is not None and set(first) == {"addresses"}:
        keys["addresses"] = first["addresses"]
        del interfaces["eth0"]
    keys["interfaces"] = interfaces or None
    return keys


def _say_unused(machine: Machine, report: Report) -> None:
    for name, interface in machine.interfaces.items():
        if interface.addresses:
            report.say(
                interface.line, f"left out: addresses of {machine.name} {name[:40]}; it is external", interface.file
            )


def _interfaces(machine: Machine, report: Report) -> dict[str, dict[str, Any]]:
    """Those with a cable, and VLANs of them."""
    made: dict[str, dict[str, Any]] = {}
    for name, interface in machine.interfaces.items():
        nic, dot, vlan = name.partition(".")
        nic = machine.alias.get(nic, nic)
        if nic not in machine.ports:
            if interface.addresses or interface.mac or interface.mtu or dot:
                said = f"left out: {machine.name} {name[:40]}; there is no link at it"
                report.say(interface.line, said, interface.file)
            continue
        keys = _interface(machine, interface, bool(dot), report)
        if keys or dot:
            known = made.setdefault(f"{nic}{dot}{vlan}", {})
            both = [*known.get("addresses", ()), *keys.pop("addresses", ())]
            known.update(keys, **({"addresses": both} if both else {}))
    return made


def _interface(machine: Machine, interface: Interface, is_vlan: bool, report: Report) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    if interface.addresses:
        keys["addresses"] = list(dict.fromkeys(interface.addresses))
    if interface.mac and not is_vlan:
        keys["mac"] = interface.mac
    if interface.mtu and not is_vlan and machine.kind == "netns":
        keys["mtu"] = interface.mtu
    elif interface.mtu:
        report.say(interface.line, f"left out: the MTU of an interface of {machine.name}", interface.file)
    return keys


def _network(machine: Machine, interfaces: dict[str, dict[str, Any]], report: Report) -> dict[str, Any]:
    """gateway: and routes:, as far as they lead somewhere."""
    reached = _Reached(interfaces)
    own = {address.partition("/")[0] for keys in interfaces.values() for address in keys.get("addresses", ())}
    gateway: str | None = None
    routes: dict[str, dict[str, Any]] = {}
    for route in machine.routes:
        dev = _device(machine, route.dev)
        on_link = route.via is None or (route.via not in own and reached.by(dev, route.via))
        default = route.to == "default" or ip_network(route.to).prefixlen == 0
        if not on_link or (dev is not None and dev not in interfaces) or (route.via is None and dev is None):
            _left(route, machine, "it leads to no network of an interface here", report)
        elif default and route.via and gateway is None:
            gateway = route.via
        elif machine.kind == "host":
            _left(route, machine, "userspace hosts have a gateway, and no other routes (--hosts netns)", report)
        elif (default and route.via is None) or (default and gateway and _same(gateway, route.via)):
            _left(route, machine, "one way to everywhere else is there already", report)
        elif route.to in routes:
            _left(route, machine, "there is a route to that network already", report)
        else:
            to = route.to if not default else ("::/0" if ":" in str(route.via) else "0.0.0.0/0")
            routes[to] = {"to": to, **({"via": route.via} if route.via else {}), **({"dev": dev} if dev else {})}
    return {"gateway": gateway, "routes": list(routes.values()) or None}


class _Reached:
    """Whom the addresses of interfaces reach without a router. In sets, because there may be thousands."""

    def __init__(self, interfaces: dict[str, dict[str, Any]]) -> None:
        self._networks: set[tuple[str | None, IPv4Network | IPv6Network]] = set()
        for name, keys in interfaces.items():
            for address in keys.get("addresses", ()):
                network = ip_network(address, strict=False)
                self._networks |= {(name, network), (None, network)}
        self._lengths = {(network.version, network.prefixlen) for _, network in self._networks}

    def by(self, dev: str | None, address: str) -> bool:
        """dev: None for any interface."""
        wanted = ip_address(address)
        make = IPv4Network if wanted.version == 4 else IPv6Network
        return any(
            (dev, make((int(wanted), length), strict=False)) in self._networks
            for version, length in self._lengths
            if version == wanted.version
        )


def _same(one: str, other: str | None) -> bool:
    return other is not None and (":" in one) == (":" in other)


def _device(machine: Machine, dev: str | None) -> str | None:
    if dev is None:
        return None
    nic, dot, vlan = dev.partition(".")
    return f"{machine.alias.get(nic, nic)}{dot}{vlan}"


def _left(route: Route, machine: Machine, why: str, report: Report) -> None:
    way = f" via {route.via}" if route.via else ""
    report.say(route.line, f"left out: {machine.name}'s route to {quoted(route.to)}{way}; {why}", route.file)


def _circle(cables: list[tuple[str, str]], switches: set[str]) -> bool:
    """Whether the links between switches close a circle (union-find)."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while name in parent:
            parent[name] = parent.get(parent[name], parent[name])
            name = parent[name]
        return name

    for one, other in cables:
        a, b = one.partition(":")[0], other.partition(":")[0]
        if a in switches and b in switches:
            a, b = root(a), root(b)
            if a == b:
                return True
            parent[a] = b
    return False
