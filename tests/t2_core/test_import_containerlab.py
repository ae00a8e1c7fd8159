"""containerlab files: what becomes of each kind of node and of link, and that nothing goes without a word."""

from __future__ import annotations

import re
from typing import Any

import pytest

from daemons.lab import loader
from daemons.lab.imports.reading import Imported, read
from daemons.lab.imports.report import Unreadable
from daemons.lab.lab import Lab

# The shapes of public examples (srl-labs/containerlab, lab-examples): a Clos, a bridge, hosts with routes.
CLOS = """\
name: clos01
topology:
  kinds:
    nokia_srlinux: {image: ghcr.io/nokia/srlinux}
    linux: {image: ghcr.io/hellt/network-multitool}
  nodes:
    leaf1: {kind: nokia_srlinux, type: ixrd2l}
    leaf2: {kind: nokia_srlinux, type: ixrd2l}
    spine: {kind: nokia_srlinux, type: ixrd3l}
    client1: {kind: linux}
    client2: {kind: linux}
  links:
    - endpoints: ["leaf1:e1-1", "spine:e1-1"]
    - endpoints: ["leaf2:e1-1", "spine:e1-2"]
    - endpoints: ["client1:eth1", "leaf1:e1-2"]
    - endpoints: ["client2:eth1", "leaf2:e1-2"]
"""
HOSTS = """\
name: frr01
topology:
  defaults: {kind: linux}
  groups:
    hosts:
      image: wbitt/network-multitool
      exec: [sysctl -w net.ipv4.ip_forward=1]
  nodes:
    PC1:
      group: hosts
      exec:
        - ip link set eth1 up
        - ip addr add 192.168.11.2/24 dev eth1
        - ip route add 192.168.0.0/16 via 192.168.11.1 dev eth1
        - ip route add default via 192.168.11.1
        - ip route add 10.0.0.0/8 via 172.16.0.1
        - ip -6 addr add fd00::2/64 dev eth1
        - bash -c "ip link add link eth1 name vlan7 type vlan id 7 && ip addr add 10.7.0.2/24 dev vlan7"
        - ip addr add 1.1.1.1/32 dev lo
        - bash -c 'for i in 1 2; do ip a add 1.1.1.$i/24 dev eth1; done'
        - touch /tmp/x
    PC2:
      exec: ["ip addr add 192.168.11.1/24 dev eth1", "ip link set dev eth1 mtu 9000 address 02:00:00:00:00:02"]
      sysctls: {net.ipv6.conf.all.forwarding: 1, kernel.hostname: x}
  links:
    - endpoints: ["PC1:eth1", "PC2:eth1"]
"""
EVERY = """\
name: every.link
mgmt: {network: custom}
topology:
  nodes:
    srl1: {kind: nokia_srlinux, startup-config: x.cfg}
    br-clab: {kind: bridge}
    ovs.1: {kind: ovs-bridge}
    pc1: {kind: linux}
    pc2: {kind: linux, cmd: sleep}
    myhost: {kind: host}
    what: {}
  links:
    - endpoints: ["pc1:eth1", "pc2:eth1"]
    - endpoints: ["srl1:ethernet-1/1", "br-clab:eth1"]
    - endpoints: ["pc1:eth2", "br-clab:eth2"]
    - endpoints: ["br-clab:eth3", "ovs.1:eth1"]
    - endpoints: ["srl1:e1-3", "host:srl1_e1-3"]
    - endpoints: ["srl1:e1-4", "mgmt-net:srl1-mg"]
    - endpoints: ["srl1:e1-5", "macvlan:eno0"]
    - type: veth
      mtu: 1500
      endpoints:
        - {node: pc2, interface: eth2, mac: "02:00:00:00:00:01", ipv4: 10.5.0.1/24}
        - {node: what, interface: eth1}
    - {type: mgmt-net, endpoint: {node: pc2, interface: eth3}, host-interface: x}
    - {type: macvlan, endpoint: {node: pc2, interface: eth4}, host-interface: eno1, mode: bridge}
    - {type: host, endpoint: {node: br-clab, interface: eth9}, host-interface: x9}
    - {type: vxlan, endpoint: {node: pc2, interface: eth5}, remote: 10.0.0.18, vni: 123, dst-port: 4789}
    - {type: vxlan-stitch, endpoint: {node: pc2, interface: eth6}, remote: 10.0.0.19, vni: 124}
    - {type: dummy, endpoint: {node: pc2, interface: eth7}}
    - endpoints: ["pc1:eth8", "myhost:x"]
    - endpoints: ["pc1:eth9", "nobody:x"]
    - endpoints: ["pc1:eth1", "pc2:eth10"]
    - {type: quantum, endpoints: []}
    - just text
    - endpoints: ["pc1:eth11"]
"""


