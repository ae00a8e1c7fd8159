"""A daemon's loop on a clock that a test moves. Knows: the loop's now() and timers. Refuses to know: what is timed."""

from __future__ import annotations

from collections.abc import Callable

from daemons.loop import Loop, Timer


class ClockLoop(Loop):
    """Time is real until `at`, in seconds, is set; from then on timers are called by advance() only."""

    def __init__(self) -> None:
        super().__init__()
        self.at: float | None = None
        self._later: list[Timer] = []

    def now(self) -> int:
        return super().now() if self.at is None else int(self.at * 1e9)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        if self.at is None:
            return super().call_later(seconds, callback)
        self._later.append(Timer(self, self.now() + int(seconds * 1e9), callback))
        return self._later[-1]

    def advance(self, seconds: float) -> None:
        """So much time goes by at once."""
        assert self.at is not None
        self.at += seconds
        due = [timer for timer in self._later if timer.when <= self.now()]
        self._later = [timer for timer in self._later if timer not in due]
        for timer in due:
            if timer.callback is not None:
                timer.callback()
        self.run_once(0)
