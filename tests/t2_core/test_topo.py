"""Labs as data: what a program says is what the file says, and what the loader reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from daemons.lab import loader, yamltext, yamltree
from daemons.lab.mistake import LabError
from daemons.lab.topo import Topo, TopoError

NASTY = [
    "yes", "No", "0x1f", "1e3", "02:00:00:00:00:01", "10.0.0.1/24", "- a", "a: b", "#", "a #b", "", "~", "fd00::1",
    "s1:eth1", "1_000", "null", "x\ny", "=", "<<", "!x", "&a", "*a", "%", "@", "`", ".5", "x ", "a - b", "a  b",
]  # fmt: skip
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**17), 10**17),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    st.sampled_from(NASTY),
)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=25
)


@given(VALUES, st.integers(0, 4), st.sampled_from([20, 80, 116]))
@example(0.00010000000000000216, 0, 20)  # a float with as many digits as it can have
def test_what_is_written_is_what_is_read(value: Any, open_depth: int, width: int) -> None:
    tree, problems = yamltree.read(yamltext.dump(value, open_depth, width))
    assert not problems and tree.plain() == value


@given(VALUES)
def test_other_readers_read_the_same(value: Any) -> None:
    """ruamel's own constructor, YAML 1.2: quotes stand wherever a reader might see more than text."""
    from ruamel.yaml import YAML

    assert YAML(typ="safe", pure=True).load(yamltext.dump(value)) == value


@pytest.mark.parametrize("value", [10**18, b"x", {1.5: 2}, {"a": object()}, "\ud800"])
def test_what_no_file_can_hold_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="a lab file cannot"):
        yamltext.dump(value)
    with pytest.raises(TopoError, match="a lab file cannot"):
        Topo(description=value).to_yaml()


def test_a_lab_in_one_go() -> None:
    topo = Topo("mine", vlans={"office": 10}, comment="mine\n\nall mine")
    topo.add_switch("s1").add_switch("s2", ageing=60).add_host("h1", "10.0.0.1/24").add_host("h2", "10.0.0.2/24")
    topo.add_link("s1", "h1", {"access": "office"}).add_link("s1", "s2").add_link("s2:eth7", "h2:eth3", transport="tcp")
    topo.add_port("s2:eth8", access="office", qemu="dial", mac_limit=3)
    assert topo.to_yaml() == (
        "# mine\n#\n# all mine\nname: mine\nvlans: {office: 10}\ntopology:\n  nodes:\n"
        "    s1: {kind: switch, ports: {eth1: {access: office}}}\n"
        "    s2: {kind: switch, ageing: 60, ports: {eth8: {access: office, qemu: dial, mac-limit: 3}}}\n"
        "    h1: {kind: host, addresses: [10.0.0.1/24]}\n    h2: {kind: host, addresses: [10.0.0.2/24]}\n"
        '  links:\n    - endpoints: ["s1:eth1", "h1:eth0"]\n    - endpoints: ["s1:eth2", "s2:eth1"]\n'
        '    - {endpoints: ["s2:eth7", "h2:eth3"], transport: tcp}\n'
    )
    with pytest.raises(LabError, match="eth0 of 'h2'"):  # its addresses are eth0's, and the cable goes into eth3
        topo.check()


def test_the_loader_reads_all_of_it(tmp_path: Path) -> None:
    topo = Topo("all", loops="block", vlans={"a": 10}).add_vlan("b", 20)
    topo.add_switch("s1", mirrors={"tap": {"both": ["eth1"], "to": "eth8"}}).add_switch("s2")
    topo.add_port("s1:eth8", access="b").add_host("h1", mac="02:00:00:00:00:01")
    topo.add_link("s1", "s2").add_link("s1", "s2", {"trunk": ["a", "b"]}, {"trunk": ["a", "b"]})
    topo.add_link("h1", "s2")
    topo.add_pool("p0", members=["a.img", "b.img"], size="1GiB").add_volume("v0", "p0", size="500MiB", raid="raid1")
    topo.add_lun("lun0", "v0", nbd=True, read_only=True)
    topo.check()
    lab = loader.load(topo.save(tmp_path / "all.fab.yml")).lab
    assert lab.vlans == {"a": 10, "b": 20} and len(lab.blocked) == 1 and set(lab.switches["s1"].ports) == {
        "eth8", "eth1", "eth2"
    }  # fmt: skip
    assert lab.storage.luns["lun0"].read_only and lab.hosts["h1"].nics["eth0"].mac == "02:00:00:00:00:01"


