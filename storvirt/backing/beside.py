"""One call at a time in a thread beside this one, for calls that let go of the interpreter.

Knows: how to hand one over and to wait for it. Refuses to know: what is called.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import TracebackType
from typing import Self

_Call = Callable[[], None]


class Beside:
    """`with Beside() as beside`: the thread ends with the block. Calls must not raise."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._ended: SimpleQueue[None] = SimpleQueue()
        self._busy = False

    def begin(self, call: _Call) -> None:
        """After the one before has ended."""
        self.wait()
        self._busy = True
        self._calls.put(call)

    def wait(self) -> None:
        """Until nothing is under way."""
        if self._busy:
            self._ended.get()
            self._busy = False

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            self._ended.put(None)

    def __enter__(self) -> Self:
        # A daemon thread: at the end of the process nobody waits for a disk that does not answer.
        self._thread = threading.Thread(target=self._work, name="beside", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._calls.put(None)
        self._thread.join()
