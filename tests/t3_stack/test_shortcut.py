"""The shortcut between compiled drivers: it moves what it may, and leaves to the loop what is not plain moving."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator

import pytest

from netvirt.dataplane.plane import Plane
from netvirt.ports.shortcut import Shortcut
from netvirt.ports.tap_io import TapIo
from netvirt.settings import PortSettings
from netvirt.switch import Switch
from tests.support.links import frame, numbers

ACCESS = PortSettings(mode="access", pvid=10, allowed=frozenset({10}))


class Bench:
    """A switch of three ports; a socket pair that keeps frames apart is in each of the first two, with a shortcut."""

    def __init__(self) -> None:
        self.switch = Switch("s1")
        self.plane: Plane = self.switch.plane
        self.epoll = select.epoll()
        self.shortcut = Shortcut(self.epoll.fileno(), self.plane)
        self.peers: list[socket.socket] = []
        self.ends: list[socket.socket] = []
        self.wires: list[TapIo] = []
        for number in range(3):
            self.switch.set_port(f"eth{number}", ACCESS)
            self.switch.set_carrier(f"eth{number}", True)
        for number in range(2):
            peer, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            wire = TapIo()
            wire.reset(end.fileno(), False)
            for one in (peer, end):
                one.setblocking(False)
            self.epoll.register(end.fileno(), select.EPOLLIN)
            self.shortcut.set(number, wire)
            self.peers.append(peer)
            self.ends.append(end)
            self.wires.append(wire)
        self.shortcut.armed = True

    def got(self, number: int) -> list[int]:
        found = []
        try:
            while True:
                found.append(self.peers[number].recv(1 << 17))
        except BlockingIOError:
            return numbers(found)

    def close(self) -> None:
        for one in (*self.peers, *self.ends):
            one.close()
        self.epoll.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


def test_frames_go_through_without_the_loop_hearing_of_it(bench: Bench) -> None:
    bench.switch.set_carrier("eth2", False)  # else a flood has to be told
    for number in range(5):
        bench.peers[0].send(frame(number))
    assert bench.shortcut.wait(0) == []
    assert bench.got(1) == [0, 1, 2, 3, 4]
    assert bench.plane.pending() == []
    assert bench.shortcut.moved and bench.shortcut.bursts == 1
    assert bench.plane.statistics(1)["tx_frames"] == 5 == bench.wires[1].statistics()["tx_frames"]


def test_other_ports_are_left_to_the_loop(bench: Bench) -> None:
    bench.peers[0].send(frame(1))
    assert bench.shortcut.wait(-1) == []  # returns by itself: a port without a shortcut has frames
    assert bench.got(1) == [1]
    assert bench.plane.pending() == [2]
    assert len(bench.switch.queue("eth2")) == 1


def test_other_descriptors_are_left_to_the_loop(bench: Bench) -> None:
    ours, theirs = os.pipe()
    bench.epoll.register(ours, select.EPOLLIN)
    os.write(theirs, b"x")
    bench.peers[0].send(frame(1))
    assert bench.shortcut.wait(-1) == [(ours, select.EPOLLIN)]
    os.close(ours)
    os.close(theirs)
    assert bench.got(1) == [1]


def test_without_arms_it_tells_of_the_first_burst(bench: Bench) -> None:
    bench.switch.set_carrier("eth2", False)
    bench.shortcut.armed = False
    bench.peers[0].send(frame(1))
    assert bench.shortcut.wait(-1) == []
    assert bench.got(1) == [1]


def test_timers_have_their_time_however_much_there_is_to_move(bench: Bench) -> None:
    bench.switch.set_carrier("eth2", False)
    for one in bench.peers:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    for number in range(300):
        bench.peers[0].send(frame(number))
    bench.shortcut.wait(0)
    assert bench.got(1) == list(range(256))  # one turn
    bench.shortcut.wait(0)
    assert bench.got(1) == list(range(256, 300))
    assert bench.shortcut.wait(0.001) == []


def test_a_full_peer_is_left_to_its_driver(bench: Bench) -> None:
    bench.switch.set_carrier("eth2", False)
    sent = 0
    while not (waiting := len(bench.switch.queue("eth1"))):
        bench.peers[0].send(frame(sent, 1514))
        sent += 1
        bench.shortcut.wait(0)
    assert bench.plane.pending() == [1]
    # The driver goes on where the shortcut stopped: nothing is lost or doubled.
    queue, got = bench.switch.queue("eth1"), bench.got(1)
    while (head := queue.head()) is not None:
        assert bench.wires[1].drain(head)
        queue.pop()
    assert waiting and got + bench.got(1) == list(range(sent))


def test_an_end_is_left_to_its_driver(bench: Bench) -> None:
    bench.peers[0].send(frame(1))
    bench.peers[0].close()
    [(fd, mask)] = bench.shortcut.wait(-1)
    assert fd == bench.ends[0].fileno() and mask & select.EPOLLIN
    assert bench.wires[0].fill() is not None and bench.wires[0].ended == "eof"


def test_captures_are_told(bench: Bench) -> None:
    bench.switch.set_carrier("eth2", False)
    made = bench.plane.add_capture([0])
    assert made is not None
    bench.peers[0].send(frame(1))
    assert bench.shortcut.wait(-1) == []
    assert bench.plane.pending_captures() == [made[0]]


def test_a_violation_forgets_the_stations(bench: Bench) -> None:
    limited = PortSettings(mode="access", pvid=10, allowed=frozenset({10}), mac_limit=1, on_limit="shutdown")
    bench.switch.set_port("eth0", limited)
    bench.peers[0].send(frame(1))
    other = bytes.fromhex("ffffffffffff 020000000077 88b5") + bytes(46)
    bench.peers[0].send(other)
    bench.shortcut.wait(-1)
    assert bench.switch.violations() == ["eth0"]
    assert len(bench.plane.macs) == 0


def test_a_port_that_is_taken_out(bench: Bench) -> None:
    assert len(bench.shortcut) == 2
    bench.shortcut.set(0, None)
    bench.shortcut.set(0, None)
    assert len(bench.shortcut) == 1
    bench.peers[0].send(frame(1))
    assert bench.shortcut.wait(-1) == [(bench.ends[0].fileno(), select.EPOLLIN)]
    with pytest.raises(ValueError, match="no port"):
        bench.shortcut.set(-1, None)
