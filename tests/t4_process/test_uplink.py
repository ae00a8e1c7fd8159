"""Uplinks with real clients: udhcpc, TCP and DNS from two namespaces on one wire through pasta, as root and as nobody.

The world outside is a namespace of the test's own.
"""

from __future__ import annotations

import os
import shutil
import signal
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from daemons.errors import UserError
from daemons.process import alive, identify
from daemons.uplink_config import parse_uplink
from daemons.uplink_dns import resolvers
from daemons.uplink_rules import rules
from tests.support.uplink_client import digest, pattern
from tests.support.uplink_world import ANSWER, OUTSIDE, RESOLVER, World
from tests.support.waiting import until

pytestmark = pytest.mark.peer("pasta")
SIZE = 3_000_000


@pytest.mark.parametrize("who", ["root", "nobody"])
def test_two_clients_have_their_own_leases_and_get_out_at_the_same_time(who: str, folder: Path) -> None:
    with World(folder, who) as world:
        assert world.ask("connected")["problems"] == []
        told = world.ask("dhcp", names=["c1", "c2"], options=["-x", "hostname:box"])
        addresses = {name: IPv4Address(each["ip"]) for name, each in told.items()}
        assert len(set(addresses.values())) == 2
        for name, each in told.items():
            assert IPv4Address("10.0.2.100") <= addresses[name] <= IPv4Address("10.0.2.120")
            assert {**each, "ip": ""} == {
                "ip": "", "mask": "24", "router": "10.0.2.1", "dns": "10.0.2.1", "lease": "3600",
                "serverid": "10.0.2.1", "mtu": "1500", "event": "bound",
            }  # fmt: skip
        calls = {f"c{n}": ["tcp", OUTSIDE, world.together, str(n), str(SIZE)] for n in (1, 2)}
        assert world.ask("talk", calls=calls) == {f"c{n}": digest(pattern(n, SIZE)) for n in (1, 2)}
        assert world.ask("lost") == 0  # pasta sends a whole window at once, and takes a loss badly
        questions = {name: ["dns", told[name]["dns"], "www.example.org"] for name in ("c1", "c2")}
        assert world.ask("talk", calls=questions) == {"c1": [ANSWER], "c2": [ANSWER]}
        status = world.ask("status")
        assert status["problems"] == [] and status["mistakes"] == 0 and status["starts"] == 1
        leases = {lease["mac"]: lease for lease in status["dhcp"]["leases"]}
        assert {mac: IPv4Address(lease["address"]) for mac, lease in leases.items()} == {
            "02:00:00:00:00:11": addresses["c1"], "02:00:00:00:00:12": addresses["c2"],
        }  # fmt: skip
        assert {lease["name"] for lease in leases.values()} == {"box"}
    assert not [name for name in os.listdir(folder) if name.startswith("out.way")]


def test_leases_outlive_the_uplink_and_clients_have_theirs_again(folder: Path) -> None:
    with World(folder) as world:
        world.ask("connected")
        before = world.ask("dhcp", names=["c1", "c2"], options=[])
        world.ask("restart")
        third = world.ask("dhcp", names=["c3"], options=[])  # first come would be first served
        after = world.ask("dhcp", names=["c2", "c1"], options=[])
        assert after == before
        assert third["c3"]["ip"] not in {each["ip"] for each in before.values()}
        calls = {"c2": ["tcp", OUTSIDE, world.alone, "7", "1000"]}
        assert world.ask("talk", calls=calls) == {"c2": digest(pattern(7, 1000))}


def test_this_machines_loopback_is_out_of_reach_unless_the_file_says_so(folder: Path) -> None:
    with World(folder) as world:
        status = world.ask("connected")
        assert status["host"] == ""
        world.ask("dhcp", names=["c1"], options=[])
        gateway = "192.0.0.1"
        call = {"c1": ["refused", gateway, world.alone]}
        assert world.ask("talk", calls=call)["c1"] != "connected"
        status = world.ask("change", host_loopback=True)
        assert status["host"] == gateway and status["starts"] == 1
        calls = {"c1": ["tcp", gateway, world.alone, "3", "100000"]}
        assert world.ask("talk", calls=calls) == {"c1": digest(pattern(3, 100000))}