def imported(text: str, **options: Any) -> tuple[Imported, Lab]:
    """With the lab that the loader makes of it, without a mistake."""
    found = read(text, "x/lab.clab.yml", **options)
    return found, loader.parse(found.topo.to_yaml()).lab


def said(found: Imported, line: int) -> str:
    """What the report says of a line."""
    return "\n".join(note.what for note in found.report.notes if note.line == line)


def line_of(text: str, part: str) -> int:
    return next(i for i, line in enumerate(text.splitlines(), 1) if part in line)


def test_network_oses_wait_for_somebody_and_hosts_are_namespaces() -> None:
    found, lab = imported(CLOS)
    assert lab.name == "clos01" and {host.name: host.kind for host in lab.hosts.values()} == {
        "leaf1": "external", "leaf2": "external", "spine": "external", "client1": "netns", "client2": "netns"
    }  # fmt: skip
    assert list(lab.switches) == ["wires"] and len(lab.links) == 8
    for name in ("leaf1", "leaf2", "spine"):
        line = line_of(CLOS, f"    {name}:")
        assert "kind 'nokia_srlinux' is not run: its ports wait" in said(found, line)
        assert f"'type' of {name}" in said(found, line)
    assert "'image' of nokia_srlinux" in said(found, 4) and "'image' of linux; no container is run" in said(found, 5)


def wire(lab: Lab, one: str, other: str) -> None:
    """Both are in tunnel ports of one VLAN that nobody else is in."""
    ends = {str(link.other("wires")): link.end("wires") for link in lab.links if "wires" in (link.a.node, link.b.node)}
    a, b = (lab.port(ends[end]) for end in (one, other))
    assert a.settings.mode == b.settings.mode == "dot1q-tunnel" and a.pvid == b.pvid
    assert [port.name for port in lab.switches["wires"].ports.values() if port.pvid == a.pvid] == [a.name, b.name]
    assert 0x0E in a.settings.tunnel, "LLDP passes"


def test_a_link_between_two_machines_is_a_wire_still() -> None:
    _, lab = imported(CLOS)
    for one, other in re.findall(r'\["(\S+)", "(\S+)"\]', CLOS):
        wire(lab, one, other)


def test_commands_become_what_they_would_do() -> None:
    found, lab = imported(HOSTS)
    pc1, pc2 = found.topo.nodes["PC1"], found.topo.nodes["PC2"]
    assert pc1["interfaces"] == {
        "eth1": {"addresses": ["192.168.11.2/24", "fd00::2/64"]}, "eth1.7": {"addresses": ["10.7.0.2/24"]}
    }  # fmt: skip
    assert pc1["gateway"] == "192.168.11.1" and pc1["sysctls"] == {"net.ipv4.ip_forward": "1"}
    assert pc1["routes"] == [{"to": "192.168.0.0/16", "via": "192.168.11.1", "dev": "eth1"}]
    assert pc2["interfaces"]["eth1"] == {"addresses": ["192.168.11.1/24"], "mac": "02:00:00:00:00:02", "mtu": 9000}
    assert pc2["sysctls"] == {"net.ipv6.conf.all.forwarding": "1"}
    assert [nic.mac for nic in lab.hosts["PC2"].nics.values()] == ["02:00:00:00:00:02"]
    for part, sentence in (
        ("via 172.16.0.1", "'10.0.0.0/8' via 172.16.0.1; it leads to no network"),
        ("dev lo", "PC1 lo; there is no link"),
        ("for i in", "only single commands"), ("touch", "'touch /tmp/x': only ip, ifconfig"),
        ("kernel.hostname", "only sysctls that begin with net."), ("image:", "'image' of hosts"),
    ):  # fmt: skip
        assert sentence in said(found, line_of(HOSTS, part)), part
    assert len(found.report.notes) == 6


