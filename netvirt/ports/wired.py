"""What the drivers of TAPs and packet sockets have in common: one descriptor, a compiled loop on it, a queue before it.

Knows: reading, writing, waiting for room, what happens to the queue when the carrier goes.
Refuses to know: where the descriptor comes from, when its other side is there; the drivers do.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

from netvirt.ports import Loop, Queue
from netvirt.ports.driver import Driver
from netvirt.ports.wire import Wire

Io = TypeVar("Io", bound=Wire)


class WiredPort(Driver, Generic[Io]):
    """The half of a `netvirt.ports.Port` that moves frames; `_fd` is -1 while there is no descriptor."""

    def __init__(
        self,
        loop: Loop,
        queue: Queue,
        receive: Callable[[memoryview], None],
        carrier_changed: Callable[[bool], None],
        io: Io,
    ) -> None:
        super().__init__(loop, queue, receive, carrier_changed)
        self.offload = 0
        self.mtu = 0
        self.speed_mbit = 0
        self.problem = ""
        self._io = io
        self._fd = -1
        self._blocked = False
        self._counts = {"plugged": 0, "unplugged": 0}

    # --- what a driver says

    @abstractmethod
    def _restart(self) -> None:
        """Let the loop forget where it was: `self._io.reset(...)`."""

    @abstractmethod
    def _lose(self, reason: str) -> None:
        """The descriptor is good for nothing more."""

    @abstractmethod
    def _found_down(self) -> None:
        """A write found the interface down."""

    @abstractmethod
    def _room_at_last(self) -> None:
        """The descriptor can be written to, and there is no carrier."""

    # --- the descriptor

    @property
    def wire(self) -> Wire:
        """For a shortcut, while there is a carrier."""
        return self._io

    def _plug(self, fd: int) -> None:
        self._fd = fd
        self.problem = ""
        self._blocked = False
        self._restart()
        self._counts["plugged"] += 1
        self._loop.reader(fd, self._readable)

    def _unplug(self) -> None:
        """The descriptor is the driver's own again, to be closed."""
        self._loop.reader(self._fd, None)
        self._loop.writer(self._fd, None)
        self._fd = -1
        self._set_carrier(False)

    def _told(self) -> dict[str, int | str]:
        """The end of a driver's statistics: ends by reason, the last problem."""
        return {**self._ended(), **({"problem": self.problem} if self.problem else {})}

    # --- carrier and frames

    def flush(self) -> None:
        """Writes what is taken now; goes on by itself when more is taken."""
        if self._fd < 0 or self._blocked or not self.carrier:
            return
        while (message := self._queue.head()) is not None:
            if not self._io.drain(message):
                self._blocked = True
                self._loop.writer(self._fd, self._writable)
                return
            if self._io.ended:
                self._lose(self._io.ended)
                return
            self._queue.pop()
        if self._io.down:
            self._found_down()

    def _set_carrier(self, up: bool) -> None:
        if up == self.carrier:
            return
        self.carrier = up
        if not up:
            self._queue.clear("link-down")
            if self._fd >= 0:
                if self._blocked:
                    self._loop.writer(self._fd, None)
                self._restart()
            self._blocked = False
        self._carrier_changed(up)
        if up:
            self.flush()

    def _readable(self) -> None:
        fd = self._fd
        if fd < 0:
            return
        message = self._io.fill()
        if message is not None:
            self._receive(message)
        if self._io.ended and self._fd == fd:
            self._lose(self._io.ended)

    def _writable(self) -> None:
        if self._fd < 0:
            return
        self._loop.writer(self._fd, None)
        self._blocked = False
        if self.carrier:
            self.flush()
        else:
            self._room_at_last()
