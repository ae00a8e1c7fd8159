"""Executable contracts: what every implementation of an interface must do, whoever writes it.

Knows: netvirt.ports.Port as netvirt/ports/__init__.py promises it. Refuses to know: which driver is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from netvirt.dataplane.queue import Queue
from netvirt.ports import Port
from netvirt.ports.loop import Loop
from tests.support.links import frame, numbers, open_files, run_until


class PortRig(Protocol):
    """A driver and its peer. The driver's loop and the peer's are different, so that a peer can stand still."""

    loop: Loop
    queue: Queue
    port: Port
    received: list[bytes]
    carriers: list[bool]

    def peer_comes(self) -> None: ...
    def peer_sends(self, frames: Sequence[bytes]) -> None: ...
    def peer_got(self) -> list[bytes]:
        """All frames that the peer has had so far; reads what is there without waiting."""
        ...

    def peer_goes(self) -> None: ...
    def close(self) -> None:
        """Close the driver, the peer and both loops."""
        ...


# No driver may take more than this from its queue while its peer stands still: window and kernel buffers together.
TAKEN_AT_MOST = 12 << 20


def check_port(make: Callable[[], PortRig], *, deaf: bool = False) -> None:
    """deaf: nothing tells whether a peer is there or keeps up (UDP), so carrier is up from open() to close()."""
    warm = make()  # what is made once per process (ZeroMQ's context and its threads) is there afterwards
    warm.port.open()
    warm.close()
    before = open_files()
    rig = make()
    try:
        _without_a_peer(rig, deaf)
        for _ in range(2):
            _one_peer(rig, deaf)
        _stalled_peer_of_a_deaf_port(rig) if deaf else _stalled_peer(rig)
        _close(rig)
    finally:
        rig.close()
    run = Loop()
    run_until(lambda: open_files() <= before + 1, run, what="all descriptors given back")
    run.close()
    assert rig.loop.mistakes == 0


def _until(rig: PortRig, condition: Callable[[], bool], what: str) -> None:
    """Run both sides until the condition is true."""

    def look() -> bool:
        rig.peer_got()
        return condition()

    run_until(look, rig.loop, what=what)


def _without_a_peer(rig: PortRig, deaf: bool) -> None:
    rig.port.open()
    for _ in range(5):
        rig.loop.run_once(0.01)
    assert (rig.port.carrier, rig.carriers) == (deaf, [True] * deaf)
    rig.queue.append(frame(99))
    rig.port.flush()
    rig.loop.run_once(0)
    rig.queue.clear("link-down")


def _comes(rig: PortRig, deaf: bool = False) -> None:
    if not deaf:
        rig.carriers.clear()
    rig.peer_comes()
    _until(rig, lambda: rig.port.carrier, "carrier up")
    assert rig.carriers == [True]


def _goes(rig: PortRig, deaf: bool) -> None:
    rig.peer_goes()
    if not deaf:
        _until(rig, lambda: not rig.port.carrier, "carrier down")
    assert rig.carriers == ([True] if deaf else [True, False])
    rig.queue.append(frame(98))
    rig.port.flush()
    rig.queue.clear("link-down")


def _one_peer(rig: PortRig, deaf: bool) -> None:
    _comes(rig, deaf)
    rig.received.clear()
    for first in (0, 1, 50):
        rig.peer_sends([frame(n, 60 + n % 200) for n in range(first, max(1, 50 * first))])
    wanted = [0, *range(1, 50), *range(50, 2500)]
    _until(rig, lambda: len(rig.received) >= len(wanted), "frames in")
    assert numbers(rig.received) == wanted
    assert rig.received[70] == frame(70, 130)
    for n in range(300):
        rig.queue.append(frame(n, 60 + n))
        rig.port.flush()
    _until(rig, lambda: len(rig.peer_got()) == 300, "frames out")
    assert rig.peer_got() == [frame(n, 60 + n) for n in range(300)]
    _goes(rig, deaf)


def _stalled_peer(rig: PortRig) -> None:
    """It reads nothing: the queue fills, appending fails, and nothing waits. Then it reads: everything is there."""
    _comes(rig)
    rig.received.clear()
    accepted, refused = 0, 0
    while refused < 500:
        if rig.queue.append(frame(accepted, 1514)):
            accepted += 1
        else:
            refused += 1
        rig.port.flush()
        rig.loop.run_once(0)
        assert accepted * 1514 < TAKEN_AT_MOST, "the driver takes without end"
    assert rig.queue.nbytes <= rig.queue.limit
    assert rig.queue.statistics()["drops"]["queue-full"] == 500
    _until(rig, lambda: len(rig.peer_got()) >= accepted, "everything that was taken")
    assert numbers(rig.peer_got()) == list(range(accepted))


def _stalled_peer_of_a_deaf_port(rig: PortRig) -> None:
    """It reads nothing, the kernel drops at its door, and we never notice. Then it reads: it hears what is new."""
    _comes(rig, deaf=True)
    for n in range(5000):
        rig.queue.append(frame(n, 1514))
        rig.port.flush()
        assert len(rig.queue) == 0
    rig.peer_got()

    def hears() -> bool:
        rig.queue.append(frame(5000))
        rig.port.flush()
        return 5000 in numbers(rig.peer_got()[-10:])

    _until(rig, hears, "frames after the stall")


def _close(rig: PortRig) -> None:
    rig.port.close()
    _until(rig, lambda: bool(getattr(rig.port, "closed", True)), "closed")
    assert (rig.port.carrier, rig.carriers) == (False, [True, False])
    rig.port.close()
    rig.port.flush()
    rig.loop.run_once(0)
    assert all(isinstance(value, int | str) for value in rig.port.statistics().values())
