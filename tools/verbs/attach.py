"""vfab attach PORT or LUN: how to plug something of yours into a port of the lab, or use a LUN as a disk: exactly what
to paste. It changes nothing.

Knows: the kinds of ports, and how QEMU, libvirt, socat and Python are told of them (of other ports:
tools/plugways.py, tapways.py and networkways.py, where else a program plugs in: homeways.py, of LUNs: lunways.py).
Refuses to know: who pastes it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from daemons.errors import UserError
from netvirt.addr import derived_mac
from tools import homeways, lunways, networkways, plugways, storage, tapways
from tools.errors import BadInput
from tools.labs import KnownLab, choose, desired
from tools.output import paint, print_json

# The option's name has changed twice, and QEMU 7.2 has none: so it is not part of what is pasted.
_REDIAL = (
    "# To outlive a restart of the switch, QEMU must dial again: add ,reconnect-ms=1000 to -netdev (QEMU 9.2 on),"
    "\n# or ,reconnect=1 (8.0 to 9.1); or use role: dial, where the switch does it with any QEMU."
)
_OWNERS = ("hosts", "uplinks", "machines")  # of netnsd's and vmd's configuration
PROGRAMS = tuple(homeways.HOMES)
_KINDS: dict[str, Callable[[str, dict[str, Any], str], dict[str, str]]] = {
    **dict.fromkeys(plugways.KINDS, plugways.ways),
    **dict.fromkeys(tapways.KINDS, tapways.ways),
    **dict.fromkeys(networkways.KINDS, networkways.ways),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "port", metavar="PORT", help="a switch port, such as s1:eth5, an external node, or a LUN, such as lun0"
    )
    parser.add_argument("--for", dest="program", choices=PROGRAMS, help="only what this program needs")


def run(options: argparse.Namespace) -> int:
    lab = choose(options.lab)
    if ":" not in options.port and storage.pools(lab) and storage.find_lun(lab, options.port) is not None:
        return _lun(options, lab)
    options.port = _cable(lab, options.port)
    if ":" not in options.port and storage.pools(lab):
        return _lun(options, lab)
    config, port = find_port(lab, options.port)
    if port["kind"] == "dial":
        raise UserError(
            f"{options.port} dials {port['peer'] or port['endpoint']}; give what you attach a port of its own"
        )
    if _taken(lab, port):
        raise UserError(f"{options.port} has {port['peer']} of this lab in it; give what you attach a port of its own")
    found = ways(options.port, config, port, derived_mac(lab.id, *options.port.split(":")))
    if options.program is not None and options.program not in found:
        raise UserError(homeways.sentence(options.port, options.program))
    found = {name: text for name, text in found.items() if options.program in (None, name)}
    if options.json:
        print_json({"port": options.port, "lab": lab.id, "peer": port["peer"], "for": found})
        return 0
    print("\n\n".join(f"{paint(f'{name}:', 'bold')}\n{text}" for name, text in found.items()))
    if port["kind"] == "listen" and port["peer"]:
        print(f"\nNote: this port is meant for {port['peer']}; whoever comes second is refused.")
    return 0


def _cable(lab: KnownLab, text: str) -> str:
    """The port of a switch that a node (ext1) or its card (ext1:eth0) is to be plugged into; else what was said.

    Raises BadInput where a node has several.
    """
    switches = {name: want.config for name, want in desired(lab).items() if want.kind == "switchd"}
    if text.partition(":")[0] in switches:
        return text
    rows = [(f"{name}:{port['name']}", str(port["peer"])) for name in switches for port in switches[name]["ports"]]
    ends = [where for where, peer in rows if text in (peer, peer.partition(":")[0])]
    if len(ends) > 1:
        raise BadInput(f"{text} has several cables; say which port: {', '.join(ends)}")
    return ends[0] if ends else text


def _lun(options: argparse.Namespace, lab: KnownLab) -> int:
    found = storage.find_lun(lab, options.port)
    if found is None:
        names = ", ".join(lun["name"] for config in storage.pools(lab).values() for lun in config["luns"]) or "none"
        raise UserError(
            f"lab {lab.name} has no LUN {options.port!r}; its LUNs are: {names} (a port is written SWITCH:PORT)"
        )
    pool, lun = found
    found_ways = lunways.ways(lun)
    if options.program is not None and options.program not in found_ways:
        raise UserError(f"a LUN cannot be used from {options.program}; it can from: {', '.join(found_ways)}")
    found_ways = {name: text for name, text in found_ways.items() if options.program in (None, name)}
    if options.json:
        print_json({"lun": options.port, "pool": pool, "lab": lab.id, "for": found_ways})
        return 0
    print("\n\n".join(f"{paint(f'{name}:', 'bold')}\n{text}" for name, text in found_ways.items()))
    return 0


def _taken(lab: KnownLab, port: dict[str, Any]) -> bool:
    """Whether a namespace, an uplink or a virtual machine of the lab meets the port at its socket."""
    owners = (owner for want in desired(lab).values() for key in _OWNERS for owner in want.config.get(key, ()))
    return "path" in port and any(nic.get("path") == port["path"] for owner in owners for nic in owner["nics"])


def find_port(lab: KnownLab, text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the switch's configuration, the port in it). Raises UserError with what there is instead."""
    node, colon, name = text.partition(":")
    if not colon:
        raise BadInput(f"{text!r} is no port; write SWITCH:PORT, such as s1:eth5")
    switches = {switch: want.config for switch, want in desired(lab).items() if want.kind == "switchd"}
    if node not in switches:
        raise UserError(f"lab {lab.name} has no switch {node!r}; its switches are: {', '.join(switches) or 'none'}")
    ports = {port["name"]: port for port in switches[node]["ports"]}
    if name not in ports:
        raise UserError(f"switch {node} has no port {name!r}; its ports are: {', '.join(ports) or 'none'}")
    return switches[node], ports[name]


