"""The TAP driver: the contract, plugs handed over, junk, and what a descriptor is not. Without any privilege.

The peer is a socket pair that keeps frames apart, in a TAP's place; real TAPs are in t4_process.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from netvirt.burst import Burst
from netvirt.dataplane.queue import Queue
from netvirt.ports import handover
from netvirt.ports.errors import PortError
from netvirt.ports.handover import hand_over
from netvirt.ports.loop import Loop
from netvirt.ports.tap import TapPort
from tests.support.contracts import check_port
from tests.support.links import End, frame, numbers, run_until


class TapRig:
    """The other end of the pair is the peer's; the connection over which it was handed over is the plug."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "p.tap")
        self.loop = Loop()
        self.end = End(self.loop, 1 << 20)
        self.queue, self.received, self.carriers = self.end.queue, self.end.frames, self.end.carriers
        self.port = TapPort(self.loop, self.queue, self.end.receive, self.end.carrier_changed, path=self.path)
        self.peer: socket.socket | None = None
        self.plug: socket.socket | None = None
        self.got: list[bytes] = []

    def peer_comes(self) -> None:
        self.got = []
        self.peer, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.peer.setblocking(False)
        self.plug = socket.socket(socket.AF_UNIX)
        self.plug.connect(self.path)
        socket.send_fds(self.plug, [b"x"], [theirs.fileno()])
        theirs.close()

    def peer_sends(self, frames: Sequence[bytes]) -> None:
        assert self.peer is not None
        for data in frames:
            while True:
                with contextlib.suppress(BlockingIOError):
                    self.peer.send(data)
                    break
                self.loop.run_once(0)

    def peer_got(self) -> list[bytes]:
        with contextlib.suppress(BlockingIOError):
            while self.peer is not None and (data := self.peer.recv(1 << 17)):
                self.got.append(data)
        return self.got

    def peer_goes(self) -> None:
        for one in (self.plug, self.peer):
            if one is not None:
                one.close()
        self.plug = self.peer = None

    def close(self) -> None:
        self.port.close()
        self.peer_goes()
        self.loop.close()

    def answer(self) -> str:
        assert self.plug is not None
        self.plug.setblocking(False)
        found: list[bytes] = []

        def heard() -> bool:
            with contextlib.suppress(BlockingIOError):
                assert self.plug is not None
                found.append(self.plug.recv(1000))
            return bool(found)

        run_until(heard, self.loop, what="an answer")
        return found[0].decode()


@pytest.fixture
def rig(folder: Path) -> Iterator[TapRig]:
    made = TapRig(folder)
    made.port.open()
    yield made
    made.close()
    assert made.loop.mistakes == 0


def plugged(rig: TapRig) -> None:
    rig.peer_comes()
    run_until(lambda: rig.port.carrier, rig.loop, what="carrier")


def count(rig: TapRig, name: str) -> int:
    return int(rig.port.statistics().get(name, 0))


def test_a_tap_port(folder: Path) -> None:
    check_port(lambda: TapRig(folder))


def test_sizes(rig: TapRig) -> None:
    plugged(rig)
    assert rig.peer is not None
    rig.peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    rig.peer_sends([frame(1)[:13], frame(2, 65558), frame(3)[:14] + bytes(4), frame(4, 65557), frame(5)])
    run_until(lambda: len(rig.received) == 3, rig.loop, what="the good ones")
    assert [len(data) for data in rig.received] == [18, 65557, 60]
    assert rig.received[1] == frame(4, 65557)
    assert (count(rig, "runt"), count(rig, "oversize")) == (1, 1)


def test_what_is_on_its_way_in_one_turn_is_bounded(rig: TapRig) -> None:
    plugged(rig)
    assert rig.peer is not None
    rig.peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    turns: list[int] = []
    receive = rig.port._receive
    rig.port._receive = lambda message: (turns.append(len(message)), receive(message))[0]
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while sent < 200:
            rig.peer.send(frame(sent, 9000))
            sent += 1
    run_until(lambda: len(rig.received) == sent, rig.loop, what="all of them")
    assert numbers(rig.received) == list(range(sent))
    assert max(turns) < (128 << 10) + 65600


