"""What the storage half needs of an event loop: a promise, no loop. Every daemon's loop keeps it.

Knows: four calls. Refuses to know: who keeps them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    def cancel(self) -> None:
        """May be called any number of times, also when the timer has gone off."""
        ...


class Loop(Protocol):
    """One thread; nothing here blocks; callbacks are called from the loop only, never from inside these calls."""

    def now(self) -> int:
        """Monotonic nanoseconds."""
        ...

    def reader(self, fd: int, callback: Callable[[], None] | None) -> None:
        """Call `callback` whenever `fd` is readable; None ends it."""
        ...

    def writer(self, fd: int, callback: Callable[[], None] | None) -> None:
        """Call `callback` whenever `fd` is writable; None ends it."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` once after `seconds`; with 0 in the next round, when others have had their turn."""
        ...
