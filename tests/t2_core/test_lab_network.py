"""Ports with websocket: and vxlan:, from the file to the configuration, and what is said of a wrong one."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from daemons import network_ports
from daemons.errors import UserError
from daemons.switch_config import check
from daemons.switch_ports import DRIVER_KEYS, KINDS, driver_values
from tests.support.switches import port
from tests.t2_core.test_lab_plugs import FREE, load, made, mistakes, row
from tools import networkways

TUNNEL = "local: 10.0.0.1, remotes: [10.0.0.2, 10.0.0.3:8472], vnis: {10: 1010, 20: 1020}"
WEBSOCKET = {"kind": "websocket", "at": "127.0.0.1:8080"}
VXLAN = {"kind": "vxlan", "local": "127.0.0.1", "remotes": ["127.0.0.2"], "vnis": [[10, 1010]]}


def test_websocket() -> None:
    found = made(
        "{access: 10, websocket: 'localhost:8080'}",
        "{websocket: {listen: '127.0.0.1:8080', origins: ['https://a.example', 'null']}}",
    )
    keys = {"at": "127.0.0.1:8080", "origins": [], "public": False}
    assert row(found["eth1"], *keys) == {"kind": "websocket", "peer": "a machine in a browser", **keys}
    assert found["eth2"]["origins"] == ["https://a.example", "null"]
    assert made("{websocket: {listen: '0.0.0.0:8080', public: true}}")["eth1"]["public"] is True


def test_vxlan() -> None:
    port = made(f"{{trunk: [10, 20], vxlan: {{{TUNNEL}, ageing: 60, inner-tags: true}}}}")["eth1"]
    keys = {
        "local": "10.0.0.1", "remotes": ["10.0.0.2", "10.0.0.3:8472"], "vnis": [[10, 1010], [20, 1020]],
        "station_age": 60, "inner_tags": True,
    }  # fmt: skip
    assert row(port, *keys) == {"kind": "vxlan", "peer": "VXLAN 10.0.0.2, 10.0.0.3:8472", **keys}


@pytest.mark.parametrize(
    ("given", "untagged"),
    [("trunk: all", 0), ("trunk: all, native: 10", 10), ("trunk: all, native-tagged: 10", 0), ("access: 10", 10)],
)
def test_a_vlan_that_leaves_without_tags_has_its_vni_all_the_same(given: str, untagged: int) -> None:
    port = made(f"{{{given}, vxlan: {{local: 10.0.0.1, remotes: 10.0.0.2, vnis: {{10: 1010}}}}}}")["eth1"]
    assert network_ports._on_the_wire(port) == {0 if untagged else 10: 1010}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("{websocket: 8080}", "mapping"),
        ("{websocket: '8080'}", "no address to listen at"),
        ("{websocket: '0.0.0.0:8080'}", "public: true"),
        ("{websocket: {listen: '127.0.0.1:8080', origins: [example.org]}}", "is no origin"),
        ("{websocket: {origins: []}}", "listen"),
        ("{vxlan: {}}", "local"),
        (f"{{trunk: all, vxlan: {{{TUNNEL}, ageing: 1}}}}", "ageing"),
        ("{trunk: all, vxlan: {local: here, remotes: 10.0.0.2, vnis: {10: 1}}}", "no address of a tunnel"),
        ("{trunk: all, vxlan: {local: 10.0.0.2, remotes: 10.0.0.2, vnis: {10: 1}}}", "there twice"),
        ("{trunk: all, vxlan: {local: 10.0.0.2, remotes: 'fd00::1', vnis: {10: 1}}}", "IPv4 and IPv6"),
        ("{trunk: all, vxlan: {local: 10.0.0.2, remotes: [], vnis: {10: 1}}}", "leads nowhere"),
        ("{trunk: all, vxlan: {local: 10.0.0.1, remotes: 10.0.0.2, vnis: {}}}", "carries no VLAN"),
        ("{trunk: all, vxlan: {local: 10.0.0.1, remotes: 10.0.0.2, vnis: {10: 1, 20: 1}}}", "the same VNI 1"),
        ("{trunk: all, vxlan: {local: 10.0.0.1, remotes: 10.0.0.2, vnis: {10: 16777216}}}", "a VNI cannot be"),
        ("{trunk: all, vxlan: {local: 10.0.0.1, remotes: 10.0.0.2, vnis: {offce: 1}}}", "no VLAN 'offce'"),
        ("{trunk: [20], vxlan: {local: 10.0.0.1, remotes: 10.0.0.2, vnis: {10: 1}}}", "does not carry it"),
        (f"{{trunk: all, websocket: '127.0.0.1:8080', vxlan: {{{TUNNEL}}}}}", "one peer"),
    ],
)
def test_what_is_wrong_with_one(given: str, words: str) -> None:
    found = mistakes(given)
    assert any(words in str(mistake) for mistake in found), found


def test_an_address_is_one_switchs_or_one_tunnels() -> None:
    [mistake] = mistakes("{websocket: '127.0.0.1:8080'}", FREE, "{websocket: '127.0.0.1:8080'}")
    assert "is taken by port s1:eth1 already" in str(mistake)
    [mistake] = mistakes(f"{{trunk: all, vxlan: {{{TUNNEL}}}}}", f"{{trunk: all, vxlan: {{{TUNNEL}}}}}")
    assert "is taken by port s1:eth1 already" in str(mistake)


@pytest.mark.parametrize("given", [WEBSOCKET, VXLAN])
def test_a_port_of_each_kind(given: dict[str, Any]) -> None:
    check({"ports": [port("eth1", **given)]})
    assert given["kind"] in KINDS and set(given) <= set(DRIVER_KEYS)


def test_how_tags_look_is_part_of_a_vxlan_driver_only() -> None:
    for given, same in ((WEBSOCKET, True), (VXLAN, False)):
        one, other = port("eth1", **given), port("eth1", **given, tpid=0x88A8)
        assert (driver_values(one) == driver_values(other)) == same


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({**WEBSOCKET, "at": "0.0.0.0:80"}, "public: true"),
        ({**WEBSOCKET, "at": 80}, "is text"),
        ({**WEBSOCKET, "public": 1}, "true or false"),
        ({**WEBSOCKET, "origins": "*"}, "list of texts"),
        ({**WEBSOCKET, "origins": ["a"]}, "no origin"),
        ({**VXLAN, "local": "127.0.0.2"}, "twice"),
        ({**VXLAN, "remotes": "127.0.0.2"}, "list of texts"),
        ({**VXLAN, "vnis": {"10": 1}}, "VID, VNI"),
        ({**VXLAN, "vnis": [[10, 1], [10, 2]]}, "two VNIs"),
        ({**VXLAN, "vnis": [[10, True]]}, "VID, VNI"),
        ({**VXLAN, "vnis": []}, "without a VNI"),
        ({**VXLAN, "station_age": 0}, "1 to 1000000"),
        ({**VXLAN, "inner_tags": "no"}, "true or false"),
        ({key: value for key, value in VXLAN.items() if key != "remotes"}, "has no 'remotes'"),
        ({key: value for key, value in VXLAN.items() if key != "vnis"}, "has no 'vnis'"),
    ],
)
def test_what_switchd_does_not_take(given: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        check({"ports": [port("eth1", **given)]})


def test_what_to_paste() -> None:
    ways = networkways.ways("s1:eth5", {"name": "eth5", **WEBSOCKET}, "02:00:00:00:00:01")
    assert 'relay_url: "ws://127.0.0.1:8080/eth5"' in ways["v86"]
    assert 'new WebSocket("ws://127.0.0.1:8080/eth5")' in ways["node"]
    row = {**VXLAN, "vnis": [[10, 1010], [20, 1020]], "remotes": ["127.0.0.2", "127.0.0.3"]}
    ways = networkways.ways("s1:eth6", row, "02:00:00:00:00:01")
    assert ways["kernel"].count("type vxlan id 10") == 2
    assert "local 127.0.0.2 remote 127.0.0.1 dstport 4789" in ways["kernel"]
    assert "options:remote_ip=127.0.0.1 options:key=1020" in ways["openvswitch"]
    assert set(networkways.PROGRAMS) >= {*ways, "v86", "node"} - {"kernel"}


def test_a_lab_with_both_is_a_lab() -> None:
    assert load("{websocket: '127.0.0.1:8080'}", f"{{trunk: all, vxlan: {{{TUNNEL}}}}}").lab.name == "plugs"


def test_a_switch_without_such_a_port_loads_neither_driver_nor_library() -> None:
    program = (
        "import daemons.switchd, sys; print(*sorted({'wsproto', 'h11', 'netvirt.ports.vxlan'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == ""
