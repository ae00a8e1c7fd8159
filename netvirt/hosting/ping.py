"""Pings in flight: which echo is due, answered, late or failed.

Knows: sequence numbers and times. Refuses to know: bytes.
A Ping is both the running state and, when `done`, the result. All times are nanoseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

MAX_COUNT: Final = 65535  # sequence numbers of 16 bits, each used once
MIN_INTERVAL_NS: Final = 1_000_000
_ERRORS_KEPT: Final = 8

Answered = Callable[[int, int | None, str], None]
"""Called at the end of each echo with its sequence number (from 1), round trip in ns or None, and what went wrong."""


class Ping:
    """`sent`, `received`, `lost`, `duplicates`, `rtts` (in order of arrival), `errors` (each sentence once), `done`.

    `on_answer` and `on_done` may be set by whoever started it, before the host's next tick(). One that is `done` when
    it is returned (no route) calls neither.
    """

    def __init__(self, address: str, count: int, interval_ns: int, timeout_ns: int, now: int) -> None:
        self.address = address
        self.sent = 0
        self.duplicates = 0
        self.rtts: list[int] = []
        self.errors: list[str] = []
        self.done = False
        self.on_answer: Answered | None = None
        self.on_done: Callable[[Ping], None] | None = None
        self._count = count
        self._interval = max(interval_ns, MIN_INTERVAL_NS)
        self._timeout = timeout_ns
        self._next_send: int | None = now
        self._open: dict[int, int] = {}  # sequence -> when it was sent; oldest first

    @property
    def received(self) -> int:
        return len(self.rtts)

    @property
    def lost(self) -> int:
        """Echoes that were sent and have not been answered in time; those still awaited do not count."""
        return self.sent - self.received - len(self._open)

    def next_deadline(self) -> int | None:
        if self.done:
            return None
        moments = [] if self._next_send is None else [self._next_send]
        if self._open:
            moments.append(next(iter(self._open.values())) + self._timeout)
        return min(moments, default=None)

    def due(self, now: int) -> int | None:
        """The sequence number to send now, if it is time. A late tick sends one, not all that were missed."""
        if self.done or self._next_send is None or self._next_send > now:
            return None
        self.sent += 1
        self._open[self.sent] = now
        planned = self._next_send + self._interval
        self._next_send = None if self.sent == self._count else max(planned, now + MIN_INTERVAL_NS)
        return self.sent

    def answer(self, sequence: int, now: int) -> bool:
        """The reply to `sequence` came. False when it answers nothing that is still awaited."""
        sent_at = self._open.pop(sequence, None)
        if sent_at is None:
            self.duplicates += 1
            return False
        self.rtts.append(now - sent_at)
        self._tell(sequence, now - sent_at, "")
        return True

    def fail(self, sequence: int, error: str) -> None:
        """There will be no reply to `sequence`."""
        if self._open.pop(sequence, None) is not None:
            self._note(error)
            self._tell(sequence, None, error)

    def expire(self, now: int) -> None:
        late = [sequence for sequence, sent_at in self._open.items() if now - sent_at >= self._timeout]
        for sequence in late:
            self.fail(sequence, f"no answer from {self.address}")

    def abort(self, error: str) -> None:
        """End it now: what is awaited is lost."""
        self._note(error)
        self._next_send = None
        self._open.clear()
        self.finish_if_over()

    def finish_if_over(self) -> bool:
        if not self.done and self._next_send is None and not self._open:
            self.done = True
            if self.on_done is not None:
                self.on_done(self)
        return self.done

    def _tell(self, sequence: int, rtt: int | None, error: str) -> None:
        if self.on_answer is not None:
            self.on_answer(sequence, rtt, error)

    def _note(self, error: str) -> None:
        if error not in self.errors and len(self.errors) < _ERRORS_KEPT:
            self.errors.append(error)
