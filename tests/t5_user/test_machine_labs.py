"""The example labs with machines, as a user runs them: what is up, who reaches whom, what is refused and why."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.support import peers
from tests.support.rooms import need_namespaces
from tests.support.user import vfab

TOGETHER = ({"client", "web", "gw", "out"}, {"sensor", "gw"})  # who shares a VLAN


@pytest.fixture
def machines(work: Path) -> str:
    need_namespaces(tun=True)
    for program in ("pasta", "nft"):
        peers.need(program)
    return vfab("up", "machines").out


def test_all_are_up_but_the_one_that_is_waited_for_by_nobody(machines: str) -> None:
    assert "Lab machines is up" in machines
    nodes = vfab("status", "--json").json["nodes"]
    assert set(nodes) == {"s1", "netnsd"}
    assert [port["name"] for port in nodes["s1"]["ports"] if not port["carrier"]] == ["eth7"]
    kinds = {host["name"]: host["kind"] for host in nodes["netnsd"]["hosts"]}
    assert kinds == {"client": "netns", "web": "netns", "sensor": "netns", "gw": "netns", "out": "uplink"}
    assert all(row["down"] == [] for row in nodes.values())
    lines = [line.split()[:3] for line in vfab("status").out.splitlines()]
    assert ["gw", "netns", "up"] in lines and ["out", "uplink", "up"] in lines


def test_who_reaches_whom(machines: str) -> None:
    told = vfab("pingall", "--json").json["pairs"]
    pairs = {(pair["source"], pair["target"]) for pair in told if pair["reached"]}
    for group in TOGETHER:
        sources = group - {"out"}
        assert {(a, b) for a in sources for b in group if a != b} <= pairs
    assert {("client", "sensor"), ("sensor", "web")} <= pairs  # through gw
    assert "as the lab file says" in vfab("pingall").out


def test_what_is_told_of_the_ports(machines: str) -> None:
    assert "-netdev" in vfab("attach", "s1:eth7", "--for", "qemu").out
    assert "has client:eth0 of this lab in it" in vfab("attach", "s1:eth1", code=1).sentence
    for node in ("probe", "probe:eth0"):
        assert vfab("attach", node).out == vfab("attach", "s1:eth7").out
    assert vfab("attach", "gw", code=2).sentence == "gw has several cables; say which port: s1:eth4, s1:eth5"
    assert "has client:eth0 of this lab in it" in vfab("attach", "client", code=1).sentence
    assert "'nobody' is no port" in vfab("attach", "nobody", code=2).sentence
    for words in (("console", "client"), ("vm", "list")):
        assert vfab(*words, code=1).sentence == "lab machines has no virtual machines"
    assert "takes it" in vfab("trace", "client", "dst=web", "icmp").out
    drawn = vfab("graph").out
    assert "gw:eth1 (namespace)" in drawn and "probe (external)" in drawn and "s1 up" in drawn
    ElementTree.fromstring(vfab("graph", "--svg", "-").out)


def test_the_example_without_its_image_is_refused_before_anything_starts(work: Path) -> None:
    told = vfab("validate", "virtual-machines")
    assert "1 hosts, 2 virtual machines" in told.out and "guest.qcow2 cannot be used" in told.err
    assert len(vfab("validate", "virtual-machines", "--json").json["machine"]) == 2
    assert "vm1: its image" in vfab("up", "virtual-machines", code=1).sentence
    assert "No lab runs" in vfab("labs").out


def test_more_memory_than_there_is(work: Path) -> None:
    (work / "k").touch()
    text = "name: big\n%stopology: {nodes: {s: {kind: switch}, v: {kind: vm, kernel: k, memory: 15TiB}}}\n"
    (work / "big.fab.yml").write_text(text % "")
    assert "need 15 TiB of memory" in vfab("validate", "big").err
    assert "need 15 TiB of memory" in vfab("up", "big", code=1).sentence
    (work / "big.fab.yml").write_text(text % "limits: {vm_memory: 1GiB}\n")
    assert "more than limits: vm_memory; give them less" in vfab("up", "big", code=2).err


def test_doctor_knows_what_machines_need(home: Path) -> None:
    found = {row["what"]: row for row in vfab("doctor", "--json").json}
    assert {"namespaces", "tun", "kvm", "qemu", "qemu-img", "pasta", "nft", "ip"} <= set(found)