@pytest.mark.parametrize("who", ["root", "nobody"])
def test_pasta_is_started_again_and_ends_with_its_folder(who: str, folder: Path) -> None:
    with World(folder, who) as world:
        first = world.ask("connected")["pid"]
        os.kill(first, signal.SIGKILL)
        said = world.ask("problem")["problems"]
        assert said == ["out has no way out: pasta ended with exit code -9; it is started again in 0.5 s"]
        status = world.ask("again", pid=first)
        assert status["starts"] == 2 and status["problems"] == []
        world.ask("dhcp", names=["c1"], options=[])
        calls = {"c1": ["tcp", OUTSIDE, world.alone, "5", "5000"]}
        assert world.ask("talk", calls=calls) == {"c1": digest(pattern(5, 5000))}
        second = identify(status["pid"])
        assert second is not None
        os.kill(world.ask("pid"), signal.SIGKILL)
        world.rig.wait(20)
        assert alive(second)  # nobody told it
        shutil.rmtree(folder / "out.way")
        until(lambda: not alive(second), what="the end of pasta")


def test_a_successor_ends_the_pasta_of_a_predecessor_that_was_killed(folder: Path) -> None:
    with World(folder) as world:
        first = identify(world.ask("connected")["pid"])
        assert first is not None
        os.kill(world.ask("pid"), signal.SIGKILL)
        world.rig.wait(20)
    with World(folder) as world:
        assert world.ask("connected")["pid"] != first.pid
        until(lambda: not alive(first), what="the end of the old pasta")


def test_only_the_labs_own_networks_get_out(folder: Path) -> None:
    with World(folder) as world:
        world.ask("connected")
        world.ask("dhcp", names=["c1", "c2"], options=[])
        world.ask("readdress", name="c2", address="10.99.0.5/24", gateway="10.0.2.1")
        calls = {"c2": ["refused", OUTSIDE, world.alone]}
        assert world.ask("talk", calls=calls) == {"c2": "TimeoutError"}
        calls = {"c1": ["refused", OUTSIDE, world.alone]}
        assert world.ask("talk", calls=calls) == {"c1": "connected"}


def test_changes_take_what_changes_only(folder: Path) -> None:
    with World(folder) as world:
        pid = world.ask("connected")["pid"]
        before = world.ask("dhcp", names=["c1"], options=[])
        status = world.ask("change", lease_s=900, ipv4_range=["10.0.2.50", "10.0.2.120"], dns=False)
        assert status["pid"] == pid and status["dns"] is None and status["problems"] == []
        after = world.ask("dhcp", names=["c1"], options=[])
        assert after["c1"]["lease"] == "900" and "dns" not in after["c1"] and after["c1"]["ip"] == before["c1"]["ip"]


def test_who_answers_questions_is_looked_up_each_time(folder: Path) -> None:
    with World(folder) as world:
        world.ask("connected")
        world.ask("dhcp", names=["c1"], options=[])
        question = {"c1": ["dns", "10.0.2.1", "www.example.org"]}
        assert world.ask("talk", calls=question) == {"c1": [ANSWER]}
        (folder / "resolv.conf").write_text("search example.org\n")
        sentence = "out: DNS questions are not answered: /etc/resolv.conf names no resolver"
        assert world.ask("problem")["problems"] == [sentence]
        (folder / "resolv.conf").write_text(f"nameserver {RESOLVER}\n")
        assert world.ask("talk", calls=question) == {"c1": [ANSWER]}
        status = world.ask("status")
        assert status["problems"] == [] and status["dns"]["answer"] == 2 == status["dns"]["question"]


