"""A capture session: dials a switch's port as a capture, hands what it sees to sinks, and ends in an orderly way.

Knows: the link to the switch, when to stop, how to say goodbye. Refuses to know: labs, arguments, formats.
"""

from __future__ import annotations

import os
import signal
import stat
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from daemons.errors import UserError
from netvirt.burst import FLAG_OUT, Burst, Frame
from netvirt.dataplane.queue import Queue
from netvirt.ports.loop import Loop
from netvirt.ports.zmq import ZmqDialer
from tools.recording import Direction, Seen, Sink

ANSWER_SECONDS: Final = 5.0


class Limits(NamedTuple):
    """When to stop: after `frames` (0: never), after `seconds` (None: never); `directions` is what counts."""

    frames: int = 0
    seconds: float | None = None
    directions: frozenset[Direction] = frozenset({"in", "out"})


class Capture:
    """One session; run() blocks until it is over. `note` gets sentences for the person who watches."""

    def __init__(
        self, endpoint: str, switch: str, sinks: Sequence[Sink], limits: Limits, note: Callable[[str], None]
    ) -> None:
        self._switch = switch
        self._sinks = sinks
        self._limits = limits
        self._note = note
        self._loop = Loop()
        self._dialer = ZmqDialer(
            self._loop,
            endpoint,
            Queue(4096),
            self._receive,
            self._carrier_changed,
            name=f"vfab-capture-{os.getpid()}",
            role="capture",
        )
        self._names: dict[int, str] = {}
        self._answered = False
        self._ending = False
        self._error: Exception | None = None
        self.reader_gone = False  # who read a sink's pipe has hung up
        self.counts: Counter[Direction] = Counter()

    @property
    def total(self) -> int:
        return self.counts.total()

    def run(self, watched_fd: int | None = None) -> None:
        """Captures until a limit, SIGINT, SIGTERM, or the end of whoever reads the pipe `watched_fd`.

        Raises UserError when the switch does not answer or refuses, OSError when a sink cannot write.
        """
        loop = self._loop
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.on_signal(signum, self._end)
        if watched_fd is not None and not stat.S_ISREG(os.fstat(watched_fd).st_mode):
            self._watch(watched_fd)
        loop.after_round = self._look
        loop.call_later(ANSWER_SECONDS, self._expect_answer)
        try:
            self._dialer.open()
            while not self._dialer.closed:
                loop.run_once()
        finally:
            self._dialer.close()
            loop.close()
        self._finish()

    def _watch(self, fd: int) -> None:
        """A pipe whose reader is gone reports an error, also while there is nothing to write."""
        try:
            self._loop.reader(fd, self._end)
        except PermissionError:
            pass  # /dev/null and its like cannot be watched, and never end

    def _finish(self) -> None:
        """Errors of the session first: then there is nothing to close properly."""
        if self._error is not None:
            raise self._error
        for sink in self._sinks:
            try:
                sink.close()
            except BrokenPipeError:
                self.reader_gone = True

    # --- the link

    def _carrier_changed(self, up: bool) -> None:
        if not up:
            if not self._ending:
                self._note(f"{self._switch} is gone; waiting for it")
            return
        ports = self._dialer.welcome.get("ports", {})
        self._names = {int(number): str(name) for number, name in ports.items()}
        self._write(lambda sink: sink.ports(self._names.values()))
        if self._ending:
            return
        if self._answered:
            self._note(f"{self._switch} is back")
        else:
            self._answered = True
            self._note(f"capturing {', '.join(self._names.values())} of {self._switch}; Ctrl-C ends it")
            self._limit_time()

    def _limit_time(self) -> None:
        if self._limits.seconds is not None:
            self._loop.call_later(self._limits.seconds, self._end)

    def _look(self) -> None:
        """Called after each round: a refusal has no callback of its own. A switch that came back may refuse for a
        moment, until it is configured again; the link goes on asking."""
        if self._dialer.refusal and not self._answered:
            self._fail(UserError(self._dialer.refusal))

    def _expect_answer(self) -> None:
        if not self._answered:
            self._fail(UserError(f"{self._switch} does not answer; `vfab status` says whether it runs"))

    def _fail(self, error: Exception) -> None:
        if self._error is None:
            self._error = error
        self._end()

    def _end(self) -> None:
        if not self._ending:
            self._ending = True
            self._dialer.close()

    # --- frames

    def _receive(self, message: memoryview) -> None:
        if self._ending and self._full():
            return
        frames = [seen for seen in map(self._seen, Burst.parse(message)) if seen.direction in self._limits.directions]
        if self._limits.frames:
            del frames[self._limits.frames - self.total :]
        self.counts.update(seen.direction for seen in frames)
        if frames:
            self._write(lambda sink: sink.burst(frames))
        if self._full():
            self._end()

    def _seen(self, frame: Frame) -> Seen:
        port = self._names.get(frame.port, f"port{frame.port}")
        return Seen(port, "out" if frame.flags & FLAG_OUT else "in", frame)

    def _full(self) -> bool:
        return bool(self._limits.frames) and self.total >= self._limits.frames

    def _write(self, action: Callable[[Sink], None]) -> None:
        try:
            for sink in self._sinks:
                action(sink)
        except BrokenPipeError:
            self.reader_gone = True
            self._end()
        except OSError as error:
            self._fail(error)
