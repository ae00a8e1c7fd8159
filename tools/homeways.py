"""Where each program plugs in: the one sentence for whoever asks `vfab attach` for a program at a port of another kind.

Knows: the words of `--for`, what each program opens or dials, and what the lab file says to have such a port.
Refuses to know: how the program is told (plugways, tapways, networkways), labs.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Home(NamedTuple):
    """what: the program does; key: the words of the lab file that make the port, "" if no port does."""

    what: str
    key: str


_UDP: Final = 'udp: {listen: "127.0.0.1:5000", connect: "127.0.0.1:5001"}'
_VXLAN: Final = "vxlan: {local: 10.0.0.1, remotes: [10.0.0.2], vnis: {10: 1010}}"
_TAP: Final = "opens a TAP, and a packet port is the other side of that"
HOMES: Final[dict[str, Home]] = {
    "qemu": Home("plugs into a qemu port (or udp, vde, packet)", "qemu: dial"),
    "libvirt": Home("plugs into a qemu port (or udp, vde, packet)", "qemu: dial"),
    "virtualbox": Home("plugs into a udp port (or vde)", _UDP),
    "vmware": Home("plugs into its host-only adapters, which packet ports take from Linux", "packet: vmnet2"),
    "hyperv": Home(
        "plugs into its own switches only, so the lab runs in a Linux guest there with a packet port on one of the"
        " guest's cards (or elsewhere with a vxlan port to that guest)",
        "packet: eth1",
    ),
    "xen": Home("makes an interface in dom0 for each card, which a packet port takes without a bridge", "packet: vif1"),
    "firecracker": Home(_TAP, "packet: tap0"),
    "cloud-hypervisor": Home(_TAP, "packet: tap0"),
    "bochs": Home("plugs into a vde port (or opens a TAP, and a packet port is the other side)", "vde: listen"),
    "hercules": Home(f"{_TAP} (LCS; CTCI carries no Ethernet)", "packet: tap0"),
    "gns3": Home("plugs into a udp port (or opens a TAP, and a packet port is the other side)", _UDP),
    "lxc": Home("is given a tap port's interface (or makes a veth, and a packet port is its other side)", "tap: tap0"),
    "v86": Home("dials a websocket port", 'websocket: "127.0.0.1:8080"'),
    "python": Home("plugs into a free port (or dgram, udp)", "nothing but the VLAN, such as {access: 10},"),
    "vde": Home("plugs into a vde port", "vde: listen"),
    "socat": Home("plugs into a qemu port", "qemu: dial"),
    "kernel": Home("has VXLAN devices, for vxlan ports", _VXLAN),
    "openvswitch": Home("has VXLAN ports, for vxlan ports", _VXLAN),
    "node": Home("dials a websocket port", 'websocket: "127.0.0.1:8080"'),
    "linux": Home("has an interface for each tap port", "tap: tap0"),
    "namespace": Home("plugs into a tap port (or packet)", "tap: listen"),
    "unprivileged": Home("means a TAP that root made", "tap: tap0"),
    "nbd": Home("takes a LUN, not a port (vfab attach LUN)", ""),
}  # fmt: skip


def sentence(port: str, program: str) -> str:
    """port: as s1:eth1; program: a key of HOMES."""
    what, key = HOMES[program]
    cure = f"; write {key} at {port} in the lab file" if key else ""
    return f"{port} cannot be used from {program}, which {what}{cure}"
