"""What is sent to the daemons, and what is done when it changes."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from daemons.lab import loader, plan
from daemons.lab.actions import Action
from daemons.lab.lab import Lab, Link
from daemons.lab.vids import ALL, parse_range, text
from netvirt.settings import PortSettings

KEY = "a" * 40


class Somewhere:
    """Places with answers that are easy to read."""

    def endpoint(self, node: str) -> str:
        return f"ipc:///run/{node}.zmq"

    def qemu_path(self, node: str, port: str) -> str:
        return f"/run/{node}-{port}.qemu"

    def run_file(self, name: str) -> str:
        return f"/run/{name}"

    def tcp_endpoint(self, link: Link) -> str:
        return f"tcp://127.0.0.1:{40000 + link.index}"

    def public_key(self, name: str) -> str:
        return f"<{name}>"

    def key_file(self, name: str) -> str:
        return f"/keys/{name}.json"


PLACES = Somewhere()
OTHERS = ("netns", "vm", "external", "uplink")  # whose links are no ZeroMQ


def example(name: str) -> Lab:
    return loader.load(loader.find(name)).lab


def ports(config: dict[str, Any]) -> dict[str, Any]:
    return {port["name"]: port for port in config["ports"]}


def test_a_switch() -> None:
    config = plan.switch_config(example("two-switches"), "s1", PLACES, 3)
    assert {key: config[key] for key in config if key != "ports"} == {
        "name": "s1",
        "lab": "two-switches",
        "epoch": 3,
        "ageing_s": 300,
        "mac_limit": 16384,
        "vlans": {"10": "office", "20": "lab"},
        "vlans_settings": {"shared": False, "private": [], "limits": [], "remote": ""},
        "mirrors": [],
        "static": [],
        "listen": [{"endpoint": "ipc:///run/s1.zmq"}],
    }
    made = ports(config)
    common = {key: value for key, value in PortSettings().to_json().items() if key not in ("mode", "pvid", "allowed")}
    access = {"mode": "access", "pvid": 10, "allowed": "10", **common}
    trunk = {"mode": "trunk", "pvid": 0, "allowed": "10,20", **common}
    guest = {"kind": "qemu", "role": "dial", "peer": "a QEMU guest"}
    assert made["eth1"] == {"name": "eth1", "kind": "listen", "peer": "h1:eth0", **access}
    assert made["eth5"] == {"name": "eth5", "path": "/run/s1-eth5.qemu", **guest, **access}
    assert made["eth6"] == {"name": "eth6", "path": "/run/s1-eth6.qemu", **guest, **trunk}
    assert made["eth9"] == {"name": "eth9", "kind": "listen", "peer": "s2:eth9", **trunk}
    far = ports(plan.switch_config(example("two-switches"), "s2", PLACES, 3))["eth9"]
    assert far == {"name": "eth9", "kind": "dial", "peer": "s1:eth9", "endpoint": "ipc:///run/s1.zmq#eth9", **trunk}


def test_hosts() -> None:
    config = plan.host_config(example("triple-play"), PLACES, 7)
    assert (config["lab"], config["epoch"]) == ("triple-play", 7)
    hosts = {host["name"]: host for host in config["hosts"]}
    [nic] = hosts["router"]["nics"]
    assert nic["endpoint"] == "ipc:///run/home.zmq#trunk"
    assert nic["key_file"] is None
    assert nic["interfaces"] == [
        {
            "name": "eth0.7",
            "vlan": 7,
            "priority": 0,
            "addresses": ["10.7.0.254/24", "fd07::fe/64"],
            "gateway": "10.7.0.1",
        },
        {"name": "eth0.8", "vlan": 8, "priority": 5, "addresses": ["10.8.0.254/24", "fd08::fe/64"], "gateway": None},
    ]
    pc = hosts["pc"]["nics"][0]["interfaces"][0]
    assert (pc["name"], pc["vlan"], pc["gateway"]) == ("eth0", 0, "10.7.0.1")


def test_priorities_go_to_the_access_ports() -> None:
    made = ports(plan.switch_config(example("triple-play"), "home", PLACES, 1))
    assert {name: port["priority"] for name, port in made.items()} == {
        "line": 0,
        "lan": 0,
        "tv": 5,
        "phone": 6,
        "trunk": 0,
    }


def test_blocked_links_are_blocked_at_both_ends() -> None:
    configs = plan.switch_configs(example("datacenter"), PLACES, 1)
    blocked = {
        f"{node}:{name}"
        for node, config in configs.items()
        for name, port in ports(config).items()
        if port["state"] == "blocked"
    }
    assert blocked == {"spine2:leaf1", "leaf1:up2", "spine2:leaf2", "leaf2:up2"}


def test_a_trunk_to_another_lab() -> None:
    east = plan.switch_config(example("campus-east"), "east", PLACES, 1)
    assert east["listen"][1:] == [{"endpoint": "tcp://127.0.0.1:7001", "key_file": "/keys/campus-east.json"}]
    uplink = ports(east)["uplink"]
    assert (uplink["kind"], uplink["allow"], uplink["peer"]) == ("listen", ["<campus-west>"], "lab campus-west")
    west = ports(plan.switch_config(example("campus-west"), "west", PLACES, 1))["uplink"]
    assert west["endpoint"] == "tcp://127.0.0.1:7001?key=<campus-east>#uplink"
    assert (west["kind"], west["key_file"]) == ("dial", "/keys/campus-west.json")


INSIDE = """
name: t
topology:
  nodes:
    b: {kind: switch, ports: {x: {tcp: {connect: "[::1]:1", peer: "KEY", port: far}}}}
    a: {kind: switch}
    h:
  links:
    - {endpoints: ["b:t", "a:t"], transport: tcp}
    - {endpoints: ["a:e1", "h:eth0"], transport: tcp}