def test_free_ports_are_those_that_nobody_described() -> None:
    topo = Topo().add_switch("s1", ports={"eth1": {"access": 10, "qemu": "dial"}}).add_host("h1").add_host("h2")
    topo.add_link("s1", "h1").add_link("h2:eth1", "s1:eth4").add_link("s1", "h2")
    assert [link["endpoints"] for link in topo.links] == [
        ["s1:eth2", "h1:eth0"], ["h2:eth1", "s1:eth4"], ["s1:eth3", "h2:eth0"]
    ]  # fmt: skip
    assert topo.cabled("s1") == {"eth2", "eth3", "eth4"} and topo.kind("s1") == "switch"


def test_to_dict_is_a_copy() -> None:
    topo = Topo().add_switch("s1")
    topo.to_dict()["topology"]["nodes"]["s1"]["kind"] = "host"
    assert topo.kind("s1") == "switch"


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda t: t.add_switch("s1"), "a node 's1' already"),
        (lambda t: t.add_switch("1s"), "'1s' is no node name; use a letter"),
        (lambda t: t.add_switch(7), "'7' is no node name"),
        (lambda t: t.add_link("s1", "s2x"), "no node 's2x'; did you mean 's2'?"),
        (lambda t: t.add_link("s1:eth1", "s2").add_link("s1:eth1", "h1"), "a cable in s1:eth1 already"),
        (lambda t: t.add_link("s1:e 1", "s2"), "'e 1' is no port name"),
        (lambda t: t.add_port("s1", access=1), "'s1' is no port"),
        (lambda t: t.add_pool("p").add_pool("p"), "'p' is one of the pools already"),
        (lambda t: Topo("my lab"), "'my lab' is no lab name"),
        (lambda t: t.save("/nonexistent/x"), "cannot write /nonexistent/x: No such file"),
    ],
)
def test_mistakes_are_sentences(wrong: Any, sentence: str) -> None:
    topo = Topo().add_switch("s1").add_switch("s2").add_host("h1")
    with pytest.raises(TopoError) as caught:
        wrong(topo)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_every_kind_of_machine_and_its_keys(tmp_path: Path) -> None:
    topo = Topo("kinds", limits={"vm_memory": "1GiB"}).add_switch("s1")
    topo.add_node("n1", "netns", addresses=["10.0.0.1/24"], sysctls={"net.ipv4.ip_forward": 1}, mtu=1400)
    topo.add_node("vm1", "vm", kernel="/boot/vmlinuz", memory="128MiB", nic_model="e1000", disks=["lun0"])
    topo.add_node("ext", "external").add_node("out", "uplink", addresses=["10.0.0.254/24"], lease=600)
    topo.add_host("h1", "10.0.0.2/24", kind="netns", routes=[{"to": "10.9.0.0/16", "via": "10.0.0.1"}])
    for name in ("n1", "vm1", "ext", "out", "h1"):
        topo.add_link("s1", name)
    topo.add_pool("p", members=["a"], size="1GiB").add_volume("v", "p", size="1MiB", raid="linear")
    topo.add_lun("lun0", "v", nbd=True)
    lab = loader.load(topo.save(tmp_path / "kinds.fab.yml")).lab
    assert {host.name: host.kind for host in lab.hosts.values()} == {
        "n1": "netns", "vm1": "vm", "ext": "external", "out": "uplink", "h1": "netns"
    }  # fmt: skip
    assert lab.hosts["vm1"].nics["eth0"].model == "e1000" and lab.hosts["n1"].nics["eth0"].mtu == 1400