RESOLV_CONFS = [
    ("", []),
    ("nameserver 10.0.0.1", ["10.0.0.1"]),
    ("# nameserver 10.0.0.1\nnameserver\t10.0.0.2 # ours\n;nameserver 10.0.0.3", ["10.0.0.2"]),
    ("nameserver fd00::1\nsearch x\nnameserver 10.0.0.1", ["fd00::1", "10.0.0.1"]),
    ("nameserver\nnameserver dns.example.org\nnameserver 10.0.0.999", []),
    ("nameserver 10.0.0.1\n" * 5, ["10.0.0.1"] * 3),
]


@pytest.mark.parametrize(("text", "expected"), RESOLV_CONFS)
def test_resolvers_of_a_file(text: str, expected: list[str]) -> None:
    assert resolvers(text) == expected


WRONG = {
    "lease_s": (0, "'lease_s' is a number of seconds from 1 to"),
    "ipv4_range": (["10.0.2.100", "10.0.3.1"], "is not one of its network 10.0.2.0/24"),
    "dns": ("yes", "'dns' is true or false"),
    "host_loopback": (1, "'host_loopback' is true or false"),
}


@pytest.mark.parametrize("key", WRONG)
def test_a_configuration_that_is_none_is_refused_in_a_sentence(key: str) -> None:
    value, sentence = WRONG[key]
    interface = {"name": "eth0", "vlan": 0, "priority": 0, "mtu": 0, "addresses": ["10.0.2.1/24"], "gateway": None}
    nic = {"name": "eth0", "mac": "02:00:00:00:00:01", "mtu": 1500, "path": "/r/out.tap", "interfaces": [interface]}
    whole = {"name": "out", "ipv4_range": ["10.0.2.100", "10.0.2.200"], "nics": [nic]}
    assert parse_uplink(whole).folder == "/r"
    with pytest.raises(UserError, match=f"^uplink out.*{sentence}"):
        parse_uplink({**whole, key: value})
    without = {**whole, "nics": [{**nic, "interfaces": [{**interface, "addresses": ["fd00::1/64"]}]}]}
    with pytest.raises(UserError, match="out has no IPv4 address"):
        parse_uplink(without)


def test_rules_are_for_all_networks_of_an_uplink_and_for_the_smallest_mtu() -> None:
    nics = []
    for name, mtu, address in (("eth0", 9000, "10.0.2.1/24"), ("eth1", 1400, "10.0.3.65/26")):
        interface = {"name": name, "vlan": 0, "priority": 0, "mtu": 0, "addresses": [address], "gateway": None}
        nics.append({"name": name, "mtu": mtu, "path": "/r/x.tap", "interfaces": [interface]})
    config = parse_uplink({"name": "out", "ipv4_range": ["10.0.2.100", "10.0.2.200"], "nics": nics})
    lines = [line.strip() for line in rules(config).splitlines()]
    assert "tcp flags syn tcp option maxseg size set 1360" in lines
    assert 'iifname { "eth0", "eth1" } oifname "wan0" ip saddr { 10.0.2.0/24, 10.0.3.64/26 } accept' in lines
    assert 'oifname "wan0" ip saddr { 10.0.2.0/24, 10.0.3.64/26 } masquerade' in lines
    assert config.service.mtu == 9000 and config.dns == ("10.0.2.1", "10.0.3.65")


def test_the_way_out_is_no_network_of_the_lab() -> None:
    interface = {"name": "eth0", "vlan": 0, "priority": 0, "mtu": 0, "addresses": ["192.0.0.1/24"], "gateway": None}
    nic = {"name": "eth0", "mac": "02:00:00:00:00:01", "mtu": 1500, "path": "/r/out.tap", "interfaces": [interface]}
    config = parse_uplink({"name": "out", "ipv4_range": ["192.0.0.100", "192.0.0.200"], "nics": [nic]})
    assert config.way.own == "198.18.0.2"


def test_a_program_that_is_missing_is_a_sentence(folder: Path) -> None:
    with World(folder) as world:
        world.ask("connected")
        said = world.ask("without_programs")
        assert said == [
            "out lets nobody out: the program nft is missing; install the package nftables, then vfab up",
            "out has no way out: the program pasta is missing; install the package passt, then vfab up",
        ]
        assert world.ask("again", pid=None)["problems"] == []