"""


def test_tcp_inside_a_lab() -> None:
    lab = loader.parse(INSIDE.replace("KEY", KEY)).lab
    a = plan.switch_config(lab, "a", PLACES, 1)
    assert a["listen"] == [
        {"endpoint": "ipc:///run/a.zmq"},
        {"endpoint": "tcp://127.0.0.1:40000", "key_file": "/keys/t.json"},
        {"endpoint": "tcp://127.0.0.1:40001", "key_file": "/keys/t.json"},
    ]
    assert [(port["kind"], port["allow"]) for port in a["ports"]] == [("listen", ["<t>"])] * 2
    b = ports(plan.switch_config(lab, "b", PLACES, 1))
    assert (b["t"]["kind"], b["t"]["endpoint"], b["t"]["key_file"]) == (
        "dial",
        "tcp://127.0.0.1:40000?key=<t>#t",
        "/keys/t.json",
    )
    assert b["x"]["endpoint"] == f"tcp://[::1]:1?key={KEY}#far"
    nic = plan.host_config(lab, PLACES, 1)["hosts"][0]["nics"][0]
    assert (nic["endpoint"], nic["key_file"]) == ("tcp://127.0.0.1:40001?key=<t>#e1", "/keys/t.json")


@pytest.mark.parametrize("name", loader.examples())
def test_every_link_has_one_dialer_who_finds_its_listener(name: str) -> None:
    lab = example(name)
    configs = plan.switch_configs(lab, PLACES, 1)
    hosts = plan.host_config(lab, PLACES, 1)
    json.dumps([configs, hosts])
    dialed = [
        port["endpoint"]
        for config in configs.values()
        for port in config["ports"]
        if port["kind"] == "dial" and "key" not in port["endpoint"]
    ]
    dialed += [nic["endpoint"] for host in hosts["hosts"] for nic in host["nics"]]
    listening = {
        f"ipc:///run/{node}.zmq#{port['name']}"
        for node, config in configs.items()
        for port in config["ports"]
        if port["kind"] == "listen"
    }
    ours = [link for link in lab.links if not {link.a.node, link.b.node} & {h.name for h in lab.of_kind(*OTHERS)}]
    assert len(dialed) == len(set(dialed)) == len(ours)
    assert set(dialed) <= listening


def test_actions() -> None:
    wanted: dict[str, Any] = dict(plan.switch_configs(example("two-switches"), PLACES, 1))
    assert [action.kind for action in plan.actions(wanted, {})] == ["start", "start"]
    later = dict(plan.switch_configs(example("two-switches"), PLACES, 2))
    assert plan.actions(later, wanted) == [Action("keep", node, "nothing changed") for node in ("s1", "s2")]
    changed = copy.deepcopy(wanted)
    changed["s1"]["ports"][0]["pvid"] = 20
    del changed["s1"]["ports"][3]
    changed["s1"]["ageing_s"] = 60
    changed["s3"] = changed.pop("s2")
    made = plan.actions(changed, {**wanted, "s4": None})
    assert [str(action) for action in made] == [
        "- stop s2: it is no longer in the lab",
        "- stop s4: it is no longer in the lab",
        "+ start s3: it is new",
        "~ configure s1: ageing_s changed; port eth6 removed; port eth1 changed",
    ]
    assert plan.actions(wanted, {"s1": None, "s2": wanted["s2"]})[0] == Action(
        "start", "s1", "it is not running any more"
    )
    turned = copy.deepcopy(wanted)
    turned["s1"]["ports"].reverse()
    assert str(plan.actions(turned, wanted)[0]) == "~ configure s1: order of ports changed"


def test_vid_sets() -> None:
    cases = {"": [], "1": [1], "1-2": [1, 2], "1,3-5,4094": [1, 3, 4, 5, 4094], "1-4094": list(ALL)}
    for written, vids in cases.items():
        assert text(vids) == written
    assert parse_range("10-12") == {10, 11, 12}
    assert [parse_range(wrong) for wrong in ("12-10", "0-3", "1-4095", "x", "1", "1-2-3", "")] == [None] * 7
