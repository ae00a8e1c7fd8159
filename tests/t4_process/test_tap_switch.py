"""Linux stacks behind TAPs and veths, joined by a real switchd: no kernel finds anything wrong in whole connections."""

from __future__ import annotations

import contextlib
import hashlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemons.client import Refused
from netvirt.dataplane import offload
from netvirt.ports.handover import hand_over
from tests.support import peers
from tests.support.rooms import Room, need_namespaces
from tests.support.switches import Make, port
from tests.support.tap_child import pattern
from tests.support.taps import Stack
from tests.support.waiting import until

pytestmark = pytest.mark.peer("unshare")
ALL = 0x6F
SIZE = 3_000_001
FOUR, SIX = ("10.9.0.1", "10.9.0.2"), ("fd09::1", "fd09::2")


def stack(number: int, bits: int | None, mtu: int = 1500) -> Stack:
    return Stack([f"10.9.0.{number}/24", f"fd09::{number}/64"], bits, mtu)


def plug(home: Path, name: str, **more: Any) -> dict[str, Any]:
    return port(name, kind="tap", path=f"{home}/run/{name}.tap", **more)


@contextlib.contextmanager
def plugged(home: Path, *stacks: Stack) -> Iterator[None]:
    """Their TAPs in eth1, eth2 ... of whichever switch has them."""
    with contextlib.ExitStack() as stack:
        for number, each in enumerate(stacks, 1):
            stack.enter_context(hand_over(f"{home}/run/eth{number}.tap", each.tap))
        yield


def digest(seed: int, size: int) -> list[int | str]:
    return [size, hashlib.sha256(pattern(seed, size)).hexdigest()]


def talk(a: Any, b: Any, to: str, size: int = SIZE) -> None:
    """a sends `size` bytes to b and b to a, over one TCP connection; neither kernel finds anything wrong."""
    number = b.do(op="bind", address=to, kind="tcp")
    b.ask(op="serve", seed=2, size=size)
    a.ask(op="call", address=to, port=number, seed=1, size=size)
    assert (a.answer(), b.answer()) == (digest(2, size), digest(1, size))
    assert a.do(op="errors") == b.do(op="errors") == {}


@pytest.mark.parametrize(("one", "other"), [(ALL, ALL), (ALL, 0), (ALL, None), (None, 1)])
@pytest.mark.parametrize("to", [FOUR[1], SIX[1]])
def test_tcp_between_taps_that_take_different_things(
    make: Make, home: Path, one: int | None, other: int | None, to: str
) -> None:
    switch = make("s1", plug(home, "eth1", offload=one == ALL), plug(home, "eth2", offload=other == ALL))
    with stack(1, one) as a, stack(2, other) as b, plugged(home, a, b):
        switch.up("eth1", "eth2")
        talk(a, b, to)
        found = [switch.port(name) for name in ("eth1", "eth2")]
        came, left = found[0]["link"]["rx_frames"], found[1]["link"]["tx_frames"]
        if one == ALL:
            assert came < left if other != ALL else left <= came  # cut up, or whole
        for each in found:
            assert each["link"]["refused"] == each["link"]["cut"] == each["link"]["offload-unsupported"] == 0
            assert each["tx_frames"] == each["link"]["tx_frames"]
    until(lambda: not switch.port("eth1")["carrier"], what="the plug's end")


def test_jumbo_frames_and_a_tagged_trunk_between_two_switches(make: Make, home: Path) -> None:
    """What a TAP gives whole is cut up where it leaves over ZeroMQ, with a tag, and arrives at a TAP untagged."""
    first = make("s1", plug(home, "eth1"), port("up", mode="trunk", pvid=0, allowed="10,20"))
    far = {"kind": "dial", "endpoint": f"{first.url}#up"}
    make("s2", plug(home, "eth2"), port("up", mode="trunk", pvid=0, allowed="10,20", **far))
    with stack(1, ALL, 9000) as a, stack(2, None, 9000) as b, plugged(home, a, b):
        first.up("eth1", "up")
        talk(a, b, FOUR[1])


