"""When something that did not work is tried again: soon at first, then more and more seldom, for ever.

Knows: one timer, how long to wait. Refuses to know: what is tried.
"""

from __future__ import annotations

from collections.abc import Callable

from netvirt.ports import Loop, Timer


class Retry:
    """Calls `again()` `first` seconds after later(), the next time after twice as long, up to `last` seconds."""

    def __init__(self, loop: Loop, again: Callable[[], None], first: float, last: float) -> None:
        self.since = 0  # ns of the loop's clock: begun() was called
        self._loop = loop
        self._again = again
        self._first = self._delay = first
        self._last = last
        self._timer: Timer | None = None

    @property
    def waiting(self) -> bool:
        """`again()` is going to be called."""
        return self._timer is not None

    def later(self) -> None:
        """Once more in a while; nothing new where that is waited for already."""
        if self._timer is None:
            self._timer = self._loop.call_later(self._delay, self._now)
            self._delay = min(2 * self._delay, self._last)

    def cancel(self) -> None:
        """Not again, until somebody says later()."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def reset(self) -> None:
        """It works: whatever goes wrong next is something new, and tried again soon."""
        self._delay = self._first

    def begun(self) -> None:
        """It works, for all that can be seen now."""
        self.since = self._loop.now()

    def ended(self) -> None:
        """It worked since begun(). Who lets us in and throws us out at once is asked no more often than who is away."""
        if self._loop.now() - self.since >= self._last * 1e9:
            self.reset()

    def _now(self) -> None:
        self._timer = None
        self._again()
