"""A seeded simulated network on virtual time: nodes, links with delay, loss, doubling and reordering. Deterministic.

Knows: when which frame arrives where. Refuses to know: what a node is. Anything with the three methods of Node is one;
adapters for netvirt.host.Host and for switches stand below.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from netvirt.host import Host

MICROSECOND = 1_000
MILLISECOND = 1_000_000
SECOND = 1_000_000_000

Sent = Iterable[tuple[str, bytes]]


class Node(Protocol):
    """Frames that leave are (port, frame); times are nanoseconds."""

    def receive(self, port: str, frame: bytes, now: int) -> Sent: ...
    def tick(self, now: int) -> Sent: ...
    def next_deadline(self) -> int | None: ...


class Impairment(NamedTuple):
    """What a link does to a frame: `loss` and `double` are probabilities; `delay` and at most `jitter` are ns."""

    delay: int = 10 * MICROSECOND
    loss: float = 0.0
    double: float = 0.0
    jitter: int = 0


class Crossing(NamedTuple):
    """One frame on one link, as it was sent."""

    time: int
    sender: str
    port: str
    receiver: str
    frame: bytes


PERFECT = Impairment()


class SimNet:
    """`connect()` nodes, then `run()`. `crossings` is everything that was sent; the same seed gives the same list."""

    def __init__(self, seed: int = 0, start: int = SECOND) -> None:
        self.now = start
        self.crossings: list[Crossing] = []
        self._dice = random.Random(seed)
        self._nodes: dict[str, Node] = {}
        self._links: dict[tuple[str, str], tuple[str, str, Impairment]] = {}
        self._events: list[tuple[int, int, str, str, bytes]] = []
        self._order = 0

    def add(self, name: str, node: Node) -> None:
        assert name not in self._nodes, name
        self._nodes[name] = node

    def connect(self, one: str, one_port: str, two: str, two_port: str, impairment: Impairment = PERFECT) -> None:
        """A cable, both ways."""
        for end, far in (((one, one_port), (two, two_port)), ((two, two_port), (one, one_port))):
            assert end not in self._links, end
            self._links[end] = (*far, impairment)

    def disconnect(self, node: str, port: str) -> None:
        """Cut the cable; frames that are on it still arrive."""
        far, far_port, _ = self._links.pop((node, port))
        del self._links[far, far_port]

    def send(self, node: str, frames: Sent) -> None:
        """`node` sends now."""
        for port, frame in frames:
            link = self._links.get((node, port))
            if link is not None:
                self.crossings.append(Crossing(self.now, node, port, link[0], frame))
                self._carry(link, frame)

    def run(self, duration: int = 10 * SECOND, until: Callable[[], bool] | None = None) -> None:
        """Go on until nothing is left to do, `until()` is true, or `duration` nanoseconds have passed."""
        end = self.now + duration
        while until is None or not until():
            moment = self._next_moment()
            if moment is None or moment > end:
                self.now = end if until is None else self.now
                return
            assert len(self.crossings) < 1_000_000, "a frame storm"
            self.now = max(self.now, moment)
            self._step()

    def _carry(self, link: tuple[str, str, Impairment], frame: bytes) -> None:
        node, port, impairment = link
        if self._dice.random() < impairment.loss:
            return
        for _ in range(2 if self._dice.random() < impairment.double else 1):
            delay = impairment.delay + (self._dice.randrange(impairment.jitter) if impairment.jitter else 0)
            self._order += 1
            heapq.heappush(self._events, (self.now + delay, self._order, node, port, frame))

    def _next_moment(self) -> int | None:
        moments = [self._events[0][0]] if self._events else []
        moments += [moment for node in self._nodes.values() if (moment := node.next_deadline()) is not None]
        return min(moments, default=None)

    def _step(self) -> None:
        while self._events and self._events[0][0] <= self.now:
            _, _, name, port, frame = heapq.heappop(self._events)
            self.send(name, self._nodes[name].receive(port, frame, self.now))
        for name, node in self._nodes.items():
            deadline = node.next_deadline()
            if deadline is not None and deadline <= self.now:
                self.send(name, node.tick(self.now))


class HostNode:
    """A netvirt Host with one port, `eth0`."""

    port = "eth0"

    def __init__(self, host: Host) -> None:
        self.host = host

    def receive(self, port: str, frame: bytes, now: int) -> Sent:
        return [(self.port, out) for out in self.host.receive(frame, now)]

    def tick(self, now: int) -> Sent:
        return [(self.port, out) for out in self.host.tick(now)]

    def next_deadline(self) -> int | None:
        return self.host.next_deadline()


class SwitchNode:
    """Anything that forwards one frame at a time: `process(port, frame, now) -> [(port, frame)]`, without timers."""

    def __init__(self, process: Callable[[str, bytes, int], Sent]) -> None:
        self._process = process

    def receive(self, port: str, frame: bytes, now: int) -> Sent:
        return self._process(port, frame, now)

    def tick(self, now: int) -> Sent:
        return ()

    def next_deadline(self) -> int | None:
        return None
