"""netvirt.Nic, as a program uses it, against a listener in another thread: blocking calls, timeouts, sentences."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from netvirt import Nic
from netvirt.burst import Burst, BurstError
from netvirt.ports.errors import PortError
from netvirt.ports.loop import Loop
from tests.support.links import End, frame, frames_message, listen_port, listener, numbers, open_files
from tests.support.waiting import until


class Wall:
    """A listener with ports eth1 and eth2 in a thread of its own. Everything that touches it runs there, by do()."""

    def __init__(self, folder: Path) -> None:
        self.url = f"ipc://{folder}/s.zmq"
        self.endpoint = self.url + "#eth1"
        self.epoch = 0
        self.start()

    def start(self) -> None:
        self.epoch += 1
        self._jobs: list[Callable[[], Any]] = []
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,))
        self._thread.start()
        assert ready.wait(10)

    def _run(self, ready: threading.Event) -> None:
        loop = Loop()
        at = listener(loop, self.url, self.epoch)
        self.ports: dict[str, End] = {}
        for name in ("eth1", "eth2"):
            self.ports[name] = listen_port(at, name)
            self.ports[name].driver.open()
        self._stopping = False
        ready.set()
        while not self._stopping:
            loop.run_once(0.005)
            while self._jobs:
                self._jobs.pop(0)()
        at.close()
        loop.close()
        self.mistakes = loop.mistakes

    def do(self, job: Callable[[], Any]) -> Any:
        done: list[Any] = []
        self._jobs.append(lambda: done.append(job()))
        until(lambda: done)
        return done[0]

    def send(self, *frames: bytes) -> None:
        self.do(lambda: self.ports["eth1"].send(*frames))

    def got(self) -> list[int]:
        return numbers(list(self.ports["eth1"].frames))

    def stop(self) -> None:
        """No goodbye: as if it were killed."""
        self._stopping = True
        self._thread.join(10)
        assert self.mistakes == 0


@pytest.fixture
def wall() -> Iterator[Wall]:
    with tempfile.TemporaryDirectory(prefix="vf-", dir="/tmp") as folder:
        made = Wall(Path(folder))
        yield made
        made.stop()


def test_send_and_receive(wall: Wall) -> None:
    with Nic.connect(wall.endpoint, mac="02:00:00:00:00:07", name="h1") as nic:
        assert nic.carrier and nic.mac == "02:00:00:00:00:07"
        assert nic.send(frame(1))
        until(lambda: wall.got() == [1])
        wall.send(frame(2), frame(3))
        assert (nic.receive(), nic.receive()) == (frame(2), frame(3))
        assert wall.ports["eth1"].driver.peer == "h1"
        assert nic.statistics()["state"] == "up"
    until(lambda: not wall.ports["eth1"].driver.carrier)


def test_without_a_mac_it_has_one_of_its_own(wall: Wall) -> None:
    with Nic.connect(wall.endpoint) as one, Nic.connect(wall.url + "#eth2") as two:
        first = int(one.mac[:2], 16)
        assert one.mac != two.mac and first & 3 == 2


def test_bursts_in_both_directions(wall: Wall) -> None:
    with Nic.connect(wall.endpoint) as nic:
        for n in range(0, 1000, 100):
            assert nic.send_burst([frame(n + k) for k in range(100)])
        until(lambda: wall.got() == list(range(1000)))
        burst = Burst()
        burst.append(frame(7), time_ns=70, identity=700)
        assert nic.send_burst(burst)
        until(lambda: len(wall.got()) == 1001)
        wall.send(*(frame(n) for n in range(300)))
        got: list[int] = []
        while len(got) < 300:
            back = nic.receive_burst(5)
            assert back is not None
            got += numbers(back.frames())
        assert got == list(range(300))
        assert nic.send_burst([])


def test_more_than_all_windows_and_queues_hold(wall: Wall) -> None:
    with Nic.connect(wall.endpoint) as nic:
        for n in range(100):
            assert nic.send_burst([frame(100 * n + k, 1514) for k in range(100)], timeout=10)
        until(lambda: nic.receive(0) is None and len(wall.got()) == 10_000)  # what waits goes on with any call
        assert wall.got() == list(range(10_000))
        queue = nic.statistics()["queue"]
        assert isinstance(queue, dict) and queue["drops"] == {}


def test_timeouts_end_without_anything_arriving(wall: Wall) -> None:
    with Nic.connect(wall.endpoint) as nic:
        for timeout in (0, 0.01):
            assert nic.receive(timeout) is None
            assert nic.receive_burst(timeout) is None


@pytest.mark.parametrize("size", [0, 13, 65_558])
def test_what_can_be_no_frame_is_a_value_error(wall: Wall, size: int) -> None:
    with Nic.connect(wall.endpoint) as nic:
        with pytest.raises(ValueError):
            nic.send(bytes(size))
        with pytest.raises(BurstError):
            nic.send_burst([frame(1), bytes(size)])
        assert nic.send(frame(2, 65_557)) and nic.send(frame(3, 18)[:14])
        until(lambda: len(wall.ports["eth1"].frames) == 2)


def test_a_taken_port_is_one_sentence(wall: Wall) -> None:
    with Nic.connect(wall.endpoint, name="h1") as first:
        with pytest.raises(PortError, match=r"can't plug into ipc://.*#eth1: port eth1 of s1 is taken by h1"):
            Nic.connect(wall.endpoint, timeout=0.5)
        assert first.send(frame(1))
        until(lambda: wall.got() == [1])


def test_an_unknown_port_nobody_there_and_no_endpoint_are_one_sentence_each(wall: Wall) -> None:
    for endpoint, says in (
        (wall.url + "#eth9", "s1 has no port eth9"),
        ("ipc:///tmp/vf-nobody-is-here.zmq#eth1", "nobody listens there"),
        (wall.url, "which port"),
        ("eth1", "no endpoint"),
        ("tcp://127.0.0.1:1#eth1", "CURVE"),
    ):
        with pytest.raises(PortError, match=says) as caught:
            Nic.connect(endpoint, timeout=0.3)
        assert "\n" not in str(caught.value)


def test_carrier_goes_and_comes_back_by_itself(wall: Wall) -> None:
    with Nic.connect(wall.endpoint) as nic:
        for n in range(3):
            wall.stop()
            until(lambda: nic.receive(0.01) is None and not nic.carrier)
            assert nic.send(frame(99), timeout=0) is False
            wall.start()
            assert nic.send(frame(n), timeout=20)
            until(lambda n=n: wall.got() == [n])
            wall.send(frame(10 + n))
            assert nic.receive(10) == frame(10 + n)


def test_close_delivers_what_was_sent(wall: Wall) -> None:
    for round_number in range(5):
        nic = Nic.connect(wall.endpoint)
        assert nic.send_burst([frame(n, 1000) for n in range(500)])
        nic.close()
        nic.close()
        until(lambda: not wall.ports["eth1"].driver.carrier)
        assert wall.got() == list(range(500)) * (round_number + 1)


def test_a_reader_that_does_not_read_loses_frames_counted_and_keeps_the_carrier(wall: Wall) -> None:
    with Nic.connect(wall.endpoint) as nic:
        port = wall.ports["eth1"]

        def push() -> int:
            return sum(port.queue.append(frame(n, 1514)) for n in range(200))

        sent = 0
        while nic.dropped == 0:
            sent += wall.do(push)
            wall.do(port.driver.flush)
            nic.send(frame(1), timeout=0)  # it sends, and so its loop runs, but never receives
        got = 0
        wall.do(port.driver.flush)
        while nic.receive(0.2) is not None:
            got += 1
        assert got + nic.dropped == sent
        assert nic.statistics()["unread-drops"] == nic.dropped
        assert nic.carrier


def test_junk_from_the_switch_is_counted_and_raises_nothing(wall: Wall) -> None:
    with Nic.connect(wall.endpoint) as nic:
        port = wall.ports["eth1"]
        good = frames_message(frame(1), epoch=wall.epoch)
        for junk in (good[:-1], good + b"x", good[:4] + b"\xff" * 4 + good[8:], b"XX" + good[2:]):
            wall.do(lambda junk=junk: port.driver.send(junk))
        wall.send(frame(5))
        assert nic.receive(5) == frame(5)
        assert nic.statistics()["malformed"] == 4


def test_file_descriptor_for_programs_with_their_own_loop(wall: Wall) -> None:
    import select

    with Nic.connect(wall.endpoint) as nic:
        while nic.receive(0.05) is not None:
            pass
        poll = select.poll()
        poll.register(nic.fileno(), select.POLLIN)
        wall.send(frame(1))
        got = None
        for _ in range(50):
            assert poll.poll(5000)
            got = nic.receive(0)
            if got is not None:
                break
        assert got == frame(1)


def test_descriptors_are_given_back(wall: Wall) -> None:
    Nic.connect(wall.endpoint).close()
    before = open_files()
    for _ in range(10):
        Nic.connect(wall.endpoint).close()
        with pytest.raises(PortError):
            Nic.connect(wall.url + "#eth9", timeout=0.05)
    until(lambda: open_files() <= before)
