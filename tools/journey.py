"""One frame's way through a lab: switch by switch, until every copy of it has arrived or was dropped. Pure.

Knows: copies of switches (`look` gives them), the lab's wiring, what a host takes. Refuses to know: how the copies were
got, words for people (journey_words), how a journey is shown.

The rules are those of the compiled plane; they run here, on the copies. Frames travel as if every link were equally
long: all that are one switch away before any that is two away. A copy learns what it sees, as a switch does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from netvirt.burst import Burst
from netvirt.host import REASONS as HOST_REASONS
from netvirt.host import Host
from netvirt.modes import tables
from netvirt.switch import Step, Switch
from tools.journey_words import Line, Seen, dropped, left_out_by, said
from tools.wiring import Far, Wiring

MOST_HOPS: Final = 64  # in a row; the longest path that 802.1D recommended has 7 bridges
MOST_VISITS: Final = 4096  # of all switches together
_NOT_TAKEN: Final = ("runt", "bad-source", "unknown-vlan", "not-for-us")  # by a NIC; the rest is the host's business


class Copy(NamedTuple):
    """A switch's tables as they were at `now` (its monotonic ns)."""

    switch: Switch
    now: int


Look = Callable[[str], Copy | str]
"""A switch by name, or why it can't be had."""


@dataclass
class Way:
    """A frame as it left through a port. mirror: whose copy it is, "" = the frame itself.

    end: host | useless | lab | guest | other | free: there it is now (useless: the host drops it after all); switch:
    see hop; not-taken: by the host's NIC; loop: it has been there before, as it is; too-far: after MOST_HOPS; unknown:
    the switch could not be asked. note: why, in words.
    """

    port: str
    frame: bytes
    far: Far
    mirror: str = ""
    end: str = ""
    note: str = ""
    hop: Hop | None = None


@dataclass
class Hop:
    """What one switch did with one frame. left_out: ports that a flooded frame did not go to, with the reason.

    copied: the frame is a mirror's copy, or comes of one. depth: switches before this one.
    """

    switch: str
    port: str
    frame: bytes
    depth: int = 0
    copied: bool = False
    lines: list[Line] = field(default_factory=list)
    ways: list[Way] = field(default_factory=list)
    left_out: list[Line] = field(default_factory=list)

    @property
    def drop(self) -> Line | None:
        """Why nothing of it left, if a rule said so."""
        return next((line for line in self.lines if line.rule == "drop" and line.port == self.port), None)


@dataclass
class Journey:
    first: Hop
    wiring: Wiring

    def hops(self) -> Iterator[Hop]:
        """All, nearer ones first."""
        left = deque([self.first])
        while left:
            hop = left.popleft()
            yield hop
            left.extend(way.hop for way in hop.ways if way.hop is not None)


def travel(switch: str, port: str, frame: bytes, look: Look, wiring: Wiring) -> Journey:
    """The journey of a frame of 14 to 65,557 bytes that comes in at a port. ValueError: no such port, no such frame."""
    journey = Journey(Hop(switch, port, frame), wiring)
    copy = look(switch)
    if isinstance(copy, str):
        raise ValueError(copy)
    seen = {(switch, port, frame)}
    left = deque([journey.first])
    while left:
        hop = left.popleft()
        copy = look(hop.switch)
        assert not isinstance(copy, str), "a hop is made after its switch was had"
        pass_through(hop, copy, wiring)
        for way in hop.ways:
            _arrive(hop, way, look, wiring, seen)
            if way.hop is not None:
                left.append(way.hop)
    return journey


def pass_through(hop: Hop, copy: Copy, wiring: Wiring) -> None:
    """Let the copy of a switch have the frame, and note what it does. The copy learns."""
    steps = copy.switch.trace(hop.port, hop.frame, copy.now, 1)
    leaving = _leaving(copy.switch)
    seen = Seen(hop.switch, copy.switch, hop.port, hop.frame, wiring)
    for step in steps:
        seen = seen.after(step)
        if step.rule in ("leave", "copy"):
            mirror = step.detail.removeprefix("mirror ") if step.rule == "copy" else ""
            far = wiring.far(hop.switch, step.port)
            hop.ways.append(Way(step.port, leaving[step.port].popleft(), far, mirror))
        elif step.rule in ("drop", "lost"):
            hop.lines.append(dropped(step, seen))
        else:
            hop.lines.append(said(step, seen))
    if seen.kind and (hop.drop is None or hop.drop.reason != "storm"):
        hop.left_out = list(_left_out(hop, seen, steps))


def _leaving(switch: Switch) -> dict[str, deque[bytes]]:
    """What waits at every port, in its order; the queues are empty afterwards."""
    found: dict[str, deque[bytes]] = {}
    for number in switch.plane.pending():
        name = switch.port_name(number)
        queue, frames = switch.queue(name), found.setdefault(name, deque())
        while (head := queue.head()) is not None:
            frames.extend(Burst.parse(head).frames())
            queue.pop()
    return found


def _left_out(hop: Hop, seen: Seen, steps: list[Step]) -> Iterator[Line]:
    """The ports that a flood passed by."""
    tried = {step.port for step in steps if step.rule in ("leave", "drop")} | {hop.port}
    switch = seen.switch
    for name, settings in switch.ports.items():
        if name not in tried:
            yield left_out_by(name, tables(settings, switch.vlans)["member"], seen)


def _arrive(hop: Hop, way: Way, look: Look, wiring: Wiring, seen: set[tuple[str, str, bytes]]) -> None:
    """What becomes of a frame at the other end of a port."""
    way.end = way.far.kind
    if way.end == "host" and not (way.mirror or hop.copied):  # a copy is for a capture there, not for the host itself
        way.end, way.note = _met(wiring, way)
    if way.end != "switch":
        return
    place = (way.far.node, way.far.port, way.frame)
    if place in seen:
        way.end, way.note = "loop", "it has been there before: a loop"
    elif hop.depth + 1 >= MOST_HOPS or len(seen) >= MOST_VISITS:
        way.end, way.note = "too-far", f"after {hop.depth + 1} switches nobody follows it any more"
    elif isinstance(copy := look(way.far.node), str):
        way.end, way.note = "unknown", copy
    elif way.far.port not in copy.switch.ports:
        way.end, way.note = "unknown", f"{way.far.node} has no port {way.far.port}"
    else:
        seen.add(place)
        way.hop = Hop(way.far.node, way.far.port, way.frame, hop.depth + 1, hop.copied or bool(way.mirror))


def _met(wiring: Wiring, way: Way) -> tuple[str, str]:
    """Does the host take it? Its own code is asked (netvirt.host), on a host that has just been switched on."""
    host = Host(way.far.node, wiring.nics[str(way.far)])
    host.receive(way.frame, 0)
    for reason in host.statistics()["drops"]:
        return "not-taken" if reason in _NOT_TAKEN else "useless", HOST_REASONS[reason]
    return "host", ""