def test_a_tap_that_the_switch_makes(make: Make) -> None:
    need_namespaces(tun=True)
    with Room() as room:
        tap = {"kind": "tap", "device": "vftap", "create": True}
        switch = make("s1", port("eth1", **tap, device_mtu=4000), inside=room.inside)
        switch.up("eth1")
        assert "mtu 4000" in room.run("ip", "link", "show", "vftap")
        speed = "import socket; from netvirt.ports.tap_io import get_speed; s = socket.socket(); "
        speed += "print(get_speed(s.fileno(), 'vftap'))"
        assert room.run(sys.executable, "-c", speed) == "10000\n"
        switch.configure(ports=[port("eth1", **tap, device_mtu=4000, state="disabled")])
        assert "NO-CARRIER" in room.run("ip", "link", "show", "vftap")
        switch.configure(ports=[port("eth1", **tap, device_mtu=4000)])
        assert "LOWER_UP" in room.run("ip", "link", "show", "vftap")
        room.run("ip", "link", "set", "vftap", "down")
        until(lambda: not switch.port("eth1")["carrier"], what="no carrier")
        room.run("ip", "link", "set", "vftap", "up")
        switch.up("eth1")
        room.run("ip", "link", "delete", "vftap")
        until(lambda: switch.port("eth1")["link"].get("ended-ebadfd"), what="the end of the TAP")
        switch.up("eth1")  # and made again
        switch.configure(ports=[port("eth1", **tap, persistent=True)])
        switch.up("eth1")
        switch.configure(ports=[])
        assert "NO-CARRIER" in room.run("ip", "link", "show", "vftap")
        switch.configure(ports=[port("eth1", kind="tap", device="vftap")])
        switch.up("eth1")
        switch.configure(ports=[port("eth1", kind="tap", device="lo")])
        until(lambda: "no TAP" in switch.port("eth1")["link"].get("problem", ""), what="a sentence")


def test_without_the_right_the_port_has_a_sentence_and_the_others_work(make: Make) -> None:
    unshare = need_namespaces(tun=True)
    switch = make("s1", inside=(unshare, "-Ur"))  # no rights over the network namespace of its parent
    wrong = [port("eth1", kind="tap", device="vftap", create=True), port("eth2", kind="packet", device="lo")]
    switch.configure(ports=[*wrong, port("eth3"), port("eth4")])
    assert re.search(r"CAP_NET_ADMIN, or a user namespace.*ip tuntap add dev vftap", switch.port("eth1")["problem"])
    assert "CAP_NET_RAW" in switch.port("eth2")["problem"]
    assert not switch.port("eth1")["carrier"] and switch.port("eth3")["problem"] == ""
    with switch.nic("eth3") as one, switch.nic("eth4") as other:
        one.send(b"\xff" * 6 + bytes([2, 0, 0, 0, 0, 1]) + bytes(48))
        assert other.receive(5)
    switch.configure(ports=[port("eth1"), port("eth3")])
    assert switch.port("eth1")["problem"] == ""


def test_a_port_that_can_not_be_opened_is_tried_again(make: Make, home: Path) -> None:
    folder = home / "later"
    switch = make("s1", port("eth1", kind="tap", path=f"{folder}/eth1.tap"))
    assert f"cannot listen on {folder}/eth1.tap" in switch.port("eth1")["problem"]
    folder.mkdir()
    until(lambda: switch.port("eth1")["problem"] == "", what="another try")
    with stack(1, None) as a, hand_over(f"{folder}/eth1.tap", a.tap):
        switch.up("eth1")
    assert switch.log.read_text().count("cannot listen on") == 1


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"kind": "tap"}, "either a 'device'"),
        ({"kind": "tap", "device": "a", "path": "/b"}, "either a 'device'"),
        ({"kind": "tap", "device": 7}, "'device' is text"),
        ({"kind": "tap", "device": "a/b"}, "no name for an interface"),
        ({"kind": "tap", "device": "a", "create": 1}, "'create' is true or false"),
        ({"kind": "tap", "device": "a", "device_mtu": -1}, "'device_mtu' is a number"),
        ({"kind": "packet"}, "no 'device'"),
    ],
)
def test_configurations_that_can_not_be(make: Make, wrong: dict[str, Any], sentence: str) -> None:
    switch = make("s1")
    with pytest.raises(Refused, match=sentence):
        switch.configure(ports=[port("eth1", **wrong)])


