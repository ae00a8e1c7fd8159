"""Ends of links for tests: a driver with its queue and everything it reported, and loops run until something is so.

Knows: ZmqDialer, ListenPort and their listener, all in one process. Refuses to know: switches.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

import zmq

from netvirt.burst import Burst, pack_header
from netvirt.dataplane.queue import Queue
from netvirt.link import Hello
from netvirt.ports.loop import Loop
from netvirt.ports.sockets import context
from netvirt.ports.zmq import ZmqDialer
from netvirt.ports.zmq_listener import ListenPort, ZmqListener

PATIENCE = 20.0  # seconds until a condition that never comes true is given up


def frame(number: int, size: int = 60) -> bytes:
    """A frame whose payload begins with its number."""
    return bytes.fromhex("020000000001 020000000002 88b5") + number.to_bytes(4, "big") + bytes(size - 18)


def numbers(frames: Iterable[bytes]) -> list[int]:
    return [int.from_bytes(data[14:18], "big") for data in frames]


def frames_message(*frames: bytes, epoch: int = 0) -> bytes:
    burst = Burst(epoch)
    for data in frames:
        burst.append(data)
    return bytes(burst.message())


def run_until(condition: Callable[[], Any], *loops: Loop, what: str = "the condition") -> None:
    """Run the loops in turn until the condition is true."""
    end = loops[0].now() + int(PATIENCE * 1e9)
    while not condition():
        assert loops[0].now() < end, f"{what} did not come true in {PATIENCE:g} s"
        for loop in loops:
            loop.run_once(0.002 if loop is loops[-1] else 0)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


class End:
    """One end. `driver` is set by the makers below."""

    driver: Any

    def __init__(self, loop: Loop, limit: int = 2 << 20, epoch: int = 0) -> None:
        self.loop = loop
        self.queue = Queue(limit, epoch)
        self.frames: list[bytes] = []
        self.carriers: list[bool] = []

    def receive(self, message: memoryview) -> None:
        self.frames += Burst.parse(message).frames()

    def carrier_changed(self, up: bool) -> None:
        """What a switch does with it: see Switch.set_carrier."""
        self.carriers.append(up)
        if not up:
            self.queue.clear("link-down")

    def send(self, *frames: bytes) -> None:
        for data in frames:
            assert self.queue.append(data)
        self.driver.flush()

    def count(self, name: str) -> int:
        return int(self.driver.statistics().get(name, 0))


def dialer(loop: Loop, endpoint: str, name: str = "h1", limit: int = 2 << 20, **options: Any) -> End:
    end = End(loop, limit, options.get("epoch", 0))
    end.driver = ZmqDialer(loop, endpoint, end.queue, end.receive, end.carrier_changed, name=name, **options)
    return end


def refuse_strangers(hello: Hello, key: str) -> ListenPort | str:
    return f"s1 has no port {hello.port}"


def listener(loop: Loop, url: str, epoch: int = 1, admit: Any = refuse_strangers, **options: Any) -> ZmqListener:
    return ZmqListener(loop, url, name="s1", epoch=epoch, admit=admit, **options)


def listen_port(at: ZmqListener, name: str = "eth1", limit: int = 2 << 20, **options: Any) -> End:
    end = End(at.loop, limit, at.epoch)
    end.driver = ListenPort([at], name, end.queue, end.receive, end.carrier_changed, **options)
    return end


def stranger(url: str, kind: int = zmq.DEALER, **options: Any) -> zmq.Socket[bytes]:
    """A raw socket, connected; nothing of ours behind it."""
    socket: zmq.Socket[bytes] = context().socket(kind)
    socket.linger = 0
    for name, value in options.items():
        setattr(socket, name, value)
    socket.connect(url)
    return socket


def hello_message(port: str = "eth1", name: str = "x", epoch: int = 0, nonce: int = 1, **more: Any) -> bytes:
    value = {"port": port, "name": name, "epoch": epoch, "window": 2 << 20, "role": "nic", "nonce": nonce, **more}
    return pack_header(1, 0, epoch) + json.dumps(value).encode()
