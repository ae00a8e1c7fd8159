"""What is pasted for datagram ports: each end is told of the other one, and nothing in a path breaks a command."""

from __future__ import annotations

import shlex
from xml.etree import ElementTree

from tools.plugways import ways

MAC = "02:11:22:33:44:55"


def test_udp_ends_are_crossed() -> None:
    found = ways("s1:eth3", {"kind": "udp", "listen": "127.0.0.1:5000", "connect": "127.0.0.2:5001"}, MAC)
    [_, netdev, _, device] = shlex.split(found["qemu"])
    assert netdev == (
        "dgram,id=s1-eth3,local.type=inet,local.host=127.0.0.2,local.port=5001,"
        "remote.type=inet,remote.host=127.0.0.1,remote.port=5000"
    )
    assert device == f"virtio-net-pci,netdev=s1-eth3,mac={MAC}"
    interface = ElementTree.fromstring(found["libvirt"])
    source = interface.find("source")
    assert source is not None and source.attrib == {"address": "127.0.0.1", "port": "5000"}
    local = source.find("local")
    assert local is not None and local.attrib == {"address": "127.0.0.2", "port": "5001"}
    assert "sport=5001 --nicproperty1 dest=127.0.0.1 --nicproperty1 dport=5000" in found["virtualbox"]
    assert "nio_udp:5001:127.0.0.1:5000" in found["gns3"]


def test_an_address_for_everybody_is_no_address_to_send_to() -> None:
    found = ways("s1:eth3", {"kind": "udp", "listen": "[::]:5000", "connect": "[fd00::2]:5001"}, MAC)
    assert "remote.host=ADDRESS-OF-THIS-MACHINE" in found["qemu"]
    assert "local.host=fd00::2" in found["qemu"]
    assert "AF_INET6" in found["python"]


def test_a_comma_in_a_path_is_doubled_for_qemu() -> None:
    found = ways("s1:eth3", {"kind": "dgram", "path": "/a,b/ours", "peer_path": "/a,b/theirs"}, MAC)
    netdev = shlex.split(found["qemu"])[1]
    assert netdev.endswith("local.path=/a,,b/theirs,remote.type=unix,remote.path=/a,,b/ours")
    assert "'/a,b/theirs'" in found["python"]


def test_vde() -> None:
    found = ways("s1:eth4", {"kind": "vde", "role": "listen", "folder": "/v", "number": 4}, MAC)
    assert "vde,id=s1-eth4,sock=/v,port=4" in found["qemu"]
    assert "vde_plug2tap -s '/v[4]'" in found["vde"]
    assert "/v" in ways("s1:eth4", {"kind": "vde", "role": "plug", "folder": "/v", "number": 0}, MAC)["vde"]


def test_bochs_dials_the_socket_itself_and_takes_a_short_name_only() -> None:
    port = {"kind": "vde", "role": "listen", "folder": "/tmp/v1", "number": 4}
    assert ways("s1:eth4", port, MAC)["bochs"].endswith(", ethmod=vde, ethdev=/tmp/v1/ctl")
    note, line = ways("s1:eth4", {**port, "folder": "/run/user/1000/s1.vde"}, MAC)["bochs"].splitlines()
    assert note.startswith("#") and note.endswith(" /run/user/1000/s1.vde") and line.endswith("ethdev=ctl")