@pytest.mark.parametrize("mtu", [1500, 9000])
def test_tcp_between_veths_and_one_that_comes_back(make: Make, mtu: int) -> None:
    with Room() as room:
        a, b = room.host("v1", FOUR[0], mtu), room.host("v2", FOUR[1], mtu)
        ports = [port(f"eth{n}", kind="packet", device=f"v{n}") for n in (1, 2)]
        switch = make("s1", *ports, inside=room.inside)
        switch.up("eth1", "eth2")
        talk(a, b, FOUR[1])
        link = switch.port("eth1")["link"]
        assert link["rx_bytes"] / link["rx_frames"] > mtu  # not cut up on the way
        assert link["refused"] == link["cut"] == 0
        room.run("ip", "link", "delete", "v1")
        until(lambda: not switch.port("eth1")["carrier"], what="the end of v1")
        a.plug()
        switch.up("eth1")
        talk(a, b, FOUR[1], 100_000)


def test_a_veth_with_offloads_and_a_tap_without(make: Make, home: Path) -> None:
    with Room() as room, stack(2, None) as b:
        a = room.host("v1", FOUR[0])
        ports = port("eth1", kind="packet", device="v1"), plug(home, "eth2")
        switch = make("s1", *ports, inside=room.inside)
        with hand_over(f"{home}/run/eth2.tap", b.tap):
            switch.up("eth1", "eth2")
            talk(a, b, FOUR[1])


@pytest.mark.parametrize("tpid", ["8100", "88a8"])
def test_tags_on_a_veth_trunk(make: Make, tpid: str) -> None:
    with Room() as room:
        a, b, c = (room.host(f"v{n}", f"10.9.0.{n}") for n in (1, 2, 3))
        trunk = {"mode": "trunk", "pvid": 0, "allowed": "10,20", "tpid": int(tpid, 16)}
        ports = [port(f"eth{n}", kind="packet", device=f"v{n}", **trunk) for n in (1, 2)]
        switch = make("s1", *ports, port("eth3", kind="packet", device="v3"), inside=room.inside)
        switch.up("eth1", "eth2", "eth3")
        for host in (a, b, c):
            host.do(op="raw")
        body = "88b5" + bytes(range(200)).hex()
        addresses = "ffffffffffff" + "020000000009"
        a.do(op="put", frames=[addresses + tpid + "600a" + body, addresses + tpid + "a014" + body + "77"])
        first = b.do(op="get", marker=body)
        assert first == [addresses + body, tpid + "600a"]
        assert b.do(op="get", marker=body + "77") == [addresses + body + "77", tpid + "a014"]
        assert c.do(op="get", marker=body) == [addresses + body, ""]  # VLAN 10, untagged


def test_uso(make: Make, home: Path) -> None:
    switch = make("s1", plug(home, "eth1"), plug(home, "eth2"))
    with stack(1, ALL) as a, stack(2, None) as b:
        if not a.takes & offload.USO4:
            peers.missing("Linux 6.2 (USO)")
        with plugged(home, a, b):
            switch.up("eth1", "eth2")
            number = b.do(op="bind", address=FOUR[1], kind="udp")
            b.ask(op="take", count=41)
            a.do(op="send", address=FOUR[1], port=number, seed=3, size=40_960, segment=1000)
            got = b.answer()
            data = pattern(3, 40_960)
            assert [bytes.fromhex(text) for text in got] == [data[at : at + 1000] for at in range(0, 40_960, 1000)]
            assert b.do(op="errors") == {}
