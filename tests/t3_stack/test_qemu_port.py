"""The QEMU port driver on a real loop: dialling, listening, slow, dead and returning peers, bad paths."""

from __future__ import annotations

import os
import socket
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netvirt.burst import Burst
from netvirt.dataplane.queue import Queue
from netvirt.ports.errors import PortError
from netvirt.ports.loop import Loop, Timer
from netvirt.ports.qemu import QemuPort, Role

WAIT = 10.0  # seconds until a condition that never comes true is given up


def frame(size: int, fill: int = 0) -> bytes:
    return bytes([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]) + bytes([fill & 255]) * (size - 14)


def framed(*frames: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(data)) + data for data in frames)


class Bench:
    """One port, what it reported, and the loop that runs it."""

    def __init__(self, path: Path, role: Role, limit: int = 1 << 20, loop: Loop | None = None) -> None:
        self.loop = loop or Loop()
        self.queue = Queue(limit)
        self.frames: list[bytes] = []
        self.carrier: list[bool] = []
        self.path = str(path)
        self.port = QemuPort(
            self.loop, self.path, role, self.queue, self._receive, self.carrier.append, retry_min=0.005, retry_max=0.02
        )

    def _receive(self, message: memoryview) -> None:
        self.frames += Burst.parse(message).frames()

    def until(self, condition: Callable[[], bool]) -> None:
        end = self.loop.now() + int(WAIT * 1e9)
        while not condition():
            assert self.loop.now() < end, (self.port.statistics(), self.queue.statistics())
            self.loop.run_once(0.05)

    def send(self, *frames: bytes) -> None:
        for data in frames:
            self.queue.append(data)
        self.port.flush()

    def count(self, name: str) -> int:
        return int(self.port.statistics().get(name, 0))

    def close(self) -> None:
        self.port.close()
        self.loop.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(role: Role, limit: int = 1 << 20) -> Bench:
        made.append(Bench(tmp_path / "port.qemu", role, limit))
        return made[-1]

    yield make
    for one in made:
        one.close()


def dial(path: str) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(WAIT)
    peer.connect(path)
    return peer


def listen(path: str) -> socket.socket:
    server = socket.socket(socket.AF_UNIX)
    server.settimeout(WAIT)
    server.bind(path)
    server.listen(1)
    return server


