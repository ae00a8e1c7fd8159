"""Port drivers: the only rooms of netvirt with sockets and a clock. Each moves bursts between a switch port and a peer.

Knows: what a driver is given and owes (the two protocols below).
Refuses to know: VLANs, MAC addresses, which switch it serves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable


class Timer(Protocol):
    def cancel(self) -> None: ...


class Loop(Protocol):
    """What a driver needs of an event loop (`netvirt.ports.loop.Loop` is one). Nothing here blocks.

    `slept`: False in a round that began with work left over from the one before, so more of it is likely.
    """

    slept: bool

    def now(self) -> int:
        """Monotonic nanoseconds."""
        ...

    def reader(self, fd: int, callback: Callable[[], None] | None) -> None:
        """Call `callback` whenever `fd` is readable; None ends it."""
        ...

    def writer(self, fd: int, callback: Callable[[], None] | None) -> None:
        """Call `callback` whenever `fd` is writable; None ends it."""
        ...

    def zmq(self, socket: Any, callback: Callable[[], None] | None) -> None:
        """Call `callback` whenever the ZeroMQ socket can be read, also after a send; None ends it.

        A callback may leave messages unread (to be fair to others): it is called again in the next round. It may be
        called with nothing to read.
        """
        ...

    def touch(self, socket: Any) -> None:
        """A message was sent or read on the ZeroMQ socket outside its callback: look at it again before sleeping."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` once after `seconds`."""
        ...


class Queue(Protocol):
    """The bounded queue of frames that leave through one port; `netvirt.dataplane.queue.Queue` is the compiled one."""

    def head(self) -> memoryview | None:
        """The oldest frames as one whole FRAMES message (netvirt.burst), or None. Valid until the queue changes."""
        ...

    def pop(self) -> None:
        """The message that head() gave has been sent: forget it."""
        ...

    def clear(self, reason: str) -> int:
        """Drop everything, counted under `reason`; returns how many frames that was."""
        ...


@runtime_checkable
class Cabled(Protocol):
    """A driver whose peer can be told that its cable is out."""

    def set_link(self, up: bool) -> None: ...


class Port(Protocol):
    """A driver. It is built with (loop, queue, receive, carrier_changed, ...) and calls

    - `receive(message)` with each FRAMES message that came in (a memoryview, valid during the call; time and identity
      may be 0, the switch stamps them), and
    - `carrier_changed(up)` when its peer comes or goes.

    A slow, stopped or dead peer costs counted drops in its own queue and nothing else.

    It may have: `offload`, the frames that it takes with their virtio-net header (bits of TUNSETOFFLOAD; looked at when
    carrier comes up); `wire`, its compiled half for a shortcut (wire.pxd); `mtu` and `speed_mbit` of the peer's
    interface, 0 = unknown; and be `Cabled`.
    """

    kind: str

    @property
    def carrier(self) -> bool: ...

    def open(self) -> None:
        """Begin; never blocks, and a missing peer is no error: the driver goes on trying."""
        ...

    def flush(self) -> None:
        """The queue has frames: send what the peer takes now, and go on by itself when it takes more."""
        ...

    def close(self) -> None:
        """Say goodbye, release sockets and files that the driver made."""
        ...

    def statistics(self) -> dict[str, int | str]:
        """Counters by name, each drop with its reason; `problem`: one sentence for people, while there is something."""
        ...
