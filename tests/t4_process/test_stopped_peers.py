"""Peers behind a TAP, a veth and QEMU's stream, stopped with SIGSTOP under load: it costs nobody else a frame.

In a namespace without privilege: a switch, at it a sender, a receiver that must get every frame, and the three peers.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from netvirt.nic import Nic
from netvirt.ports.handover import hand_over
from tests.support.guest.guest import Guest
from tests.support.guest.image import image
from tests.support.links import numbers
from tests.support.rooms import Room
from tests.support.switches import Switch, port
from tests.support.tap_child import pattern
from tests.support.taps import Stack
from tests.support.waiting import until

pytestmark = pytest.mark.peer("unshare")
FLOOD = bytes.fromhex("02ffffffffff 020000000001 88b5")  # to a station that nobody has seen: everybody gets it
TAP, VETH, GUEST = "10.9.0.1", "10.9.0.2", "10.9.0.3"
SIZE = 3_000_001
ROUNDS, BURSTS, BURST = 3, 30, 100
GROWTH_KIB = 2048  # of a whole round of 4.5 MB that a stopped peer does not take


class Rig(NamedTuple):
    switch: Switch
    sender: Nic
    receiver: Nic


@contextlib.contextmanager
def switch_with(folder: Path, room: Room, **peer: Any) -> Iterator[Rig]:
    """eth1 the sender's, eth2 the receiver's, eth3 the veth's, eth4 the TAP's or the guest's."""
    ports = [port("eth1"), port("eth2"), port("eth3", kind="packet", device="v1"), port("eth4", **peer)]
    switch = Switch(folder, "s1", ports, inside=room.inside)
    try:
        with switch.nic("eth1") as sender, switch.nic("eth2") as receiver:
            switch.up("eth1", "eth2", "eth3")
            yield Rig(switch, sender, receiver)
        assert "internal error" not in switch.log.read_text()
    finally:
        switch.close()


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def rss_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def flood(rig: Rig) -> None:
    """Rounds of frames that all ports get; the receiver has every one, in order, and the switch grows no more."""
    sizes = []
    for turn in range(ROUNDS):
        for burst in range(BURSTS):
            wanted = [(turn * BURSTS + burst) * BURST + n for n in range(BURST)]
            rig.sender.send_burst([FLOOD + n.to_bytes(4) + bytes(1496) for n in wanted], timeout=20)
            got: list[bytes] = []
            while len(got) < BURST:
                frame = rig.receiver.receive(20)
                assert frame is not None, f"{len(got)} of {BURST} frames"
                if frame.startswith(FLOOD):
                    got.append(frame)
            assert numbers(got) == wanted
        sizes.append(rss_kib(rig.switch.process.pid))
    assert sizes[-1] - sizes[0] < GROWTH_KIB, sizes


def digest(seed: int) -> list[int | str]:
    return [SIZE, hashlib.sha256(pattern(seed, SIZE)).hexdigest()]


@pytest.mark.parametrize("which", ["tap", "packet"])
def test_a_connection_to_a_stopped_process_goes_on(home: Path, which: str) -> None:
    """Its kernel takes what its buffers hold; TCP waits, and ends whole after SIGCONT."""
    path = f"{home}/run/eth4.tap"
    with Room() as room, Stack([f"{TAP}/24"], 0x6F) as stack:
        host = room.host("v1", VETH)
        peer, pid, other, to = (
            (stack, stack.process.pid, host, TAP) if which == "tap" else (host, host._process.pid, stack, VETH)
        )
        with switch_with(home / "run", room, kind="tap", path=path) as rig, hand_over(path, stack.tap):
            rig.switch.up("eth4")
            number = peer.do(op="bind", address=to, kind="tcp")
            with stopped(pid):
                peer.ask(op="serve", seed=2, size=SIZE)
                other.ask(op="call", address=to, port=number, seed=1, size=SIZE)
                name = "eth4" if which == "tap" else "eth3"
                until(lambda: rig.switch.port(name)["link"]["tx_bytes"] > 50_000, what="a connection that has begun")
                flood(rig)
            assert (other.answer(), peer.answer()) == (digest(2), digest(1))
            assert stack.do(op="errors") == host.do(op="errors") == {}


@pytest.mark.peer("qemu-system-x86_64")
def test_a_stopped_guest_on_a_stream_loses_frames_and_answers_again(home: Path) -> None:
    path = f"{home}/run/guest.sock"
    card = ("-netdev", f"stream,id=n,server=off,addr.type=unix,addr.path={path}", "-device", "virtio-net-pci,netdev=n")
    files = image()
    with Room() as room:
        room.host("v1", VETH)
        listening = {"kind": "qemu", "role": "listen", "path": path}
        with (
            switch_with(home / "run", room, **listening) as rig,
            Guest(files, home / "run" / "guest.log", *card) as guest,
        ):
            guest.must(f"ip address add {GUEST}/24 dev eth0; ip link set eth0 up")
            until(lambda: guest.run(f"ping -c1 -W2 {VETH}").code == 0, 40, "an answer before")
            assert guest._process is not None
            with stopped(guest._process.pid):
                flood(rig)
                found = rig.switch.port("eth4")
                assert found["carrier"] and found["drops"]["queue-full"] > 1000
            until(lambda: rig.switch.port("eth4")["waiting_frames"] == 0, what="the guest takes what waited")
            until(lambda: guest.run(f"ping -c1 -W2 {VETH}").code == 0, 40, "an answer after")
            link = rig.switch.port("eth4")["link"]
            assert link["connects"] == 1, link
