"""Linux's own VXLAN devices in a namespace, and our tunnel end point in another: two VNIs, ping, TCP, nothing wrong."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from netvirt.ports.handover import hand_over
from tests.support import peers
from tests.support.rooms import Host, Room
from tests.support.switches import Switch, port
from tests.support.tap_child import pattern
from tests.support.taps import Stack
from tests.support.waiting import until

pytestmark = pytest.mark.peer("unshare")
HERE, THERE = "192.168.9.1", "192.168.9.2"
VNIS = {10: 1010, 20: 1020}
SIZE = 2_000_001
INNER_MTU = 1450


def device(host: Host, vid: int, vni: int) -> None:
    """A VXLAN device of Linux with an address of its VLAN."""
    add = f"link add vx{vid} mtu {INNER_MTU} type vxlan id {vni} local {THERE} remote {HERE} dstport 4789".split()
    host.do(op="ip", words=add)
    host.do(op="ip", words=f"address add 10.{vid}.0.2/24 dev vx{vid}".split())
    host.do(op="ip", words=f"address add fd{vid}::2/64 dev vx{vid} nodad".split())
    host.do(op="ip", words=["link", "set", f"vx{vid}", "up"])


def stack(vid: int) -> Stack:
    return Stack([f"10.{vid}.0.1/24", f"fd{vid}::1/64"], None, INNER_MTU)


def cut_in_software(room: Room, host: Host) -> None:
    """As on a real card's driver without tunnel offloads: else a veth hands large packets over whole."""
    ethtool = peers.need("ethtool")
    features = ("tx-udp_tnl-segmentation", "tx-udp_tnl-csum-segmentation")
    inside = ("nsenter", "-t", str(host._process.pid), "-n")
    room.run(*inside, ethtool, "-K", "eth0", *(word for feature in features for word in (feature, "off")))


def ping(stack: Stack, address: str) -> None:
    inside = ["nsenter", "-t", str(stack.process.pid), "-U", "-n", "--preserve-credentials"]
    words = [*inside, peers.need("busybox"), "ping", "-c", "3", "-i", "0.2", "-W", "5", address]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert "3 packets received" in done.stdout, done.stdout + done.stderr


def digest(seed: int) -> list[int | str]:
    return [SIZE, hashlib.sha256(pattern(seed, SIZE)).hexdigest()]


def talk(a: Any, b: Any, to: str) -> None:
    number = b.do(op="bind", address=to, kind="tcp")
    b.ask(op="serve", seed=2, size=SIZE)
    a.ask(op="call", address=to, port=number, seed=1, size=SIZE)
    assert (a.answer(), b.answer()) == (digest(2), digest(1))


@contextmanager
def joined(home: Path) -> Iterator[tuple[Switch, Room, Host, dict[int, Stack]]]:
    """Stacks by VLAN at access ports of a switch, whose port `tun` leads to a host with a VXLAN device for each."""
    with Room() as room, ExitStack() as after:
        host = room.host("way", THERE)
        room.run("ip", "address", "add", f"{HERE}/24", "dev", "way")
        taps = [port(f"eth{vid}", pvid=vid, kind="tap", path=f"{home}/run/{vid}.tap") for vid in VNIS]
        tunnel = port(
            "tun", mode="trunk", pvid=0, allowed="10,20", kind="vxlan", local=HERE, remotes=[THERE],
            vnis=[list(pair) for pair in VNIS.items()],
        )  # fmt: skip
        switch = Switch(home / "run", "s1", [*taps, tunnel], inside=room.inside)
        after.callback(switch.close)
        stacks = {}
        for vid, vni in VNIS.items():
            device(host, vid, vni)
            stacks[vid] = after.enter_context(stack(vid))
            after.enter_context(hand_over(f"{home}/run/{vid}.tap", stacks[vid].tap))
        switch.up("tun", *(f"eth{vid}" for vid in VNIS))
        yield switch, room, host, stacks
        assert "internal error" not in switch.log.read_text()


@pytest.mark.parametrize("card", [False, True])
def test_two_vnis_ping_and_tcp_both_ways(home: Path, card: bool) -> None:
    """card: the way there says that it cuts up large packets by itself, as a veth does, which never does."""
    with joined(home) as (switch, room, host, stacks):
        if not card:
            cut_in_software(room, host)
        for vid, each in stacks.items():
            ping(each, f"10.{vid}.0.2")
            for to in (f"10.{vid}.0.2", f"fd{vid}::2"):
                talk(each, host, to)
            talk(host, each, f"10.{vid}.0.1")
            assert each.do(op="errors") == {}
        assert host.do(op="errors") == {}
        link = switch.port("tun")["link"]
        wrong = ("unknown-remote", "bad-flags", "unknown-vni", "runt", "oversize", "tag-inside", "too-long-to-send")
        assert [link[name] for name in wrong] == [0] * len(wrong)
        assert link["mtu"] == INNER_MTU
        assert link["stations"] == 2
        assert (link["large"] > 0) == card
        assert link["checksums-finished"] > 0
        until(lambda: switch.port("tun")["link"]["rx_frames"] == switch.port("tun")["rx_frames"])
