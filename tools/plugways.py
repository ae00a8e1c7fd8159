"""What to paste where for ports whose frames are datagrams: UDP, QEMU's dgram, VDE. Pure.

Knows: how each program is told of its end of such a port. Refuses to know: labs, whether the program is installed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from xml.sax.saxutils import quoteattr

Ways = dict[str, str]
_HERE = "ADDRESS-OF-THIS-MACHINE"
_BOCHS_LONGEST = 15
_WILDCARDS = ("0.0.0.0", "::")


def ways(name: str, port: dict[str, Any], mac: str) -> Ways:
    """By program. name: of the port; port: its configuration; mac: of the card that is put in."""
    return KINDS[port["kind"]](card_id(name, port), port, mac)


def card_id(name: str, port: dict[str, Any]) -> str:
    """The id of QEMU's netdev, by which the switch asks for it where there is a monitor."""
    return str(port.get("netdev") or name.replace(":", "-"))


def monitor(port: dict[str, Any]) -> tuple[str, ...]:
    """QEMU's arguments for a port whose guest is told of its cable; of the others none."""
    return ("-qmp", f"unix:{qemu_value(port['qmp'])},server=on,wait=off") if "qmp" in port else ()


def with_monitor(line: str, port: dict[str, Any]) -> str:
    """A line of QEMU's arguments for a shell, and those of `monitor`."""
    return " ".join((line, *(f'"{word}"' if ":" in word else word for word in monitor(port))))


def qemu_value(value: str) -> str:
    return value.replace(",", ",,")  # a comma ends a QEMU option's value unless it is doubled


def _device(card: str, mac: str) -> str:
    return f"virtio-net-pci,netdev={card},mac={mac}"


def _qemu(netdev: str, card: str, mac: str) -> str:
    return f'-netdev "{netdev}" -device {_device(card, mac)}'


def libvirt_arguments(what: str, netdev: str, device: str, *more: str) -> str:
    """The values of QEMU's -netdev and -device as they are, because libvirt has no element for `what`."""
    values = ("-netdev", netdev, "-device", device, *more)
    arguments = "\n".join(f"    <qemu:arg value={quoteattr(value)}/>" for value in values)
    return (
        f"<!-- libvirt has no element for {what}: these arguments go to QEMU as they are.\n"
        "     The domain element needs its namespace: <domain type='...' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>\n"
        "     and QEMU must run as you (qemu:///session), because the socket's folder is yours alone. -->\n"
        f"<qemu:commandline>\n{arguments}\n</qemu:commandline>"
    )


def _split(address: str) -> tuple[str, str]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), port


def _dgram(card: str, port: dict[str, Any], mac: str) -> Ways:
    local, remote = qemu_value(port["peer_path"]), qemu_value(port["path"])
    netdev = f"dgram,id={card},local.type=unix,local.path={local},remote.type=unix,remote.path={remote}"
    python = (
        "import os, socket",
        "",
        f"if os.path.exists({port['peer_path']!r}):",
        f"    os.unlink({port['peer_path']!r})",
        "frames = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)",
        f"frames.bind({port['peer_path']!r})",
        f"frames.connect({port['path']!r})",
        "frames.send(frame)  # bytes, from the destination address on; one datagram is one frame",
    )
    return {
        "qemu": with_monitor(_qemu(netdev, card, mac), port),
        "libvirt": libvirt_arguments("datagram sockets", netdev, _device(card, mac), *monitor(port)),
        "python": "\n".join(python),
    }


def _udp(card: str, port: dict[str, Any], mac: str) -> Ways:
    (here, our), (there, their) = _split(port["listen"]), _split(port["connect"])
    here = _HERE if here in _WILDCARDS else here
    netdev = (
        f"dgram,id={card},local.type=inet,local.host={there},local.port={their},"
        f"remote.type=inet,remote.host={here},remote.port={our}"
    )
    libvirt = (
        f"<interface type='udp'>\n  <mac address='{mac}'/>\n  <source address={quoteattr(here)} port='{our}'>\n"
        f"    <local address={quoteattr(there)} port='{their}'/>\n  </source>\n  <model type='virtio'/>\n</interface>"
    )
    virtualbox = (
        "VBoxManage modifyvm YOUR-VM --nic1 generic --nicgenericdrv1 UDPTunnel \\\n"
        f"  --nicproperty1 sport={their} --nicproperty1 dest={here} --nicproperty1 dport={our} \\\n"
        f"  --macaddress1 {mac.replace(':', '')}"
    )
    gns3 = (
        f"# a Cloud node, tab UDP tunnels: local port {their}, remote host {here}, remote port {our}\n"
        f"# dynamips: nio_udp:{their}:{here}:{our}"
    )
    family = "AF_INET6" if ":" in there else "AF_INET"
    python = (
        "import socket",
        "",
        f"frames = socket.socket(socket.{family}, socket.SOCK_DGRAM)",
        f"frames.bind(({there!r}, {their}))",
        f"frames.connect(({here!r}, {our}))",
        "frames.send(frame)  # bytes, from the destination address on; one datagram is one frame",
    )
    return {
        "qemu": _qemu(netdev, card, mac),
        "libvirt": libvirt,
        "virtualbox": virtualbox,
        "gns3": gns3,
        "python": "\n".join(python),
    }


def _bochs(folder: str, mac: str) -> str:
    """Its ethdev is the socket itself, and is copied into 16 bytes (eth_vde.cc): so it is one with a short name."""
    socket, note = f"{folder}/ctl", ""
    if len(socket) > _BOCHS_LONGEST:
        note = f"# Bochs takes {_BOCHS_LONGEST} characters of a socket's path: so start it in  {folder}\n"
        socket = "ctl"
    return f"{note}ne2k: ioaddr=0x300, irq=9, mac={mac}, ethmod=vde, ethdev={socket}"


def _vde(card: str, port: dict[str, Any], mac: str) -> Ways:
    folder, number = port["folder"], port["number"]
    if port["role"] == "plug":
        said = f"# the port is a plug in a vde_switch itself: plug in there, at {folder}"
        return {"vde": said}
    vde = (
        f"# a program's standard input and output:  vde_plug '{folder}[{number}]'\n"
        f"# a network interface of this machine:    vde_plug2tap -s '{folder}[{number}]' tap0\n"
        f"# without [{number}]: any free port of the folder"
    )
    virtualbox = (
        f"VBoxManage modifyvm YOUR-VM --nic1 generic --nicgenericdrv1 VDE --nicproperty1 network={folder} \\\n"
        f"  --macaddress1 {mac.replace(':', '')}"
    )
    netdev = f"vde,id={card},sock={qemu_value(folder)},port={number}"
    return {
        "vde": vde,
        "qemu": _qemu(netdev, card, mac),
        "libvirt": libvirt_arguments("VDE", netdev, _device(card, mac)),
        "virtualbox": virtualbox,
        "bochs": _bochs(folder, mac),
    }


KINDS: dict[str, Callable[[str, dict[str, Any], str], Ways]] = {"dgram": _dgram, "udp": _udp, "vde": _vde}
