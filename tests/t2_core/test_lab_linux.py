"""Ports with tap: and packet:: from the file to the configuration, what is wrong with one, and what to paste for it."""

from __future__ import annotations

import pytest

from daemons.lab.mistake import LabError
from tests.t2_core.test_lab_plugs import load, made, row
from tools import tapways

DEFAULTS = {"create": True, "persistent": False, "offload": True, "device_mtu": 0}
MAC = "02:00:00:00:00:01"


def test_a_tap_by_name() -> None:
    port = made("{access: 10, tap: tap0}")["eth1"]
    assert row(port, "device", *DEFAULTS) == {"kind": "tap", "peer": "interface tap0", "device": "tap0", **DEFAULTS}
    assert port["pvid"] == 10 and "speed" not in port
    port = made("{tap: {name: t.1, create: false, persistent: true, offload: false, mtu: 9000, speed: 100}}")["eth1"]
    wanted = {"create": False, "persistent": True, "offload": False, "device_mtu": 9000, "speed": 100}
    assert row(port, *wanted) == {"kind": "tap", "peer": "interface t.1", **wanted}


def test_a_tap_that_is_handed_over() -> None:
    port = made("{tap: listen}", "{tap: {listen: /a/b, offload: false}}")
    assert port["eth1"]["path"] == "/run/s1-eth1.tap" and "device" not in port["eth1"]
    assert (port["eth2"]["path"], port["eth2"]["offload"]) == ("/a/b", False)


def test_an_interface() -> None:
    port = made("{trunk: all, packet: eth0}")["eth1"]
    assert row(port, "device") == {"kind": "packet", "peer": "interface eth0", "device": "eth0"}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("{tap: a/b}", "no name of an interface"),
        ("{tap: sixteen-bytes-xx}", "no name of an interface"),
        ("{tap: 7}", "here belongs a mapping"),
        ("{tap: {}}", "either a name or a socket"),
        ("{tap: {name: t, listen: auto}}", "either a name or a socket"),
        ("{tap: {listen: nowhere}}", "no path of a socket"),
        ("{tap: {listen: auto, mtu: 1500}}", "mtu: is for a TAP with a name"),
        ("{tap: {name: t, mtu: 10}}", "an MTU cannot be"),
        ("{tap: {name: t, speed: 0}}", "a speed in Mbit/s cannot be"),
        ("{packet: [eth0]}", "no name of an interface"),
        ("{packet: eth0, tap: t}", "one peer"),
    ],
)
def test_what_can_not_be(given: str, sentence: str) -> None:
    with pytest.raises(LabError, match=sentence):
        load(given)


@pytest.mark.parametrize("given", ["{tap: t1}", "{packet: e1}", "{tap: {listen: /a/b}}"])
def test_two_ports_do_not_share_one(given: str) -> None:
    with pytest.raises(LabError, match="is taken by port s1:eth1"):
        load(given, given)


def test_what_to_paste() -> None:
    ports = made("{tap: listen}", "{packet: e1}")
    handed = tapways.ways("s1:eth1", ports["eth1"], MAC)
    assert handed.keys() == {"namespace"} and "vfab plug --address 10.0.0.5/24 s1:eth1" in handed["namespace"]
    outside = tapways.ways("s1:eth2", ports["eth2"], MAC)
    assert {"lxc", "firecracker", "cloud-hypervisor", "qemu", "bochs", "hercules", "namespace"} <= outside.keys()
    assert all("e1" in text for text in outside.values())
    named = tapways.ways("s1:eth1", made("{tap: t1}")["eth1"], MAC)
    assert all("t1" in text for text in named.values())
    assert {*handed, *outside, *named} <= {*tapways.PROGRAMS, "qemu", "bochs"}
