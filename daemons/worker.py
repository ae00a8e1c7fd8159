"""One thread beside the loop, for calls that wait for a disk and let go of the interpreter meanwhile.

Knows: the way there and back. Refuses to know: what is called; it must not touch what the loop's thread uses.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from daemons.loop import Loop

_Job = Callable[[], Any]
_Done = Callable[[Any], None]


class Worker:
    """Calls one after the other; each result comes back on the loop. The thread begins with the first call."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._todo: SimpleQueue[tuple[_Job, _Done] | None] = SimpleQueue()
        self._ended: SimpleQueue[tuple[_Done, Any, BaseException | None]] = SimpleQueue()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread: threading.Thread | None = None
        loop.reader(self._bell, self._hear)

    def run(self, job: _Job, done: _Done) -> None:
        """Call `job()` in the thread, then `done(its value)` from the loop. A job that raises is our own mistake."""
        if self._thread is None:
            # A daemon thread: at the end of the process nobody waits for a disk that does not answer.
            self._thread = threading.Thread(target=self._work, name="worker", daemon=True)
            self._thread.start()
        self._todo.put((job, done))

    def settle(self) -> None:
        """Wait until the calls that were begun are over. Their results come as always, later."""
        if self._thread is not None:
            over = threading.Event()
            self.run(over.set, lambda _: None)
            over.wait()

    def _work(self) -> None:
        while (entry := self._todo.get()) is not None:
            job, done = entry
            value, problem = None, None
            try:
                value = job()
            except BaseException as error:
                problem = error
            self._ended.put((done, value, problem))
            os.eventfd_write(self._bell, 1)

    def _hear(self) -> None:
        os.eventfd_read(self._bell)
        while not self._ended.empty():
            done, value, problem = self._ended.get()
            if problem is not None:
                os.eventfd_write(self._bell, 1)  # for those behind it
                raise problem
            done(value)

    def abandon(self) -> None:
        """Without waiting for a call that is under way: its thread stays, and rings a bell that nobody hears."""
        self._loop.reader(self._bell, None)

    def close(self) -> None:
        """After the calls that were begun. Their results are not heard any more."""
        self._loop.reader(self._bell, None)
        if self._thread is not None:
            self._todo.put(None)
            self._thread.join()
            self._thread = None
        os.close(self._bell)
