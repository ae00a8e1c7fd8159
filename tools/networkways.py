"""What to paste where for ports whose peers come over the network: WebSocket, VXLAN. Pure.

Knows: how each program is told of its end of such a port. Refuses to know: labs, whether the program is installed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from netvirt.ports.vxlan_rules import parse_endpoint
from netvirt.ports.websocket_rules import parse_listen, url

Ways = dict[str, str]
PROGRAMS: Final = ("v86", "node", "openvswitch", "hyperv")


def ways(name: str, port: dict[str, Any], mac: str) -> Ways:
    """By program. name: of the port, as s1:eth1; port: its configuration; mac: of the card that is put in."""
    return KINDS[port["kind"]](name, port, mac)


def _websocket(name: str, port: dict[str, Any], mac: str) -> Ways:
    where = url(parse_listen(port["at"], public=True), port["name"])
    page = "the page itself must come from the same address, or its origin be in origins: of the port"
    v86 = (
        f"// {page}",
        "new V86({",
        f'    net_device: {{ type: "ne2k", relay_url: "{where}" }},  // or type: "virtio"',
        "    ...  // bios, disks, and so on",
        "})",
    )
    node = (
        f"// Node.js 22, or a browser: {page}",
        f'const socket = new WebSocket("{where}")',
        'socket.binaryType = "arraybuffer"',
        "socket.onmessage = message => take(new Uint8Array(message.data))  // one message is one frame",
        "socket.onopen = () => socket.send(frame)",
    )
    return {"v86": "\n".join(v86), "node": "\n".join(node)}


def _vxlan(name: str, port: dict[str, Any], mac: str) -> Ways:
    """Linux as a remote: a device for each VNI. Open vSwitch: a port for each."""
    here = parse_endpoint(port["local"])
    there = parse_endpoint(port["remotes"][0])
    linux, ovs = [f"# on {there.host}, as root"], [f"# on {there.host}; vlan_mode and tag are that switch's"]
    for vid, vni in port["vnis"]:
        linux += [
            f"ip link add vxlan{vni} type vxlan id {vni} local {there.host} remote {here.host} dstport {here.port}"
            f"  # VLAN {vid} here",
            f"ip link set vxlan{vni} up",
        ]
        ovs.append(
            f"ovs-vsctl add-port br0 vxlan{vni} tag={vid} -- set interface vxlan{vni} type=vxlan"
            f" options:remote_ip={here.host} options:key={vni} options:dst_port={here.port}"
        )
    if len(port["remotes"]) > 1:
        linux.append(
            "# several ends: leave remote out, and for each:  bridge fdb append 00:00:00:00:00:00 dev DEVICE dst END"
        )
    kernel = "\n".join(linux)
    hyperv = f"# Hyper-V itself speaks no VXLAN to others; a Linux guest of it does\n{kernel}"
    return {"kernel": kernel, "openvswitch": "\n".join(ovs), "hyperv": hyperv}


KINDS: dict[str, Callable[[str, dict[str, Any], str], Ways]] = {"websocket": _websocket, "vxlan": _vxlan}