def test_userspace_hosts_have_no_routes_and_sysctls() -> None:
    found, lab = imported(HOSTS, hosts="userspace")
    assert {host.kind for host in lab.hosts.values()} == {"host"}
    assert set(found.topo.nodes["PC1"]) == {"kind", "gateway", "interfaces"}
    report = "\n".join(found.report.lines())
    assert "userspace hosts have a gateway, and no other routes" in report and "sysctls of PC1" in report


def test_links_of_every_type() -> None:
    found, lab = imported(EVERY)
    assert lab.name == "every-link" and set(lab.switches) == {"br-clab", "ovs-1", "wires", "mgmt-net"}
    wire(lab, "pc1:eth1", "pc2:eth1")
    wire(lab, "pc2:eth2", "what:eth1")
    links = {frozenset(map(str, (link.a, link.b))) for link in lab.links}
    for ends in (("srl1:ethernet-1-1", "br-clab:eth1"), ("br-clab:eth3", "ovs-1:eth1"), ("srl1:e1-4", "mgmt-net:eth1"),
                 ("pc2:eth3", "mgmt-net:eth2")):  # fmt: skip
        assert frozenset(ends) in links
    for part, sentence in (
        ("ethernet-1/1", "interface 'ethernet-1/1' of srl1 is called ethernet-1-1 now"),
        ("host:srl1_e1-3", "write tap: srl1_e1-3 there"), ("macvlan:eno0", "write packet: eno0 there"),
        ("host-interface: eno1", "write packet: eno1 there"), ("host-interface: x9", "the free port br-clab:eth9"),
        ("vni: 123", "remotes: [10.0.0.18], vnis: {"), ("vni: 124", "remotes: [10.0.0.19]"),
        ("myhost:x", "write tap: x there"), ("nobody:x", "there is no node 'nobody'"),
        ('"pc2:eth10"', "a link in pc1:eth1 already"), ("quantum", "'quantum', which is not known"),
        ("just text", "no mapping"), ('["pc1:eth11"]', "with 1 ends"), ("startup-config",
        "belongs to the network OS"),
        ("what: {}", "no kind is given"), ("myhost:", "is this computer itself"), ("ovs.1:", "is called ovs-1 now"),
        ("mgmt:", "'mgmt' of the lab"), ("cmd:", "'cmd' of pc2; start it with vfab exec"),
    ):  # fmt: skip
        assert sentence in said(found, line_of(EVERY, part)), part
    assert lab.hosts["pc2"].nics["eth2"].mac == "02:00:00:00:00:01" and lab.hosts["pc2"].nics["eth2"].mtu == 1500
    assert "eth7" in lab.hosts["pc2"].nics, "a dummy has a cable, and nobody at its other end"


def test_what_the_report_advises_is_right() -> None:
    """Each free port, with the words that its line says put into the file."""
    found, _ = imported(EVERY)
    topo = found.topo
    advised = 0
    for note in found.report.notes:
        match = re.search(r"free port (\S+):(\S+); (?:write (tap|packet): (\S+) there|make it (\{.*\}))", note.what)
        if match is None:
            continue
        switch, port, kind, name, whole = match.groups()
        text = f"{{{kind}: {name}}}" if kind else whole.replace("OUR-ADDRESS", f"127.0.0.{note.line}")
        keys = loader.yamltree.read(text)[0].plain()
        if kind:
            topo.nodes[switch]["ports"][port] |= keys
        else:
            topo.nodes[switch]["ports"][port] = keys
        advised += 1
    assert advised == 7
    lab = loader.parse(topo.to_yaml()).lab
    plugs = [port.plug.kind for switch in lab.switches.values() for port in switch.ports.values() if port.plug]
    assert sorted(plugs) == ["packet", "packet", "tap", "tap", "tap", "vxlan", "vxlan"]


