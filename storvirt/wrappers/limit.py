"""Limit: no more than so many bytes and calls a second. Knows: two buckets of tokens. Refuses to know: how to wait.

A call is let through as soon as all calls before it are paid for, and makes a debt of its own size that those behind it
wait for. What is not used is saved up for a tenth of a second.
"""

from __future__ import annotations

from collections.abc import Callable

from storvirt.block import Block
from storvirt.wrappers.through import Through

SECOND = 1_000_000_000
BURST = SECOND // 10


class Bucket:
    """`rate` tokens a second; 0 means no limit. The level is kept in nanoseconds, so whole numbers are enough."""

    def __init__(self, rate: int, now: int) -> None:
        self.rate = rate
        self.empty_at = now - BURST  # the moment up to which what was taken has been paid for

    def wait(self, count: int, now: int) -> int:
        """Takes `count` tokens; nanoseconds to wait before going on."""
        if not self.rate:
            return 0
        self.empty_at = max(self.empty_at, now - BURST)
        wait = max(0, self.empty_at - now)
        self.empty_at += count * SECOND // self.rate
        return wait


class Limit(Through):
    """`now()` gives nanoseconds, `sleep(nanoseconds)` waits; 0 a second means no limit. Flushes are free."""

    def __init__(
        self,
        block: Block,
        now: Callable[[], int],
        sleep: Callable[[int], None],
        bytes_per_second: int = 0,
        calls_per_second: int = 0,
    ) -> None:
        super().__init__(block)
        self.now = now
        self.sleep = sleep
        self.bytes = Bucket(bytes_per_second, now())
        self.calls = Bucket(calls_per_second, now())

    def _pay(self, length: int) -> None:
        now = self.now()
        wait = max(self.bytes.wait(length, now), self.calls.wait(1, now))
        if wait:
            self.sleep(wait)

    def read(self, offset: int, length: int) -> bytes:
        self._pay(length)
        return self.block.read(offset, length)

    def write(self, offset: int, data: bytes | memoryview, fua: bool = False) -> None:
        self._pay(memoryview(data).nbytes)
        self.block.write(offset, data, fua)

    def zero(self, offset: int, length: int, may_trim: bool = True, fua: bool = False) -> None:
        self._pay(0 if may_trim else length)
        self.block.zero(offset, length, may_trim, fua)

    def trim(self, offset: int, length: int, fua: bool = False) -> None:
        self._pay(0)
        self.block.trim(offset, length, fua)
