"""Calls over one connection: who waits for which answer, and until when.

Knows: numbers, timers, that each call ends exactly once. Refuses to know: what is asked, and how it travels (`channel`,
`vm_qmp`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from daemons.loop import Loop, Timer

F = TypeVar("F")  # what a call is told that fails
Done = Callable[[Any], None]


class Call(NamedTuple, Generic[F]):
    """The call's two ends; whoever took it calls one of them."""

    done: Done
    failed: Callable[[F], None]
    timer: Timer


class Calls(Generic[F]):
    """The calls that are under way, by number; a number is never used twice."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._calls: dict[int, Call[F]] = {}
        self._next = 1

    def __len__(self) -> int:
        return len(self._calls)

    def begin(self, done: Done, failed: Callable[[F], None], timeout: float, late: F) -> int:
        """The number of a new call. After `timeout` seconds without an answer it fails with `late`."""
        number = self._next
        self._next += 1
        self._calls[number] = Call(done, failed, self._loop.call_later(timeout, lambda: self._expire(number, late)))
        return number

    def take(self, number: object) -> Call[F] | None:
        """The call of that number, over now; None for one whose time was up, and for what is no number of ours."""
        call = self._calls.pop(number, None) if isinstance(number, int) else None
        if call is not None:
            call.timer.cancel()
        return call

    def fail_all(self, why: F) -> None:
        """The connection is lost. Calls that begin meanwhile are those of the next one."""
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.timer.cancel()
            call.failed(why)

    def _expire(self, number: int, late: F) -> None:
        call = self.take(number)
        if call is not None:
            call.failed(late)