def ways(name: str, config: dict[str, Any], port: dict[str, Any], mac: str) -> dict[str, str]:
    """By program, what to paste. name: as s1:eth1; config: of its switch; mac: of the card that is put in."""
    if port["kind"] in _KINDS:
        return _KINDS[port["kind"]](name, port, mac)
    return _qemu_ways(name, port, mac) if port["kind"] == "qemu" else _nic_ways(config, port)


def _qemu_ways(name: str, port: dict[str, Any], mac: str) -> dict[str, str]:
    """A stream netdev is a unix socket with a 32-bit length before each frame (QEMU 7.2 and later).

    The MAC address is part of it: QEMU gives the first card of every guest the same one.
    """
    card = plugways.card_id(name, port)
    # The switch dials: so QEMU is the server; and the other way round.
    server = "on" if port["role"] == "dial" else "off"
    path = plugways.qemu_value(port["path"])
    netdev = f"stream,id={card},server={server},addr.type=unix,addr.path={path}"
    device = f"virtio-net-pci,netdev={card},mac={mac}"
    libvirt = plugways.libvirt_arguments("stream sockets", netdev, device, *plugways.monitor(port))
    qemu = plugways.with_monitor(f'-netdev "{netdev}" -device {device}', port)
    note = "" if server == "on" else f"\n{_REDIAL}"
    kind = "UNIX-LISTEN" if server == "on" else "UNIX-CONNECT"
    wire = "# on the wire: the length of each frame (4 bytes, big-endian), then the frame"
    socat = f"socat {kind}:{port['path']} SYSTEM:YOUR-PROGRAM\n{wire}"
    return {"qemu": f"{qemu}{note}", "libvirt": libvirt, "socat": socat}


def _nic_ways(config: dict[str, Any], port: dict[str, Any]) -> dict[str, str]:
    endpoint = f"{config['listen'][0]['endpoint']}#{port['name']}"
    lines = (
        "from netvirt import Nic",
        "",
        f"nic = Nic.connect({endpoint!r})",
        "nic.send(frame)  # bytes, from the destination address on",
        "answer = nic.receive(timeout=1.0)  # None if nothing came",
        "nic.close()",
    )
    return {"python": "\n".join(lines)}
