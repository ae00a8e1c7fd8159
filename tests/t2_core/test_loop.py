"""daemons.loop: descriptors, timers, signals and ZeroMQ sockets, and nothing when there is nothing to do."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

import pytest
import zmq

from daemons.loop import Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


class Sockets:
    """ZeroMQ sockets of one context, all closed in the end."""

    def __init__(self) -> None:
        self.context = zmq.Context()
        self.made: list[zmq.Socket[bytes]] = []

    def pair(self, endpoint: str) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
        one, other = self.context.socket(zmq.DEALER), self.context.socket(zmq.DEALER)
        self.made += [one, other]
        one.bind(endpoint)
        other.connect(endpoint)
        return one, other


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    sockets = Sockets()
    yield sockets
    for socket_ in sockets.made:
        socket_.close(linger=0)
    sockets.context.term()


def turn(loop: Loop, rounds: int = 200) -> None:
    """Rounds until nothing is ready any more."""
    for _ in range(rounds):
        loop.run_once(0.005)


def test_reader_and_writer(loop: Loop) -> None:
    one, other = socket.socketpair()
    got: list[bytes] = []
    wrote: list[int] = []

    def write() -> None:
        wrote.append(one.send(b"hello"))
        loop.writer(one.fileno(), None)

    loop.reader(other.fileno(), lambda: got.append(other.recv(100)))
    loop.writer(one.fileno(), write)
    turn(loop, 5)
    assert (got, wrote) == ([b"hello"], [5])
    loop.reader(other.fileno(), None)
    one.send(b"unseen")
    turn(loop, 3)
    assert got == [b"hello"]
    one.close()
    other.close()


def test_hangup_reaches_the_reader(loop: Loop) -> None:
    one, other = socket.socketpair()
    got: list[bytes] = []

    def read() -> None:
        got.append(other.recv(100))
        loop.reader(other.fileno(), None)

    loop.reader(other.fileno(), read)
    one.close()
    turn(loop, 3)
    assert got == [b""]
    other.close()


def test_reader_that_ends_another_of_the_same_round(loop: Loop) -> None:
    """The second callback must not be called for a descriptor that the first one has closed."""
    pairs = [socket.socketpair() for _ in range(2)]
    called: list[int] = []

    def read(own: int) -> None:
        called.append(own)
        for _, end in pairs:
            loop.reader(end.fileno(), None)

    for index, (near, end) in enumerate(pairs):
        near.send(b"x")
        loop.reader(end.fileno(), partial(read, index))
    turn(loop, 3)
    assert len(called) == 1
    for near, end in pairs:
        near.close()
        end.close()


def test_timers_in_order_once_and_cancelled(loop: Loop) -> None:
    called: list[str] = []
    loop.call_later(0.02, lambda: called.append("late"))
    loop.call_later(0.0, lambda: called.append("early"))
    never = loop.call_later(0.01, lambda: called.append("never"))
    never.cancel()
    never.cancel()
    loop.call_later(0.04, loop.stop)
    loop.run()
    assert called == ["early", "late"]


def test_thousands_of_cancelled_timers_leave_no_heap(loop: Loop) -> None:
    for _ in range(5000):
        loop.call_later(1000, lambda: None).cancel()
    assert len(loop._timers) < 200
    assert loop._wait(None) == -1.0


def test_idle_loop_sleeps_without_a_timeout(loop: Loop, sockets: Sockets) -> None:
    one, other = sockets.pair("inproc://x")
    loop.zmq(one, lambda: None)
    one.send(b"x")
    loop.touch(one)
    turn(loop, 20)
    assert loop._wait(None) == -1.0
    before = loop.rounds
    loop.call_later(0.2, loop.stop)
    loop.run()
    assert loop.rounds - before <= 3, "an idle ZeroMQ socket must not keep the loop awake"
    assert other.recv() == b"x"


def test_zmq_messages_sent_while_the_callback_reads_one_at_a_time(loop: Loop, sockets: Sockets) -> None:
    """A callback may leave messages unread, and sockets take turns."""
    a, a2 = sockets.pair("inproc://a")
    b, b2 = sockets.pair("inproc://b")
    order: list[str] = []
    loop.zmq(a, lambda: order.append("a" + a.recv().decode()))
    loop.zmq(b, lambda: order.append("b" + b.recv().decode()))
    for i in range(50):
        a2.send(b"%d" % i)
        b2.send(b"%d" % i)
    turn(loop)
    assert [entry for entry in order if entry[0] == "a"] == [f"a{i}" for i in range(50)]
    assert [entry for entry in order if entry[0] == "b"] == [f"b{i}" for i in range(50)]
    first_b = next(index for index, entry in enumerate(order) if entry[0] == "b")
    assert first_b < 5, "one busy socket starves the other"


@pytest.mark.parametrize("transport", ["inproc", "ipc"])
def test_zmq_edge_swallowed_by_a_send(loop: Loop, sockets: Sockets, transport: str, home: os.PathLike[str]) -> None:
    """ZMQ_FD is edge-triggered: a send on the socket eats the edge; touch() brings the message out all the same."""
    endpoint = "inproc://x" if transport == "inproc" else f"ipc://{os.fspath(home)}/x"
    one, other = sockets.pair(endpoint)
    got: list[bytes] = []

    def read() -> None:
        with contextlib.suppress(zmq.Again):  # ZMQ_FD fires for more than messages
            got.append(one.recv(zmq.NOBLOCK))

    loop.zmq(one, read)
    turn(loop, 5)
    count = 300
    for i in range(count):
        other.send(b"%d" % i)
        one.send(b"back")  # outside the callback
        loop.touch(one)
        loop.run_once(0.0)
    for _ in range(2000):
        if len(got) == count:
            break
        loop.run_once(0.005)
    assert got == [b"%d" % i for i in range(count)]


def test_zmq_callback_removed_by_another_callback(loop: Loop, sockets: Sockets) -> None:
    one, other = sockets.pair("inproc://x")
    loop.zmq(one, lambda: loop.zmq(one, None))
    other.send(b"1")
    other.send(b"2")
    turn(loop, 10)
    assert one.recv() == b"1"
    one.close()
    loop.zmq(one, None)  # twice, and after the close: no harm


def test_zmq_socket_closed_without_a_word(loop: Loop, sockets: Sockets) -> None:
    one, _other = sockets.pair("inproc://x")
    loop.zmq(one, lambda: None)
    loop.touch(one)
    one.close()
    turn(loop, 3)
    assert loop._sockets == {}


def test_signal_is_called_from_the_loop() -> None:
    loop = Loop()
    called: list[int] = []
    before = signal.getsignal(signal.SIGUSR1)
    loop.on_signal(signal.SIGUSR1, lambda: called.append(1))
    os.kill(os.getpid(), signal.SIGUSR1)
    assert called == []
    turn(loop, 3)
    assert called == [1]
    loop.close()
    assert signal.getsignal(signal.SIGUSR1) == before


def test_a_mistake_is_told_and_counted_and_the_loop_goes_on(loop: Loop, capfd: pytest.CaptureFixture[str]) -> None:
    def wrong() -> None:
        raise RuntimeError("oh dear")

    called: list[int] = []
    loop.call_later(0, wrong)
    loop.call_later(0.001, lambda: called.append(1))
    loop.call_later(0.002, loop.stop)
    loop.run()
    assert (called, loop.mistakes) == ([1], 1)
    told = capfd.readouterr().err
    assert "oh dear" in told and "wrong" in told and "going on" in told


def test_a_mistake_that_repeats_does_not_fill_the_log(loop: Loop, capfd: pytest.CaptureFixture[str]) -> None:
    one, other = socket.socketpair()
    one.send(b"x")

    def wrong() -> None:
        raise RuntimeError("again")

    loop.reader(other.fileno(), wrong)
    turn(loop, 1000)
    assert loop.mistakes == 1000
    assert capfd.readouterr().err.count("RuntimeError: again") < 50
    loop.reader(other.fileno(), None)
    one.close()
    other.close()


@pytest.mark.parametrize("module", ["daemons.loop", "daemons.control"])
def test_light(module: str) -> None:
    """What switchd and hostd import must not bring the heavy parts of the library."""
    heavy = {"asyncio", "ssl", "logging", "dataclasses", "inspect", "pydantic", "ruamel", "scapy", "networkx", "zmq"}
    script = f"import sys, {module}; print(*sys.modules)"
    # -S: no site-packages hooks, which import what they like.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-S", "-P", "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert heavy & set(done.stdout.split()) == set()
