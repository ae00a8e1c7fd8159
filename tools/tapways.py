"""What to paste where for ports that are the Linux kernel's own: TAPs, and interfaces by name. Pure.

Knows: how each program is told of its end. Refuses to know: labs, whether the program is installed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final
from xml.sax.saxutils import quoteattr

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


def _vmware(interface: str) -> Ways:
    """Workstation and Player on Linux: the adapter of each virtual network is an interface that hears all of it."""
    vmx = (
        "# in the .vmx file, the machine switched off; vmware-netcfg makes the network (host-only, no DHCP)",
        'ethernet0.present = "TRUE"',
        'ethernet0.connectionType = "custom"',
        f'ethernet0.vnet = "/dev/{interface}"',
        'ethernet0.addressType = "generated"',
    )
    return {"vmware": "\n".join(vmx)}


def _hyperv(interface: str, mac: str) -> str:
    """Windows has no interface that we could open: so a guest with Linux is between, and its card the port.

    Without MacAddressSpoofing Hyper-V's switch drops what that card sends in the name of others.
    """
    lines = (
        f"# PowerShell on Windows; the lab runs in the Linux guest LAB, where the card that is added is {interface}",
        "New-VMSwitch -Name virtfab -SwitchType Private",
        "Add-VMNetworkAdapter -VMName LAB -SwitchName virtfab -Name port",
        "Set-VMNetworkAdapter -VMName LAB -Name port -MacAddressSpoofing On",
        f"Add-VMNetworkAdapter -VMName YOUR-VM -SwitchName virtfab -StaticMacAddress {mac.replace(':', '')}",
        "# for a trunk port:",
        "#   Set-VMNetworkAdapterVlan -VMName LAB -VMNetworkAdapterName port"
        " -Trunk -AllowedVlanIdList 1-4094 -NativeVlanId 0",
        "#   Set-VMNetworkAdapterVlan -VMName YOUR-VM -Access -VlanId 10",
    )
    return "\n".join(lines)


def _xen(interface: str, mac: str) -> str:
    """xl waits until a script says `success`, and the usual one puts the interface into a bridge: so one of our own."""
    lines = (
        "# /etc/xen/scripts/vif-virtfab in dom0, executable: no bridge",
        "#   #!/bin/bash",
        '#   . "$(dirname "$0")/vif-common.sh"',
        '#   if [ "$command" = online ]; then ip link set "$vif" up; success; fi',
        f"vif = ['mac={mac},vifname={interface},script=vif-virtfab']",
    )
    return "\n".join(lines)


def _libvirt(interface: str, mac: str) -> str:
    return (
        "<!-- as root, once: ip tuntap add dev NAME mode tap user USER; ip link set NAME up -->\n"
        f"<interface type='ethernet'>\n  <mac address='{mac}'/>\n  <target dev={quoteattr(interface)} managed='no'/>\n"
        "  <model type='virtio'/>\n</interface>"
    )


def _packet(name: str, port: dict[str, Any], mac: str) -> Ways:
    """A program that makes or opens a TAP of this name has its other side, and the switch the interface."""
    interface = port["device"]
    if interface.startswith("vmnet"):  # so VMware names its adapters, and nothing else can plug in there
        return _vmware(interface)
    netdev = f"tap,id=n0,ifname={interface},script=no,downscript=no"
    made = f"# as root, once: ip tuntap add dev {interface} mode tap user USER; ip link set {interface} up"
    body = json.dumps({"iface_id": "eth0", "guest_mac": mac, "host_dev_name": interface})
    return {
        "namespace": f"ip link add {interface} type veth peer name eth0 netns NAMESPACE\nip link set {interface} up",
        "lxc": f"lxc.net.0.type = veth\nlxc.net.0.veth.pair = {interface}\nlxc.net.0.name = eth0\nlxc.net.0.flags = up",
        "firecracker": f"{made}\n# PUT /network-interfaces/eth0, or network-interfaces in --config-file\n{body}",
        "cloud-hypervisor": f"{made}\n--net tap={interface},mac={mac}",
        "qemu": f"{made}\n-netdev {netdev} -device virtio-net-pci,netdev=n0,mac={mac}",
        "libvirt": _libvirt(interface, mac),
        "xen": _xen(interface, mac),
        "hyperv": _hyperv(interface, mac),
        "bochs": f"{made}\nne2k: ioaddr=0x300, irq=9, mac={mac}, ethmod=tuntap, ethdev=/dev/net/tun:{interface}",
        "gns3": f"{made}\n# a Cloud node, tab TAP interfaces: {interface}",
        "hercules": (
            f"# Hercules makes the TAP and says its name (tap0, if that is free), which packet: of the port must be,"
            f" now {interface}\n# at the end the guest's address: Hercules gives it what is for that, and else nothing"
            "\n0E20.2 LCS -n /dev/net/tun 10.0.0.5"
        ),
    }


KINDS: Final[dict[str, Callable[[str, dict[str, Any], str], Ways]]] = {"tap": _tap, "packet": _packet}
PROGRAMS: Final = (
    "linux", "namespace", "lxc", "unprivileged", "firecracker", "cloud-hypervisor", "hercules", "libvirt", "xen",
    "hyperv", "gns3", "vmware",
)  # fmt: skip
