"""What to paste where for ports that are the Linux kernel's own: TAPs, and interfaces by name. Pure.

Knows: how each program is told of its end. Refuses to know: labs, whether the program is installed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Ways = dict[str, str]


def ways(name: str, port: dict[str, Any], mac: str) -> Ways:
    """By program. name: of the port, as s1:eth1; port: its configuration; mac: of the card that is put in."""
    return KINDS[port["kind"]](name, port, mac)


def _tap(name: str, port: dict[str, Any], mac: str) -> Ways:
    if "path" in port:
        note = "# a namespace of your own, without privilege; the plug is in while the command (your shell) runs"
        return {"namespace": f"{note}\nunshare -Urn vfab plug --address 10.0.0.5/24 {name}"}
    tap = port["device"]
    return {
        "linux": f"# this machine itself, in the port's VLAN\nip address add 10.0.0.5/24 dev {tap}",
        "namespace": f"ip link set {tap} netns NAMESPACE\nip netns exec NAMESPACE ip link set {tap} up",
        "lxc": f"lxc.net.0.type = phys\nlxc.net.0.link = {tap}\nlxc.net.0.flags = up",
        "unprivileged": f"# as root, once; the switch needs nothing then\nip tuntap add dev {tap} mode tap user USER",
    }


def _packet(name: str, port: dict[str, Any], mac: str) -> Ways:
    """A program that makes or opens a TAP of this name has its other side, and the switch the interface."""
    interface = port["device"]
    netdev = f"tap,id=n0,ifname={interface},script=no,downscript=no"
    made = f"# as root, once: ip tuntap add dev {interface} mode tap user USER; ip link set {interface} up"
    return {
        "namespace": f"ip link add {interface} type veth peer name eth0 netns NAMESPACE\nip link set {interface} up",
        "lxc": f"lxc.net.0.type = veth\nlxc.net.0.veth.pair = {interface}\nlxc.net.0.name = eth0\nlxc.net.0.flags = up",
        "firecracker": f'{made}\n{{"iface_id": "eth0", "guest_mac": "{mac}", "host_dev_name": "{interface}"}}',
        "cloud-hypervisor": f"{made}\n--net tap={interface},mac={mac}",
        "qemu": f"{made}\n-netdev {netdev} -device virtio-net-pci,netdev=n0,mac={mac}",
        "bochs": f"{made}\nne2k: ioaddr=0x300, irq=9, mac={mac}, ethmod=tuntap, ethdev=/dev/net/tun:{interface}",
        "hercules": "0E20.2 LCS -n /dev/net/tun 10.0.0.5  # makes the TAP itself; packet: is its name",
    }


KINDS: dict[str, Callable[[str, dict[str, Any], str], Ways]] = {"tap": _tap, "packet": _packet}
PROGRAMS = ("linux", "namespace", "lxc", "unprivileged", "firecracker", "cloud-hypervisor", "hercules")