def receive(peer: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        piece = peer.recv(size - len(got))
        assert piece, "the port closed the connection"
        got += piece
    return got


def is_closed(peer: socket.socket) -> bool:
    try:
        return peer.recv(1) == b""
    except ConnectionResetError:
        return True


def test_dial_waits_for_its_peer_exchanges_frames_and_dials_again(bench: Callable[..., Bench]) -> None:
    b = bench("dial")
    b.port.open()
    assert b.port.carrier is False
    with listen(b.path) as server:
        b.until(lambda: b.port.carrier)
        peer, _ = server.accept()
        with peer:
            peer.sendall(framed(frame(60), frame(1514)))
            b.until(lambda: len(b.frames) == 2)
            b.send(frame(61), frame(62))
            assert receive(peer, 131) == framed(frame(61), frame(62))
        b.until(lambda: not b.port.carrier)
        os.unlink(b.path)
    b.until(lambda: b.count("ended-eof") == 1)
    with listen(b.path) as server:
        b.until(lambda: b.port.carrier)
        peer, _ = server.accept()
        with peer:
            b.send(frame(63))
            assert receive(peer, 67) == framed(frame(63))
    assert b.carrier == [True, False, True]
    assert b.frames == [frame(60), frame(1514)]
    assert (b.count("rx_frames"), b.count("tx_frames"), b.count("connects")) == (2, 3, 2)


def _serves(b: Bench, turn: int) -> None:
    """Client number `turn`; a second one at the same time is refused."""
    with dial(b.path) as peer:
        peer.sendall(framed(frame(60, turn)))
        b.until(lambda: len(b.frames) == turn)
        with dial(b.path) as second:
            b.until(lambda: b.count("refused") == turn)
            assert is_closed(second)
        b.send(frame(70, turn))
        assert receive(peer, 74) == framed(frame(70, turn))


def test_listen_serves_one_client_after_the_other(bench: Callable[..., Bench]) -> None:
    b = bench("listen")
    b.port.open()
    assert stat.S_IMODE(os.stat(b.path).st_mode) == 0o600
    for turn in (1, 2):
        _serves(b, turn)
        b.until(lambda: not b.port.carrier)
    assert b.carrier == [True, False, True, False]
    b.port.close()
    assert not os.path.exists(b.path)


def test_a_frame_byte_by_byte(bench: Callable[..., Bench]) -> None:
    b = bench("listen")
    b.port.open()
    with dial(b.path) as peer:
        for byte in framed(frame(20)):
            assert b.frames == []
            peer.sendall(bytes([byte]))
            b.loop.run_once(0.05)
        b.until(lambda: b.frames == [frame(20)])


def test_junk_is_counted_and_a_hostile_length_ends_the_connection_only(bench: Callable[..., Bench]) -> None:
    b = bench("listen")
    b.port.open()
    with dial(b.path) as peer:
        peer.sendall(framed(b"", b"x" * 13, bytes(69_632), frame(60)) + b"\xff\xff\xff\xff")
        b.until(lambda: b.count("ended-oversize") == 1)
        assert is_closed(peer)
    assert b.frames == [frame(60)]
    assert (b.count("too-short"), b.count("too-long")) == (2, 1)
    with dial(b.path) as peer:
        peer.sendall(framed(frame(61)))
        b.until(lambda: b.frames == [frame(60), frame(61)])


def test_a_peer_that_stops_reading_costs_only_its_own_queue(bench: Callable[..., Bench]) -> None:
    """The queue fills to its bound and counts; another port on the same loop goes on; and what waited is delivered."""
    b = bench("listen", limit=200_000)
    b.port.open()
    other_frames: list[bytes] = []
    other_path = b.path + "2"
    other_queue = Queue()
    other = QemuPort(
        b.loop,
        other_path,
        "listen",
        other_queue,
        lambda m: other_frames.extend(Burst.parse(m).frames()),
        lambda up: None,
    )
    other.open()
    with dial(b.path) as stopped, dial(other_path) as lively:
        b.until(lambda: b.port.carrier and other.carrier)
        sent = 0
        while b.queue.statistics()["drops"].get("queue-full", 0) < 100:
            b.send(frame(1000, sent))
            b.loop.run_once(0)
            sent += 1
        assert b.queue.nbytes <= 200_000
        lively.sendall(framed(frame(99)))
        b.until(lambda: other_frames == [frame(99)])
        other_queue.append(frame(98))
        other.flush()
        assert receive(lively, 102) == framed(frame(98))
        dropped = b.queue.statistics()["drops"]["queue-full"]
        stopped.setblocking(False)
        got = bytearray()

        def drained() -> bool:
            try:
                got.extend(stopped.recv(1 << 16))
            except BlockingIOError:
                pass
            return len(got) == (sent - dropped) * 1004

        b.until(drained)
        assert bytes(got[: 3 * 1004]) == framed(frame(1000, 0), frame(1000, 1), frame(1000, 2))
        assert len(b.queue) == 0
    other.close()


def test_a_peer_that_dies_with_frames_waiting(bench: Callable[..., Bench]) -> None:
    """Nothing stale reaches the next client: not the waiting frames, not the second half of a frame."""
    b = bench("listen")
    b.port.open()
    with dial(b.path) as peer:
        b.until(lambda: b.port.carrier)
        while len(b.queue) < 50:
            b.send(*[frame(1000, n) for n in range(10)])
        assert receive(peer, 100)
    b.until(lambda: not b.port.carrier)
    assert len(b.queue) == 0
    assert b.queue.statistics()["drops"]["link-down"] >= 50
    with dial(b.path) as peer:
        b.until(lambda: b.port.carrier)
        b.send(frame(64, 7))
        assert receive(peer, 68) == framed(frame(64, 7))


def test_an_answer_to_a_dying_peer(bench: Callable[..., Bench]) -> None:
    """receive() may send; the peer may be gone by then; the port may even be closed inside it."""
    b = bench("listen")
    b.port.open()

    def dies(answer: Callable[[memoryview], None]) -> None:
        b.port._receive = answer
        peer = dial(b.path)
        peer.sendall(framed(frame(60)))
        peer.close()
        downs = b.carrier.count(False)
        b.until(lambda: b.carrier.count(False) > downs)

    dies(lambda message: b.send(frame(60)))
    dies(lambda message: b.port.close())
    assert b.loop.mistakes == 0
    assert not os.path.exists(b.path)


def test_close_is_final_and_may_come_twice(bench: Callable[..., Bench]) -> None:
    b = bench("dial")
    b.port.open()
    b.port.close()
    with listen(b.path) as server:
        for _ in range(5):
            b.loop.run_once(0.01)
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()
    b.port.close()
    assert b.carrier == []


class NotingLoop(Loop):
    """Notes every delay that is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.delays: list[float] = []

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        self.delays.append(seconds)
        return super().call_later(seconds, callback)


def test_a_missing_peer_is_asked_no_faster_than_the_longest_delay(tmp_path: Path) -> None:
    loop = NotingLoop()
    b = Bench(tmp_path / "port.qemu", "dial", loop=loop)
    b.port.open()
    b.until(lambda: len(loop.delays) == 5)
    assert loop.delays == [0.005, 0.01, 0.02, 0.02, 0.02]
    b.close()


def test_stale_socket_files_are_replaced_and_living_ones_are_not(bench: Callable[..., Bench]) -> None:
    b = bench("listen")
    listen(b.path).close()
    assert os.path.exists(b.path)
    b.port.open()
    with dial(b.path):
        b.until(lambda: b.port.carrier)
    second = Bench(Path(b.path), "listen")
    with pytest.raises(PortError, match=r"somebody listens on .* already"):
        second.port.open()
    second.close()
    assert os.path.exists(b.path)
    b.port.close()


def test_close_leaves_a_socket_that_somebody_else_put_there(bench: Callable[..., Bench]) -> None:
    b = bench("listen")
    b.port.open()
    os.unlink(b.path)
    with listen(b.path):
        b.port.close()
        assert os.path.exists(b.path)


def test_bad_paths_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(PortError, match="Linux allows 107"):
        Bench(tmp_path / ("x" * 108), "dial")
    with pytest.raises(PortError, match="is no path"):
        QemuPort(Loop(), "", "dial", Queue(), lambda m: None, lambda up: None)
    with pytest.raises(PortError, match=r"cannot listen on .*: No such file"):
        Bench(tmp_path / "missing" / "s", "listen").port.open()
    (tmp_path / "file").write_text("data")
    with pytest.raises(PortError, match="exists and is no socket"):
        Bench(tmp_path / "file", "listen").port.open()
    assert (tmp_path / "file").read_text() == "data"


def test_a_path_of_107_bytes_works(tmp_path: Path) -> None:
    short = Path(os.path.relpath(tmp_path))
    name = "s" * (107 - len(os.fsencode(short)) - 1)
    b = Bench(short / name, "listen")
    b.port.open()
    with dial(b.path):
        b.until(lambda: b.port.carrier)
    b.close()
