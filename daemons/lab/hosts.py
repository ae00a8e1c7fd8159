"""The NICs and interfaces of a host: which there are, their VLANs, addresses and gateways.

Knows: `eth0` is a NIC and `eth0.7` its VLAN 7, tagged. Refuses to know: switches and what is at the far end.
"""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from netvirt.addr import derived_mac

from . import vids
from .lab import Host, Interface, Nic
from .mistake import At, Finding, listed, quoted
from .model import Interface as FileInterface
from .model import Node

FIRST_NIC = "eth0"


def resolve_host(
    lab: str, name: str, node: Node, linked: set[str], whole: bool, default_gateway: str | None, findings: list[Finding]
) -> Host:
    """The host; `linked` are its NICs with a cable, `whole` says that this set is complete."""
    at: At = ("topology", "nodes", name)
    given = _given(node, at, findings)
    parts = {interface: interface.partition(".") for interface in given}
    macs = {nic: given[nic].mac for nic, dot, _ in parts.values() if not dot}
    made: dict[str, list[Interface]] = {}
    for key, (nic, dot, vlan) in parts.items():
        place = (*at, "interfaces", key)
        interface = _interface(key, given[key], vlan if dot else "0", place, findings)
        if interface is None:
            continue
        made.setdefault(nic, []).append(interface)
        if whole and linked and nic not in linked and key in node.interfaces:
            what = f"no cable goes into {quoted(nic)} of {quoted(name)}"
            findings.append(
                Finding(place, what, f"add a link with {name}:{nic}, or use one of {listed(sorted(linked))}", True)
            )
    if whole and linked and FIRST_NIC not in linked and (node.addresses or node.mac):
        key = "addresses" if node.addresses else "mac"
        what = f"{key}: is about {FIRST_NIC}, and no cable goes into {FIRST_NIC} of {quoted(name)}"
        findings.append(
            Finding(
                (*at, key), what, f"link {name}:{FIRST_NIC}, or describe {listed(sorted(linked))} in interfaces:", True
            )
        )
    for nic in sorted(linked - set(made)):
        made[nic] = [Interface(nic, 0, 0, (), None)]
    _node_gateway(node.gateway, default_gateway, made, at, findings)
    nics = {nic: Nic(nic, macs.get(nic) or derived_mac(lab, name, nic), tuple(made[nic])) for nic in made}
    return Host(name, nics)


def _given(node: Node, at: At, findings: list[Finding]) -> dict[str, FileInterface]:
    """The described interfaces; a node's own `addresses` and `mac` are short for those of eth0."""
    given = {key: interface or FileInterface() for key, interface in node.interfaces.items()}
    own = {"addresses": node.addresses, "mac": node.mac}
    short = [key for key, value in own.items() if value]
    if FIRST_NIC in given and short:
        what = f"{FIRST_NIC} is described in interfaces: and by {short[0]}: of the node"
        findings.append(Finding((*at, short[0]), what, "keep one of the two", key=True))
    elif short or not given:
        first = FileInterface(addresses=node.addresses, mac=node.mac)
        given = {FIRST_NIC: first, **given}
    return given


def _interface(name: str, given: FileInterface, vlan: str, at: At, findings: list[Finding]) -> Interface | None:
    if (
        not vlan.isdecimal()
        or len(vlan) > 4
        or (vlan != "0" and not vids.is_vid(int(vlan)))
        or (vlan == "0" and "." in name)
    ):
        what = f"{quoted(name)} is neither a NIC nor a VLAN of one"
        findings.append(Finding(at, what, "write eth0, or eth0. and a VLAN ID from 1 to 4094", key=True))
        return None
    if vlan != "0" and given.mac is not None:
        fix = f"move it to {name.split('.')[0]}:"
        findings.append(Finding((*at, "mac"), "a VLAN has the MAC address of its NIC", fix, key=True))
    if vlan == "0" and given.priority:
        fix = f"use a VLAN such as {name}.7, or priority: of the switch's port"
        findings.append(
            Finding((*at, "priority"), "priority: needs a tag, and this interface sends none", fix, key=True)
        )
    addresses = tuple(ipaddress.ip_interface(text) for text in given.addresses)
    made = Interface(name, int(vlan), given.priority if vlan != "0" else 0, addresses, None)
    if given.gateway is not None:
        if not _serves(made, given.gateway):
            what = f"gateway {quoted(given.gateway)} is in no network of {quoted(name)}"
            findings.append(Finding((*at, "gateway"), what, _networks(made)))
        made = replace(made, gateway=given.gateway)
    return made


def _serves(interface: Interface, gateway: str) -> bool:
    ip = ipaddress.ip_address(gateway)
    return any(ip in address.network and ip != address.ip for address in interface.addresses)


def _networks(interface: Interface) -> str:
    if not interface.addresses:
        return "give the interface addresses first"
    return f"use another address in {listed(str(address.network) for address in interface.addresses)}"


def _node_gateway(
    own: str | None, default: str | None, made: dict[str, list[Interface]], at: At, findings: list[Finding]
) -> None:
    """The node's own gateway must fit one of its interfaces; one from kinds or defaults is used where it fits."""
    gateway = own or default
    if gateway is None:
        return
    fits = False
    for interfaces in made.values():
        for i, interface in enumerate(interfaces):
            if interface.gateway is None and _serves(interface, gateway):
                interfaces[i] = replace(interface, gateway=gateway)
                fits = True
    if own is not None and not fits:
        what = f"gateway {quoted(own)} is in no network of this host"
        findings.append(Finding((*at, "gateway"), what, "use another address in one of the host's networks"))
