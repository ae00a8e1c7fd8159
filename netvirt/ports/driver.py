"""What drivers have in common, whatever their peer is: the four things that each is given, carrier, ends by reason.

Knows: what becomes of the queue when a peer comes or goes. Refuses to know: sockets, and how frames travel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from netvirt.ports import Loop, Queue


class Driver(ABC):
    """Half of a `netvirt.ports.Port`, which says what each of the four is."""

    def __init__(
        self,
        loop: Loop,
        queue: Queue,
        receive: Callable[[memoryview], None],
        carrier_changed: Callable[[bool], None],
    ) -> None:
        self.carrier = False
        self._loop = loop
        self._queue = queue
        self._receive = receive
        self._carrier_changed = carrier_changed
        self._ends: dict[str, int] = {}

    @abstractmethod
    def flush(self) -> None:
        """Sends what the peer takes now; goes on by itself when it takes more."""

    def _come_up(self) -> None:
        """There is a peer: what waits may go."""
        self.carrier = True
        self._carrier_changed(True)
        self.flush()

    def _go_down(self) -> None:
        """The peer is gone: frames for it would be stale when it comes back, so none are kept."""
        self._queue.clear("link-down")
        self.carrier = False
        self._carrier_changed(False)

    def _count_end(self, reason: str) -> None:
        self._ends[reason] = self._ends.get(reason, 0) + 1

    def _ended(self) -> dict[str, int | str]:
        """Of a driver's statistics: why connections ended."""
        return {f"ended-{reason}": count for reason, count in self._ends.items()}
