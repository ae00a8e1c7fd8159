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
        plane.set_port(number, state="forwarding", takes_tagged=True, pvid=1, member=range(1, 101), untagged=[1])
        plane.queue(number).open = True
    return plane


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


def rows() -> Iterator[Row]:
    plane = _plane()
    _teach(plane)
    for size in (32, 256):
        messages = _messages(size)
        _run(plane, messages)
        runs = [_run(plane, messages) for _ in range(RUNS)]
        settings = f"8 trunk ports, {STATIONS} stations, tagged unicast, learning on, one core"
        yield make_row(f"net/memory/forward/64B/burst{size}/vs-none", "Mframes/s", runs, None, "none", settings)
