"""Ports that come and go in a running switch's configuration: what may, what may not, and how it is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from daemons.added_ports import row
from daemons.changes import changed, differences
from daemons.errors import UserError
from daemons.known import KnownLab
from daemons.paths import LabPaths
from netvirt.settings import PortSettings
from tests.t2_core.test_changes import config as plain_config


def config() -> dict[str, Any]:
    made = plain_config()
    made["ports"][0]["peer"] = "h1:eth0"
    made["ports"][2]["peer"] = "UDP 127.0.0.1:5001"
    return made


@pytest.fixture
def lab(home: Path) -> KnownLab:
    return KnownLab("x-0123abcd", "x", "/nowhere/x.fab.yml", LabPaths("x-0123abcd"))


def new(lab: KnownLab, **keys: Any) -> dict[str, Any]:
    made = row(lab, "s1", "pod1", keys, config())
    after = changed("s1", config(), {"ports_added": {"pod1": made}})
    return dict(after["ports"][-1])


# Keys of a lab file's port -> what its row must have.
COMES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "free": ({}, {"kind": "listen", "mode": "access", "pvid": 1}),
    "tap": ({"tap": "listen", "access": "office"}, {"kind": "tap", "pvid": 10, "allowed": "10", "offload": True}),
    "tap by name": ({"tap": {"name": "tap9", "create": False}}, {"kind": "tap", "device": "tap9", "create": False}),
    "trunk": ({"trunk": "10,20-22", "native": 1}, {"mode": "trunk", "allowed": "1,10,20-22", "pvid": 1}),
    "trunk as a set": ({"trunk": {10, 20}, "mtu": 1500}, {"allowed": "10,20", "mtu": 1500}),
    "qemu": ({"qemu": "dial"}, {"kind": "qemu", "role": "dial"}),
    "dgram": ({"qemu": "dgram"}, {"kind": "dgram"}),
    "vde": ({"vde": "listen"}, {"kind": "vde", "number": 1}),
    "udp": (
        {"udp": {"listen": "127.0.0.1:5000", "connect": "127.0.0.1:5001"}},
        {"kind": "udp", "listen": "127.0.0.1:5000", "connect": "127.0.0.1:5001"},
    ),
    "packet": ({"packet": "eth7"}, {"kind": "packet", "device": "eth7"}),
    "websocket": ({"websocket": {"listen": "127.0.0.1:8080"}}, {"kind": "websocket", "at": "127.0.0.1:8080"}),
    "vxlan": (
        {"vxlan": {"local": "127.0.0.1", "remotes": ["127.0.0.2"], "vnis": {"office": 1010}}, "access": 10},
        {"kind": "vxlan", "vnis": [[10, 1010]], "allowed": "10"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", COMES)
def test_a_port_comes(lab: KnownLab, case: str) -> None:
    keys, expected = COMES[case]
    made = new(lab, **keys)
    assert made["name"] == "pod1" and {key: made[key] for key in expected} == expected
    assert PortSettings.from_json(made).to_json().items() <= made.items()


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "key": ({"taps": "listen"}, "no key 'taps'; did you mean 'tap'"),
    "part": (
        {"udp": {"listen": "127.0.0.1:1", "connect": "127.0.0.1:2", "lisen": 1}},
        "unknown key 'lisen'; did you mean 'listen'",
    ),
    "two": ({"tap": "listen", "qemu": "dial"}, "a port has one peer"),
    "vlan": ({"access": "ofice"}, "did you mean 'office'"),
    "tcp": ({"tcp": {"listen": "127.0.0.1:7000", "peer": "x"}}, "put it into the file"),
    "interface": ({"packet": "a/b"}, "no name of an interface"),
    "shape": ({"udp": [1]}, "here belongs a mapping"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_come_is_one_sentence(lab: KnownLab, case: str) -> None:
    keys, said = WRONG[case]
    with pytest.raises(UserError) as caught:
        new(lab, **keys)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_how_it_is_said(lab: KnownLab) -> None:
    made = row(lab, "s1", "pod1", {"access": 10, "tap": "listen"}, config())
    after = changed("s1", config(), {"ports_added": {"pod1": made}, "ports_removed": ["eth2"]})
    assert [each["text"] for each in differences("s1", config(), after)] == [
        "s1:eth2 port: listen, access 20 -> none",
        "s1:pod1 port: none -> tap, access 10",
    ]
    back = changed("s1", after, {"ports_removed": ["pod1"]})
    assert [each["name"] for each in back["ports"]] == ["eth1", "eth9"]


def test_one_that_comes_in_the_place_of_another(lab: KnownLab) -> None:
    made = row(lab, "s1", "eth2", {"access": 20, "tap": "listen"}, config())
    after = changed("s1", config(), {"ports_added": {"eth2": made}, "ports_removed": ["eth2"]})
    assert [each["text"] for each in differences("s1", config(), after)] == [
        "s1:eth2 port: listen, access 20 -> tap, access 20"
    ]


def test_settings_of_the_same_wish_come_last(lab: KnownLab) -> None:
    made = row(lab, "s1", "pod1", {}, config())
    after = changed("s1", config(), {"ports_added": {"pod1": made}, "ports": {"pod1": {"pvid": 20}}})
    assert after["ports"][-1]["pvid"] == 20


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "of a link": ({"ports_removed": ["eth1"]}, "the lab file's link to h1:eth0"),
    "not there": ({"ports_removed": ["eth7"]}, "no port 'eth7'; did you mean"),
    "no list": ({"ports_removed": "eth2"}, "a list of names"),
    "no name": ({"ports_removed": [[]]}, "no port '[]'"),
    "there already": ({"ports_added": {"eth1": {}}}, "has a port eth1 already"),
    "name": ({"ports_added": {"0": {}}}, "is no port name"),
    "kind": ({"ports_added": {"n": {"kind": "dial", "endpoint": "ipc:///x#y"}}}, "put it into the file"),
    "odd kind": ({"ports_added": {"n": {"kind": []}}}, "put it into the file"),
    "peer": ({"ports_added": {"n": {"peer": "h1:eth0"}}}, "at no cable"),
    "settings": ({"ports_added": {"n": {"pvid": "x"}}}, "pvid"),
    "driver": ({"ports_added": {"n": {"kind": "tap"}}}, "either a 'device'"),
    "no row": ({"ports_added": {"n": 7}}, "keys and values"),
    "nothing": ({"ports_added": []}, "keys and values"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str) -> None:
    wish, said = REFUSED[case]
    with pytest.raises(UserError) as caught:
        changed("s1", config(), wish)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_station_or_a_mirror_holds_its_port() -> None:
    before = config() | {"static": [{"vid": 20, "mac": "02:00:00:00:00:07", "port": "eth2"}]}
    with pytest.raises(UserError, match="eth2"):
        changed("s1", before, {"ports_removed": ["eth2"]})
    gone = {"remove": [{"vid": 20, "mac": "02:00:00:00:00:07"}]}
    assert changed("s1", before, {"ports_removed": ["eth2"], "static": gone})["static"] == []
