"""Trying again: soon at first, then more and more seldom; and who throws us out at once gains nothing by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netvirt.ports.retry import Retry


class Fake:
    """A loop and its timer in one: time passes when `fire` says so."""

    def __init__(self) -> None:
        self.time = 0
        self.delays: list[float] = []
        self.due: Callable[[], None] | None = None

    def now(self) -> int:
        return self.time

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Any:
        assert self.due is None, "one timer at a time"
        self.delays.append(seconds)
        self.due = callback
        return self

    def cancel(self) -> None:
        self.due = None

    def fire(self) -> None:
        assert self.due is not None
        callback, self.due = self.due, None
        callback()


def rig(first: float = 0.1, last: float = 1.0) -> tuple[Fake, Retry, list[int]]:
    fake, called = Fake(), list[int]()
    loop: Any = fake
    return fake, Retry(loop, lambda: called.append(1), first, last), called


def test_each_time_takes_twice_as_long_up_to_the_last() -> None:
    fake, retry, called = rig()
    for turn in range(6):
        retry.later()
        retry.later()
        assert retry.waiting and len(called) == turn
        fake.fire()
        assert not retry.waiting
    assert fake.delays == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0] and len(called) == 6


def test_after_reset_it_is_soon_again_and_after_cancel_never() -> None:
    fake, retry, called = rig()
    for _ in range(4):
        retry.later()
        fake.fire()
    retry.reset()
    retry.later()
    assert fake.delays[-1] == 0.1
    retry.cancel()
    retry.cancel()
    assert fake.due is None and not retry.waiting and len(called) == 4


def test_what_lasted_for_the_longest_wait_begins_anew_and_what_did_not_goes_on() -> None:
    for lasted, expected in ((999_999_999, 0.8), (1_000_000_000, 0.1)):
        fake, retry, _ = rig()
        for _ in range(3):
            retry.later()
            fake.fire()
        retry.begun()
        fake.time += lasted
        retry.ended()
        retry.later()
        assert fake.delays[-1] == expected
