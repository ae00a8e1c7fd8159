"""Kathará's lab.conf and the .startup files beside it: machines, collision domains, and the commands that are plain."""

from __future__ import annotations

from typing import Any

import pytest

from daemons.lab import loader
from daemons.lab.imports import kathara
from daemons.lab.imports.reading import Imported, format_of, read
from daemons.lab.imports.report import Unreadable
from daemons.lab.lab import Lab

CONF = """\
LAB_NAME="Two routers"
LAB_DESCRIPTION='static routes'
LAB_AUTHOR="R. T."

# the first router
r1[0]="A"
r1[1]="B/02:00:00:00:00:0b"   # with a MAC address
r1[image]="kathara/frr"
r1[sysctl]="net.ipv4.ip_forward=1"
pc1[0]=A
pc2[0]='B'
pc2[bridged]=true
pc3[1]="r1"
pc3[exec]="ip addr add 10.9.9.9/24 dev eth1"
nonsense here
pc3[x y]=z
pc3[1000]=Q
"""
STARTUPS = {
    "shared": "sysctl -w net.ipv4.conf.all.rp_filter=0\n",
    "r1": "#!/bin/bash\n"
    "ip address add 195.11.14.1/24 dev eth0\n"
    "ifconfig eth1 100.0.0.9/30 up\n"
    "echo 1 > /proc/sys/net/ipv4/ip_forward\n"
    "/etc/init.d/frr start\n"
    "route add -net 200.1.1.0 netmask 255.255.255.0 gw 100.0.0.10 dev eth1\n",
    "pc1": "ifconfig eth0 195.11.14.5 netmask 255.255.255.0 broadcast 195.11.14.255 up\n"
    "route add default gw 195.11.14.1 dev eth0\n",
    "pc2": "ifconfig eth0 100.0.0.10 netmask 255.255.255.252 up\nip route add 0.0.0.0/0 via 100.0.0.9\n",
}


def imported(**options: Any) -> tuple[Imported, Lab]:
    found = read(CONF, "lab/lab.conf", startups=STARTUPS, **options)
    return found, loader.parse(found.topo.to_yaml()).lab


def test_machines_are_joined_by_switches() -> None:
    _, lab = imported()
    assert lab.name == "Two-routers" and lab.description == "static routes"
    assert list(lab.switches) == ["A", "B", "r1-2"] and {host.kind for host in lab.hosts.values()} == {"netns"}
    ends = {(str(nic), port.node) for _, nic, port in lab.nic_links()}
    assert ends == {("r1:eth0", "A"), ("r1:eth1", "B"), ("pc1:eth0", "A"), ("pc2:eth0", "B"), ("pc3:eth1", "r1-2")}
    assert lab.hosts["r1"].nics["eth1"].mac == "02:00:00:00:00:0b"
    assert all(not port.trunk for switch in lab.switches.values() for port in switch.ports.values())


def test_plain_commands_are_carried_over() -> None:
    nodes = imported()[0].topo.nodes
    shared = {"net.ipv4.conf.all.rp_filter": "0"}
    assert nodes["r1"]["addresses"] == ["195.11.14.1/24"] and nodes["r1"]["interfaces"]["eth1"]["addresses"] == [
        "100.0.0.9/30"
    ]  # fmt: skip
    assert nodes["r1"]["routes"] == [{"to": "200.1.1.0/24", "via": "100.0.0.10", "dev": "eth1"}]
    assert nodes["r1"]["sysctls"] == {"net.ipv4.ip_forward": "1", **shared}
    assert nodes["pc1"] == {
        "kind": "netns", "gateway": "195.11.14.1", "addresses": ["195.11.14.5/24"], "sysctls": shared
    }  # fmt: skip
    assert nodes["pc2"]["gateway"] == "100.0.0.9" and nodes["pc3"]["interfaces"]["eth1"]["addresses"] == ["10.9.9.9/24"]


def test_everything_else_is_reported_with_its_place() -> None:
    lines = imported()[0].report.lines()
    assert [line.partition(": ")[0] for line in lines] == [
        "lab/lab.conf:1", "lab/lab.conf:3", "lab/lab.conf:8", "lab/lab.conf:12", "lab/lab.conf:13", "lab/lab.conf:15",
        "lab/lab.conf:16", "lab/lab.conf:17", "r1.startup:5",
    ]  # fmt: skip
    for line, words in zip(
        lines,
        ("is called Two-routers now", "LAB_AUTHOR", "r1[image]='kathara/frr'; no container",
        "add a node of kind: uplink",
         "node 'r1' is called r1-2 now", "'nonsense here'", "'pc3[x y]=z'", "interface '1000' of pc3",
         "'/etc/init.d/frr start': only ip, "),
        strict=True,
    ):  # fmt: skip
        assert words in line


