"""A Switch on a bench: every port connected, frames in by name, what leaves by name.

Knows: netvirt.switch, bursts. Refuses to know: what a frame should do (tests say it).
"""

from __future__ import annotations

from typing import Any

from netvirt.burst import Burst, Frame
from netvirt.dataplane.queue import Queue
from netvirt.switch import PortSettings, Switch

A, B, C = (bytes([2, 0, 0, 0, 0, n]) for n in (1, 2, 3))
ALL = b"\xff" * 6
IP = b"\x08\x00" + b"payload"


def burst(*frames: bytes, **stamps: int) -> memoryview:
    out = Burst()
    for frame in frames:
        out.append(frame, **stamps)
    return out.message()


def taken(queue: Queue) -> list[Frame]:
    out: list[Frame] = []
    while (head := queue.head()) is not None:
        out += Burst.parse(head)
        queue.pop()
    return out


class Bench:
    """A Switch whose ports are all connected."""

    def __init__(self, ports: dict[str, PortSettings], **options: Any) -> None:
        self.switch = Switch("s1", **options)
        for name, settings in ports.items():
            self.set(name, settings)

    def set(self, name: str, settings: PortSettings) -> None:
        self.switch.set_port(name, settings)
        self.switch.set_carrier(name, True)

    def send(self, port: str, *frames: bytes, now: int = 0) -> dict[str, list[bytes]]:
        """What leaves, by port."""
        self.switch.process(self.switch.number(port), burst(*frames), now, 1)
        return self.out()

    def out(self) -> dict[str, list[bytes]]:
        found = {name: [frame.data for frame in taken(self.switch.queue(name))] for name in self.switch.ports}
        return {name: frames for name, frames in found.items() if frames}

    def drops(self, port: str) -> dict[str, int]:
        return self.switch.plane.statistics(self.switch.number(port))["drops"]

    def stations(self, now: int = 0) -> list[tuple[int, str]]:
        return [(row["vid"], row["port"]) for row in self.switch.stations(now)]
