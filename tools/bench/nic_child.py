"""One end of a network benchmark as a process: sends, receives, or echoes, and prints one line of JSON."""

from __future__ import annotations

import json
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from netvirt import Nic
from netvirt.burst import Burst

if TYPE_CHECKING:
    import zmq

A, B = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
TYPE = b"\x88\xb5"  # IEEE 802 local experimental ethertype 1
WHEN = struct.Struct("d")  # seconds of the machine's monotonic clock, in a frame


def say(**values: object) -> None:
    print(json.dumps(values), flush=True)


def announce(nic: Nic, me: bytes) -> None:
    nic.send(b"\xff" * 6 + me + TYPE + bytes(50))


def send(endpoint: str, burst_size: int, frame_size: int, seconds: float) -> None:
    burst = Burst()
    for _ in range(burst_size):
        burst.append(B + A + TYPE + bytes(frame_size - 14))
    sent = 0
    with Nic.connect(endpoint) as nic:
        begin = time.perf_counter()
        while (now := time.perf_counter()) - begin < seconds:
            if nic.send_burst(burst):
                sent += burst_size
    say(sent=sent, seconds=now - begin)


def receive(endpoint: str) -> None:
    """Counts until nothing has come for a second."""
    count, first, last = 0, 0.0, 0.0
    with Nic.connect(endpoint) as nic:
        announce(nic, B)
        print("ready", flush=True)
        while (burst := nic.receive_burst(10.0 if not count else 1.0)) is not None:
            last = time.perf_counter()
            if not count:
                first = last
            else:
                count += len(burst)
            count = count or 1
        dropped = nic.dropped
    say(received=count, seconds=last - first, unread=dropped)


def echo(endpoint: str) -> None:
    """Sends every frame for us back to A, with the time at which it came, until nothing has come for five seconds."""
    with Nic.connect(endpoint) as nic:
        announce(nic, B)
        print("ready", flush=True)
        while (frame := nic.receive(5.0)) is not None:
            if frame[:6] == B:
                came = time.perf_counter()
                nic.send(A + B + TYPE + WHEN.pack(came) + frame[14 + WHEN.size :])
    say(done=True)


def ask(endpoint: str, count: int) -> None:
    """Round trips of one frame at a time, and how long each was on its way there (one machine, one clock)."""
    times, there = [], []
    frame = B + A + TYPE + bytes(50)
    with Nic.connect(endpoint) as nic:
        for _ in range(count):
            begin = time.perf_counter()
            nic.send(frame)
            while (answer := nic.receive(1.0)) is not None and answer[:6] != A:
                pass
            times.append(time.perf_counter() - begin)
            if answer is not None:
                there.append(WHEN.unpack_from(answer, 14)[0] - begin)
    there_p50, there_p99 = percentiles(there)
    say_trips(times, there_p50=there_p50, there_p99=there_p99)


@contextmanager
def plain(kind: str, endpoint: str) -> Iterator[zmq.Socket[bytes]]:
    """A socket of bare ZeroMQ: a ROUTER that listens, or a DEALER that dials."""
    import zmq

    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(getattr(zmq, kind))
    (socket.bind if kind == "ROUTER" else socket.connect)(endpoint)
    try:
        yield socket
    finally:
        socket.close()
        context.term()


def zmq_echo(endpoint: str) -> None:
    """The plain peer: one ROUTER that sends every message back."""
    with plain("ROUTER", endpoint) as socket:
        print("ready", flush=True)
        while socket.poll(5000):
            socket.send_multipart(socket.recv_multipart())
    say(done=True)


def zmq_relay(endpoint: str) -> None:
    """The plain peer of a switch: one ROUTER that hands on every message of one dealer to the other."""
    known: list[bytes] = []
    with plain("ROUTER", endpoint) as socket:
        print("ready", flush=True)
        while socket.poll(5000):
            name, message = socket.recv_multipart()
            if name not in known:
                known.append(name)
            others = [other for other in known if other != name]
            if others and message:
                socket.send_multipart((others[0], message))
    say(done=True)


def zmq_mirror(endpoint: str) -> None:
    """The far end behind a relay: sends every message back."""
    with plain("DEALER", endpoint) as socket:
        socket.send(b"")
        print("ready", flush=True)
        while socket.poll(5000):
            socket.send(socket.recv())
    say(done=True)


def zmq_ask(endpoint: str, count: int) -> None:
    message, times = bytes(104), []
    with plain("DEALER", endpoint) as socket:
        for _ in range(count):
            begin = time.perf_counter()
            socket.send(message)
            socket.recv()
            times.append(time.perf_counter() - begin)
    say_trips(times)


def percentiles(times: list[float]) -> tuple[float, float]:
    """p50 and p99 in microseconds of seconds in the order that they were measured; the first tenth does not count."""
    times = sorted(times[len(times) // 10 :])
    return times[len(times) // 2] * 1e6, times[len(times) * 99 // 100] * 1e6


def say_trips(times: list[float], **more: float) -> None:
    p50, p99 = percentiles(times)
    say(p50=p50, p99=p99, **more)


def main() -> None:
    what, endpoint, *rest = sys.argv[1:]
    match what:
        case "send":
            send(endpoint, int(rest[0]), int(rest[1]), float(rest[2]))
        case "receive":
            receive(endpoint)
        case "echo":
            echo(endpoint)
        case "ask":
            ask(endpoint, int(rest[0]))
        case "zmq-echo":
            zmq_echo(endpoint)
        case "zmq-relay":
            zmq_relay(endpoint)
        case "zmq-mirror":
            zmq_mirror(endpoint)
        case "zmq-ask":
            zmq_ask(endpoint, int(rest[0]))
        case _:
            raise SystemExit(f"unknown part {what!r}")


if __name__ == "__main__":
    main()