def test_bridges_let_the_tags_of_those_pass_who_send_some() -> None:
    text = """\
topology:
  nodes:
    br: {kind: bridge}
    a: {kind: linux, exec: [ip link add link eth1 name eth1.7 type vlan id 7, ip addr add 10.0.7.1/24 dev eth1.7]}
    b: {kind: ceos}
    c: {kind: linux, exec: [ip addr add 10.0.0.3/24 dev eth1]}
  links: [endpoints: ["a:eth1", "br:eth1"], endpoints: ["b:eth1", "br:eth2"], endpoints: ["c:eth1", "br:eth3"]]
"""
    _, lab = imported(text.replace("links: [", "links: [{").replace("], e", "]}, {e").replace('"]]', '"]}]'))
    assert [port.trunk for port in lab.switches["br"].ports.values()] == [True, True, False]
    assert lab.switches["br"].ports["eth1"].pvid == 1


def test_bridges_in_a_circle_are_a_lab_with_blocked_links() -> None:
    nodes = ", ".join(f"b{i}: {{kind: bridge}}" for i in range(3))
    links = "".join(f'\n    - endpoints: ["b{i}:e{i}", "b{(i + 1) % 3}:f{i}"]' for i in range(3))
    found, lab = imported(f"topology:\n  nodes: {{{nodes}}}\n  links:{links}\n")
    assert len(lab.blocked) == 1 and "loops: block" in "\n".join(found.report.lines())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "this file is empty"),
        ("name: x\n", "there is no topology:"),
        ("topology: [1]\n", "there is no topology:"),
        ("topology: {nodes: {}}\n", "there is no node in it"),
        ("topology: {nodes: [a]}\n", "there is no node in it"),
        ("a: [\n", "not YAML"),
        ("x\0y", "zero bytes"),
        (
            "topology:\n  nodes:\n" + "".join(f"    n{i}: {{kind: bridge}}\n" for i in range(2001)),
            "there are 2000 nodes or more",
        ),
    ],
)
def test_what_nothing_can_be_made_of(text: str, sentence: str) -> None:
    with pytest.raises(Unreadable) as caught:
        read(text, "x.yml")
    assert sentence in str(caught.value)


def test_the_lab_file_says_where_it_is_from() -> None:
    text = read(CLOS, "x/clos01.clab.yml").topo.to_yaml()
    assert text.startswith("# Made by vfab import of x/clos01.clab.yml (containerlab).\n#   x/clos01.clab.yml:4: not ")


def test_a_link_that_is_left_out_leaves_nothing() -> None:
    """pc1:eth2 has no cable then, and what was said of it goes with the link."""
    text = """\
topology:
  nodes:
    pc1: {kind: linux, exec: [ip addr add 10.0.0.1/24 dev eth1, ip addr add 10.0.1.1/24 dev eth2]}
    pc2: {kind: linux}
    pc3: {kind: linux}
  links:
    - endpoints: ["pc1:eth1", "pc2:eth1"]
    - endpoints: ["pc1:eth2", "pc2:eth1"]
    - endpoints: ["pc3:e", "pc2:eth1"]
"""
    found, lab = imported(text)
    assert set(lab.hosts) == {"pc1", "pc2"} and list(lab.hosts["pc1"].nics) == ["eth1"]
    assert "left out: pc1 eth2; there is no link at it" in said(found, 3)
    assert "left out: pc3 has no link" in said(found, 5)