def test_userspace_hosts() -> None:
    found, lab = imported(hosts="userspace")
    assert {host.kind for host in lab.hosts.values()} == {"host"}
    assert "userspace hosts have a gateway, and no other routes" in "\n".join(found.report.lines())


@pytest.mark.parametrize(
    ("command", "keys"),
    [
        ("ip a a 10.0.0.1/24 dev eth0", {"addresses": ["10.0.0.1/24"]}),
        ("/sbin/ip addr add 10.0.0.1/24 brd + dev eth0 scope global", {"addresses": ["10.0.0.1/24"]}),
        ("sudo ip addr add local 10.0.0.1/24 dev eth0 # mine", {"addresses": ["10.0.0.1/24"]}),
        ("ip addr add 10.0.0.1 dev eth0", {"addresses": ["10.0.0.1/32"]}),
        ("ip addr add dev eth0 10.0.0.1/24", {"addresses": ["10.0.0.1/24"]}),
        ("ifconfig eth0 10.0.0.1", {"addresses": ["10.0.0.1/8"]}),
        ("ifconfig eth0 172.16.0.1 up mtu 1400", {"addresses": ["172.16.0.1/16"], "mtu": 1400}),
        ("ifconfig eth0 inet6 add fd00::1/64", {"addresses": ["fd00::1/64"]}),
        ("ifconfig eth0 hw ether 02:00:00:00:00:07", {"mac": "02:00:00:00:00:07"}),
        ("ip link set eth0 mtu 1400", {"mtu": 1400}),
        ("ip link set eth0 up; ip addr add 10.0.0.1/24 dev eth0", {"addresses": ["10.0.0.1/24"]}),
    ],
)
def test_forms_of_commands(command: str, keys: dict[str, Any]) -> None:
    found = read("a[0]=X\na[exec]=" + repr(command) + "\n", "lab.conf")
    assert found.report.notes == []
    node = found.topo.nodes["a"]
    assert {**node.get("interfaces", {}).get("eth0", {}), **{k: node[k] for k in ("addresses",) if k in node}} == keys
    loader.parse(found.topo.to_yaml())


@pytest.mark.parametrize(
    "command",
    [
        "ip addr add 10.0.0.0/24 dev eth0", "ip addr add 224.0.0.1/24 dev eth0", "ip addr add 10.0.0.1/24 dev $X",
        "ip addr add 10.0.0.1/99 dev eth0", "ip addr add 10.0.0.1/24", "ip link set eth0 mtu 1",
        "ip link set eth0 netns 3",
        "ip link set eth0 address 01:00:00:00:00:00", "ip link add br0 type bridge",
        "ip route add 10.0.0.0/8 via fd00::1",
        "ip addr add 10.0.0.1/24 dev eth0 | cat", "ifconfig eth0 x.y", "ifconfig", "route add", "route del default",
        "sysctl -p", "sysctl -w kernel.x=1", "echo x > /etc/passwd", "ip addr add `id` dev eth0", "ip", "ip -6",
        "\u0661",
        "ip addr add 10.0.0.1/24 dev ../../etc", "echo 1 > /proc/sys/net/../kernel/x",
        "sleep 1 & ip link set eth0 up",
        "ip link add link eth0 name eth0.9 type vlan id 9999", "ifconfig eth0 1.2.3.4 netmask 255.0.255.0",
        "while true",
    ],
)  # fmt: skip
def test_what_is_not_plain_is_said_and_nothing_else(command: str) -> None:
    quote = "'" if '"' in command else '"'
    found = read(f"a[0]=X\na[exec]={quote}{command}{quote}\n", "lab.conf")
    assert [note.line for note in found.report.notes] == [2]
    assert "not carried over: '" in found.report.notes[0].what
    assert found.topo.nodes["a"] == {"kind": "netns"}


def test_names_of_startup_files_are_names() -> None:
    text = 'a[0]="A"\n../x[0]="A"\n/etc/passwd[0]="A"\n..[0]=A\n.b[0]=A\n'
    assert kathara.startup_names(text) == ["shared", "a"]


def test_formats_are_told_apart() -> None:
    assert format_of("x/lab.conf", CONF) == "kathara" and format_of("-", "<?xml version='1.0'?><graphml/>") == "graphml"
    assert format_of("a.clab.yml", "") == "containerlab" and format_of("A.GraphML", "") == "graphml"


def test_an_empty_one_is_said() -> None:
    with pytest.raises(Unreadable, match="there is no node in it"):
        read("# nothing\n", "lab.conf")
