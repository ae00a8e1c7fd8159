"""forward() alone: frames in memory, no sockets. Rows net/memory/forward/*."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

from netvirt.burst import Burst
from netvirt.dataplane.plane import Plane
from tools.bench.rows import Row, make_row

STATIONS = 4096
FRAMES = 2_000_000
RUNS = 5
TAG = b"\x81\x00\x00\x0a\x08\x00"  # VLAN 10, IPv4


def _plane() -> Plane:
    plane = Plane()
    for number in range(8):
        assert plane.add_port() == number
        _port(plane, number, range(1, 101))
    plane.set_mirrors([([6], [6], (), 7, 0)])
    return plane


def _port(plane: Plane, number: int, vids: range) -> None:
    """A trunk whose storm control lets everything pass."""
    storm = [(kind, 10**9, "fps") for kind in ("unicast", "multicast", "broadcast")]
    plane.set_port(number, state="forwarding", takes_tagged=True, pvid=1, member=vids, untagged=[1], storm=storm)
    plane.queue(number).open = True


def _mac(number: int) -> bytes:
    return bytes([2, 0, 0, 0, number >> 8, number & 255])


def _teach(plane: Plane) -> None:
    """Even stations behind port 0, odd ones behind port 1."""
    for number in range(STATIONS):
        burst = Burst()
        burst.append(b"\xff" * 6 + _mac(number) + TAG + bytes(46))
        plane.forward(number % 2, burst.message(), 10**9, 1)
    for number in range(8):
        plane.queue(number).clear("taught")
    plane.pending()


def _messages(size: int) -> list[bytes]:
    """64-byte frames from even to odd stations, all different, in bursts of `size`."""
    chance = random.Random(size)
    messages = []
    for _ in range(16384 // size):
        burst = Burst()
        for _ in range(size):
            target, source = chance.randrange(1, STATIONS, 2), chance.randrange(0, STATIONS, 2)
            burst.append(_mac(target) + _mac(source) + TAG + bytes(46))
        messages.append(bytes(burst.message()))
    return messages


def _run(plane: Plane, messages: list[bytes]) -> float:
    """Millions of frames a second."""
    queue = plane.queue(1)
    before = plane.statistics(0)["drops"]
    begin, done = time.perf_counter(), 0
    while done < FRAMES:
        for message in messages:
            done += plane.forward(0, message, 10**9, 1)
            plane.pending()
            while queue.head() is not None:
                queue.pop()
    spent = time.perf_counter() - begin
    if plane.statistics(0)["drops"] != before or len(queue):
        raise RuntimeError("frames were dropped: the figure would mean nothing")
    return done / spent / 1e6


def _large() -> tuple[Plane, list[tuple[int, bytes]]]:
    """64 ports, 4000 VLANs, 100 thousand stations, and frames between any two of them that share a VLAN."""
    plane, chance = Plane(mac_limit=200_000), random.Random(1)
    for number in range(64):
        assert plane.add_port() == number
        _port(plane, number, range(1, 4001))
    homes: dict[int, list[tuple[bytes, int]]] = {}
    for number in range(100_000):
        homes.setdefault(2 + number % 3999, []).append((b"\2\0\0" + number.to_bytes(3), number % 64))
    for vid, stations in homes.items():
        for mac, port in stations:
            plane.forward(port, _burst([mac + mac + _tag(vid)]), 10**9, 1)
    by_port = [[(vid, mac) for vid, all_ in homes.items() for mac, port in all_ if port == p] for p in range(64)]
    messages = []
    for _ in range(400):
        origin = chance.randrange(64)
        frames: list[bytes] = []
        while len(frames) < 256:
            vid, mac = chance.choice(by_port[origin])
            target, port = chance.choice(homes[vid])
            if port != origin:
                frames.append(target + mac + _tag(vid))
        messages.append((origin, _burst(frames)))
    return plane, messages


def _tag(vid: int) -> bytes:
    return b"\x81\x00" + vid.to_bytes(2) + b"\x08\x00" + bytes(46)


def _burst(frames: list[bytes]) -> bytes:
    burst = Burst()
    for frame in frames:
        burst.append(frame)
    return bytes(burst.message())


def _run_forward(plane: Plane, messages: list[tuple[int, bytes]]) -> float:
    """Millions of frames a second that leave, in forward() alone: many ports are emptied between the calls."""
    spent = left = 0
    for origin, message in messages:
        begin = time.perf_counter_ns()
        plane.forward(origin, message, 10**9, 1)
        spent += time.perf_counter_ns() - begin
        for number in plane.pending():
            queue = plane.queue(number)
            left += len(queue)
            while queue.head() is not None:
                queue.pop()
    return left / spent * 1e3


def rows() -> Iterator[Row]:
    plane = _plane()
    _teach(plane)
    for size in (32, 256):
        messages = _messages(size)
        _run(plane, messages)
        runs = [_run(plane, messages) for _ in range(RUNS)]
        settings = (
            f"8 trunk ports, {STATIONS} stations, tagged unicast, learning, storm control and mirror idle, one core"
        )
        yield make_row(f"net/memory/forward/64B/burst{size}/vs-none", "Mframes/s", runs, None, "none", settings)
    plane, many = _large()
    _run_forward(plane, many)
    runs = [_run_forward(plane, many) for _ in range(RUNS)]
    settings = "64 trunk ports, 4000 VLANs, 100,000 stations, tagged unicast between all ports, one core"
    yield make_row("net/memory/forward/64B/large/vs-none", "Mframes/s", runs, None, "none", settings)
    plane = Plane()
    for number in [plane.add_port() for _ in range(48)]:
        _port(plane, number, range(1, 101))
    for size in (64, 1514):
        flood = [(0, _burst([b"\xff" * 6 + _mac(2) + TAG + bytes(size - 18)] * 32))] * 500
        runs = [_run_forward(plane, flood) for _ in range(RUNS)]
        settings = "broadcasts to 47 trunk ports, copies counted, one core"
        yield make_row(f"net/memory/flood47/{size}B/vs-none", "Mcopies/s", runs, None, "none", settings)
