"""Ports with udp:, vde: and qemu: dgram: from the file to the configuration, and what is wrong with one."""

from __future__ import annotations

from typing import Any

import pytest

from daemons.lab import loader, plan
from daemons.lab.mistake import LabError, Mistake
from daemons.switch_config import check
from tests.t2_core.test_lab_plan import PLACES, ports

LAB = """
name: plugs
topology:
  nodes:
    s1:
      kind: switch
      ports:
        eth1: %s
        eth2: %s
    s2: {kind: switch, ports: {eth1: %s}}
  links: [{endpoints: ["s1:eth9", "s2:eth9"]}]
"""
FREE = "{access: 1}"


def load(*given: str) -> loader.LoadedLab:
    return loader.parse(LAB % (*given, *[FREE] * (3 - len(given))))


def made(*given: str) -> dict[str, Any]:
    """The ports of s1, and switchd takes them."""
    config = plan.switch_config(load(*given).lab, "s1", PLACES, 1)
    check(config)
    return ports(config)


def row(port: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: port[key] for key in ("kind", "peer", *keys)}


def test_udp() -> None:
    port = made("{access: 10, udp: {listen: 127.0.0.1:5000, connect: 192.168.7.2:5001}}")["eth1"]
    addresses = {"listen": "127.0.0.1:5000", "connect": "192.168.7.2:5001"}
    assert row(port, *addresses) == {"kind": "udp", "peer": "UDP 192.168.7.2:5001", **addresses}
    assert port["pvid"] == 10
    assert made('{udp: {listen: "[::1]:5000", connect: "[fd00::2]:5000"}}')["eth1"]["listen"] == "[::1]:5000"


def test_dgram() -> None:
    port = made("{access: 10, qemu: dgram}")["eth1"]
    paths = {"path": "/run/s1-eth1.dgram", "peer_path": "/run/s1-eth1.guest"}
    assert row(port, *paths) == {"kind": "dgram", "peer": "a QEMU guest", **paths}
    port = made("{qemu: {role: dgram, path: /a/s, peer: /a/q}}")["eth1"]
    assert (port["path"], port["peer_path"]) == ("/a/s", "/a/q")


def test_vde_ports_share_a_folder_and_have_numbers() -> None:
    found = made("{access: 10, vde: listen}", "{access: 10, vde: {listen: auto, port: 7}}")
    keys = {"role": "listen", "folder": "/run/s1.vde"}
    assert row(found["eth1"], *keys, "number") == {"kind": "vde", "peer": "a VDE plug", **keys, "number": 1}
    assert found["eth2"]["number"] == 7
    found = made("{vde: {listen: /a/v}}", "{vde: {listen: /a/v}}")
    assert [(found[name]["folder"], found[name]["number"]) for name in ("eth1", "eth2")] == [("/a/v", 1), ("/a/v", 2)]


def test_a_plug_into_a_vde_switch() -> None:
    found = made("{vde: {plug: /a/v}}", "{vde: {plug: /a/v, port: 3}}")
    assert [found[name]["number"] for name in ("eth1", "eth2")] == [0, 3]
    assert row(found["eth1"], "role", "folder") == {
        "kind": "vde", "peer": "vde_switch /a/v", "role": "plug", "folder": "/a/v",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("port", "words"),
    [
        ("{udp: {listen: 127.0.0.1:5000}}", "connect"),
        ("{udp: {listen: 127.0.0.1:5000, connect: 127.0.0.1:5000}}", "one address"),
        ('{udp: {listen: 127.0.0.1:5000, connect: "[::1]:5000"}}', "IPv4 and IPv6"),
        ("{udp: {listen: localhost:5000, connect: 127.0.0.1:5001}}", "in numbers"),
        ("{udp: {listen: 127.0.0.1:0, connect: 127.0.0.1:5001}}", "out of range"),
        ("{udp: 127.0.0.1:5000}", "mapping"),
        ("{vde: {}}", "listens or plugs in"),
        ("{vde: {listen: /a, plug: /b}}", "listens or plugs in"),
        ("{vde: {listen: a}}", "absolute path"),
        (f"{{vde: {{listen: /{'a' * 91}}}}}", "too long"),
        ("{vde: {listen: /a, port: 0}}", "1 to 65535"),
        ("{vde: plug}", "mapping"),
        ("{qemu: {role: dial, peer: /a}}", "role: dgram"),
        ("{qemu: {role: dgram, path: /a, peer: /a}}", "one file"),
        ("{qemu: dgram, vde: listen}", "one peer"),
        ("{udp: {listen: 127.0.0.1:5000, connect: 127.0.0.1:5001}, vde: listen}", "one peer"),
    ],
)
def test_mistakes(port: str, words: str) -> None:
    found = mistakes(port)
    assert found and any(words in str(each) for each in found), found
    assert all(each.line == 8 for each in found)


def mistakes(*given: str) -> list[Mistake]:
    with pytest.raises(LabError) as caught:
        load(*given)
    return list(caught.value.mistakes)


def test_one_address_and_one_folder_have_one_owner() -> None:
    udp = "{udp: {listen: 127.0.0.1:5000, connect: 127.0.0.1:5001}}"
    [mistake] = mistakes(udp, udp)
    assert "taken by port s1:eth1" in str(mistake) and mistake.line == 9
    [mistake] = mistakes("{vde: {listen: /a}}", FREE, "{vde: {listen: /a}}")
    assert "taken by port s1:eth1" in str(mistake) and mistake.line == 10
    made("{vde: {plug: /a}}", "{vde: {plug: /a}}")


def test_a_plug_and_a_link_are_two_peers() -> None:
    text = LAB.replace("s1:eth9", "s1:eth1") % ("{vde: listen}", FREE, FREE)
    with pytest.raises(LabError, match="is an end of the link"):
        loader.parse(text)
