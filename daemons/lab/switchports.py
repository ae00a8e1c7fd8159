"""The ports of a switch: VLAN names -> VIDs, and what a port is that the file says little or nothing about.

Knows: the modes access and trunk, native VLANs, who may be behind a port. Refuses to know: where links lead further on.
"""

from __future__ import annotations

from collections.abc import Mapping

from . import vids
from .lab import End, Link, Port, QemuPeer, Switch, TcpPeer
from .mistake import At, Finding, did_you_mean, listed, quoted
from .model import Node
from .model import Port as FilePort

DEFAULT_VID = 1  # where everybody is whom nobody put elsewhere: IEEE 802.1Q-2022, 9.6


class Vlans:
    """The names of VLANs; looks one up and notes what is not there."""

    def __init__(self, names: Mapping[str, int], gone: frozenset[str], findings: list[Finding]) -> None:
        self._names = names
        self._gone = gone
        self._findings = findings
        owner: dict[int, str] = {}
        for name, vid in names.items():
            if vid in owner:
                what = f"VLANs {quoted(owner[vid])} and {quoted(name)} have the same ID {vid}"
                findings.append(Finding(("vlans", name), what, "give each an ID of its own"))
            owner.setdefault(vid, name)

    def lookup(self, given: int | str, at: At) -> int:
        """The VID for a name or an ID; 0 where there is none (the reason is noted then)."""
        if isinstance(given, int):
            return given
        if given not in self._names and given not in self._gone:
            known = (
                f"add it to vlans:, or use one of {listed(self._names)}"
                if self._names
                else "add it to vlans: with its ID"
            )
            fix = did_you_mean(given, self._names, known)
            self._findings.append(Finding(at, f"there is no VLAN {quoted(given)}", fix))
        return self._names.get(given, 0)

    def note(self, at: At, what: str, fix: str, key: bool = False) -> None:
        self._findings.append(Finding(at, what, fix, key))


def resolve_ports(
    switch: str, node: Node, used: Mapping[End, Link], kinds: Mapping[str, str], vlans: Vlans, findings: list[Finding]
) -> dict[str, Port]:
    """The switch's ports by name: the described ones in the file's order, then those that only links name."""
    linked = [end.port for end in used if end.node == switch]
    ports = {}
    for name in dict.fromkeys([*node.ports, *linked]):
        given = node.ports.get(name) or FilePort()
        at: At = ("topology", "nodes", switch, "ports", name)
        link = used.get(End(switch, name))
        for key in ("qemu", "tcp"):
            if link is not None and getattr(given, key) is not None:
                what = f"port {switch}:{name} has {key}: and is an end of the link {link} too"
                findings.append(Finding((*at, key), what, "remove one of the two", key=True))
        to_switch = given.tcp is not None or (link is not None and kinds.get(link.other(switch).node) == "switch")
        ports[name] = _port(name, given, at, to_switch, vlans)
    return ports


def _port(name: str, given: FilePort, at: At, to_switch: bool, vlans: Vlans) -> Port:
    asked = given.tcp
    qemu = QemuPeer(given.qemu.role, given.qemu.path) if given.qemu else None
    tcp = TcpPeer(asked.listen, asked.connect, asked.peer, asked.port or name) if asked else None
    if given.trunk is not None:
        allowed, native = _trunk(given, at, vlans)
        return Port(name, "trunk", native, allowed, given.priority, qemu, tcp)
    if given.access is None and to_switch:
        return Port(name, "trunk", DEFAULT_VID, vids.ALL, given.priority, qemu, tcp)
    vid = DEFAULT_VID if given.access is None else vlans.lookup(given.access, (*at, "access"))
    return Port(name, "access", vid, frozenset((vid,)) if vid else frozenset(), given.priority, qemu, tcp)


def _trunk(given: FilePort, at: At, vlans: Vlans) -> tuple[frozenset[int], int]:
    if given.priority and given.native in (None, "none"):
        what = "priority: is given to untagged frames, and this trunk takes none"
        vlans.note((*at, "priority"), what, "add native:, or remove priority:", key=True)
    allowed: set[int] = set()
    for i, item in enumerate(given.trunk or ()):
        several = vids.parse_range(item) if isinstance(item, str) else None
        allowed |= several if several is not None else {vlans.lookup(item, (*at, "trunk", i))}
    native = 0 if given.native in (None, "none") else vlans.lookup(given.native or 0, (*at, "native"))
    allowed = (allowed | {native}) - {0}
    return (vids.ALL if len(allowed) == len(vids.ALL) else frozenset(allowed)), native


def clashing_listeners(switches: Mapping[str, Switch]) -> list[Finding]:
    """Two switches cannot listen at one TCP address; two ports of one switch can."""
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
    return found