def test_frames_with_a_virtio_header_are_not_for_a_peer_without(rig: TapRig) -> None:
    plugged(rig)
    burst = Burst()
    burst.append(frame(1), vnet=bytes(12), flags=1)
    burst.append(frame(2))
    assert rig.queue.append_burst(burst.message()) == 2
    rig.port.flush()
    run_until(lambda: len(rig.peer_got()) == 1, rig.loop, what="the other one")
    assert numbers(rig.got) == [2]
    assert count(rig, "offload-unsupported") == 1


def test_a_second_plug_is_told_that_there_is_one(rig: TapRig) -> None:
    plugged(rig)
    assert rig.answer() == '{"ok": true}\n'
    first = rig.plug
    other, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    rig.plug = socket.socket(socket.AF_UNIX)
    rig.plug.connect(rig.path)
    assert "has a TAP already" in rig.answer()
    for one in (other, theirs, first):
        assert one is not None
        one.close()
    run_until(lambda: not rig.port.carrier, rig.loop, what="the first one gone")
    assert count(rig, "refused-plugs") == 1


def test_who_gives_nothing_does_not_hold_the_port(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "_PATIENCE_SECONDS", 0.01)
    rig = TapRig(folder)
    rig.port.open()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(rig.path)
        rig.plug = silent
        assert rig.answer() == ""
        rig.plug = None
    plugged(rig)
    rig.loop.run_once(0.05)
    assert rig.port.carrier  # and who has given something stays
    rig.close()


@pytest.mark.parametrize("what", ["a file", "a stream", "nothing"])
def test_what_is_no_tap_is_refused_with_a_sentence(rig: TapRig, what: str, folder: Path) -> None:
    rig.plug = socket.socket(socket.AF_UNIX)
    rig.plug.connect(rig.path)
    if what == "nothing":
        rig.plug.send(b"hello")
        rig.plug.shutdown(socket.SHUT_WR)
        assert rig.answer() == ""
    else:
        pair = socket.socketpair()
        fd = os.open(folder / "file", os.O_CREAT | os.O_RDWR) if what == "a file" else os.dup(pair[0].fileno())
        socket.send_fds(rig.plug, [b"x"], [fd])
        os.close(fd)
        for one in pair:
            one.close()
        assert "neither a TAP nor a socket that keeps frames apart" in rig.answer()
    rig.peer_goes()
    plugged(rig)
    rig.peer_sends([frame(7)])
    run_until(lambda: len(rig.received) == 1, rig.loop, what="the next plug's frame")


def test_many_descriptors_at_once_are_not_kept(rig: TapRig) -> None:
    plugged(rig)
    assert rig.plug is not None
    before = len(os.listdir("/proc/self/fd"))
    socket.send_fds(rig.plug, [b"x"], [rig.plug.fileno()] * 3)
    run_until(lambda: True, rig.loop)
    rig.loop.run_once(0)
    assert len(os.listdir("/proc/self/fd")) == before
    assert rig.port.carrier


def test_a_descriptor_of_ones_own() -> None:
    loop = Loop()
    end = End(loop)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    port = TapPort(loop, end.queue, end.receive, end.carrier_changed, fd=theirs.detach())
    port.open()
    assert port.carrier and end.carriers == [True]
    ours.send(frame(1))
    run_until(lambda: end.frames, loop, what="a frame")
    ours.close()
    run_until(lambda: not port.carrier, loop, what="its end")
    assert port.statistics()["ended-eof"] == 1
    port.close()
    loop.close()


@pytest.mark.parametrize("name", ["a/b", "", "sixteen-bytes-xx", "a b", ".."])
def test_names_that_no_interface_has(name: str, folder: Path) -> None:
    loop = Loop()
    end = End(loop)
    with pytest.raises(PortError, match="no name for an interface"):
        TapPort(loop, end.queue, end.receive, end.carrier_changed, name=name or " ")
    loop.close()


def test_nobody_to_hand_over_to(folder: Path) -> None:
    with pytest.raises(PortError, match="is the lab up"):
        hand_over(str(folder / "nobody"), 0)


def test_an_interface_that_is_not_there_is_waited_for() -> None:
    loop = Loop()
    queue = Queue()
    port = TapPort(loop, queue, lambda message: None, lambda up: None, name="vf-no-such-tap")
    port.open()
    loop.run_once(0)
    assert not port.carrier and "problem" not in port.statistics()
    port.close()
    loop.close()
