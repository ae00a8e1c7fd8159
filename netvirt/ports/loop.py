"""The event loop of every daemon: epoll, timers, signals and ZeroMQ sockets. It implements `netvirt.ports.Loop`.

Knows: when something is ready, and whom to call. Refuses to know: what the callbacks do.
It loads nothing but small parts of the standard library, and an idle loop sleeps without a timeout.
"""

from __future__ import annotations

import heapq
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

Callback = Callable[[], None]
Poll = Callable[[float], list[tuple[int, int]]]

# zmq.h: the numbers are part of libzmq's ABI. Naming them here keeps pyzmq out of daemons without ZeroMQ sockets.
ZMQ_FD = 14
ZMQ_EVENTS = 15
ZMQ_POLLIN = 1

_READABLE = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP
_WRITABLE = select.EPOLLOUT | select.EPOLLHUP | select.EPOLLERR

# Of a mistake that comes again and again only the first ones, then every doubling, are written to the log.
_MISTAKES_IN_FULL = 32
_HEAP_SLACK = 64


class Timer:
    """One call in the future; `cancel()` may be called any number of times."""

    __slots__ = ("_loop", "callback", "when")

    def __init__(self, loop: Loop, when: int, callback: Callback) -> None:
        self._loop = loop
        self.when = when
        self.callback: Callback | None = callback

    def __lt__(self, other: Timer) -> bool:
        return self.when < other.when

    def cancel(self) -> None:
        if self.callback is not None:
            self.callback = None
            self._loop._cancelled_one()


class _Watch:
    """What waits for one file descriptor."""

    __slots__ = ("mask", "reader", "writer", "zmq")

    def __init__(self) -> None:
        self.reader: Callback | None = None
        self.writer: Callback | None = None
        self.zmq: Any = None
        self.mask = 0


class Loop:
    """Calls back when descriptors, timers, signals and ZeroMQ sockets are ready. One thread only.

    A callback that raises is our own mistake: it is written to stderr, counted in `mistakes`, and the loop goes on.
    `after_round` is called once per round, when all that was ready has been served: a switch flushes its queues there,
    so that bursts grow with the load. `slept` is False in a round that began with work left over from the one before.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watches: dict[int, _Watch] = {}
        self._sockets: dict[Any, tuple[int, Callback]] = {}
        # Dicts serve as ordered sets, so that sockets are served in turn.
        self._touched: dict[Any, None] = {}
        self._ready: dict[Any, None] = {}
        self._timers: list[Timer] = []
        self._cancelled = 0
        self._signals: dict[int, Callback] = {}
        self._old_handlers: dict[int, Any] = {}
        self._wakeup: tuple[int, int] | None = None
        self._stopped = False
        self.after_round: Callback | None = None
        self._poll: Poll = self._epoll.poll
        self.slept = True
        self.rounds = 0
        self.mistakes = 0

    def now(self) -> int:
        """Monotonic nanoseconds."""
        return time.monotonic_ns()

    # --- descriptors

    def reader(self, fd: int, callback: Callback | None) -> None:
        """Call `callback` whenever `fd` is readable, or has hung up; None ends it."""
        watch = self._watches.get(fd)
        if watch is None:
            watch = _Watch()
        watch.reader = callback
        self._update(fd, watch)

    def writer(self, fd: int, callback: Callback | None) -> None:
        """Call `callback` whenever `fd` is writable; None ends it."""
        watch = self._watches.get(fd)
        if watch is None:
            watch = _Watch()
        watch.writer = callback
        self._update(fd, watch)

    def _update(self, fd: int, watch: _Watch) -> None:
        mask = select.EPOLLIN if watch.reader is not None or watch.zmq is not None else 0
        if watch.writer is not None:
            mask |= select.EPOLLOUT
        known = fd in self._watches
        if mask == 0:
            if known:
                del self._watches[fd]
                try:
                    self._epoll.unregister(fd)
                except OSError:
                    pass  # closed already: the kernel has forgotten it too
            return
        if not known:
            self._epoll.register(fd, mask)
            self._watches[fd] = watch
        elif mask != watch.mask:
            self._modify(fd, mask)
        watch.mask = mask

    def _modify(self, fd: int, mask: int) -> None:
        try:
            self._epoll.modify(fd, mask)
        except FileNotFoundError:  # the number was closed and given out again without a word to us
            self._epoll.register(fd, mask)

    # --- ZeroMQ

    def zmq(self, socket: Any, callback: Callback | None) -> None:
        """Call `callback` whenever the ZeroMQ socket may be read, which it bears to be told in vain; None ends it.

        ZMQ_FD is edge-triggered: a send may swallow the edge that announced a message. So EVENTS is read again for each
        socket that was called, or was named by `touch()`, before the loop sleeps. When ZMQ_FD fires the callback is
        called at once: most often there is a message, and to ask first takes 2.5 of a pass's 9 us.
        """
        known = self._sockets.pop(socket, None)
        self._touched.pop(socket, None)
        self._ready.pop(socket, None)
        if callback is None:
            if known is not None:
                watch = self._watches.get(known[0])
                if watch is not None and watch.zmq is socket:
                    watch.zmq = None
                    self._update(known[0], watch)
            return
        fd = known[0] if known is not None else int(socket.get(ZMQ_FD))
        self._sockets[socket] = (fd, callback)
        self._touched[socket] = None
        watch = self._watches.get(fd) or _Watch()
        watch.zmq = socket
        self._update(fd, watch)

    def touch(self, socket: Any) -> None:
        """A message was sent on `socket`, or read from it, outside its callback: look at it again in this round."""
        if socket in self._sockets:
            self._touched[socket] = None

    def _settle(self) -> None:
        """Move the touched sockets that can be read to the ready ones."""
        touched, self._touched = self._touched, {}
        for socket in touched:
            if socket not in self._sockets:
                continue
            if socket.closed:
                self.zmq(socket, None)
            elif socket.get(ZMQ_EVENTS) & ZMQ_POLLIN:
                self._ready[socket] = None

    def _serve_sockets(self) -> None:
        ready, self._ready = self._ready, {}
        for socket in ready:
            entry = self._sockets.get(socket)
            if entry is not None:
                # Looked at again before the loop sleeps, after after_round(): its sends may swallow the next edge.
                self._touched[socket] = None
                self._call(entry[1])

    # --- timers

    def call_later(self, seconds: float, callback: Callback) -> Timer:
        """Call `callback` once after `seconds` (rounded up to the kernel's millisecond)."""
        timer = Timer(self, time.monotonic_ns() + max(0, int(seconds * 1e9)), callback)
        heapq.heappush(self._timers, timer)
        return timer

    def _cancelled_one(self) -> None:
        self._cancelled += 1
        if self._cancelled > _HEAP_SLACK and self._cancelled * 2 > len(self._timers):
            self._timers = [timer for timer in self._timers if timer.callback is not None]
            heapq.heapify(self._timers)
            self._cancelled = 0

    def _next_timer(self) -> Timer | None:
        while self._timers and self._timers[0].callback is None:
            heapq.heappop(self._timers)
            self._cancelled = max(0, self._cancelled - 1)
        return self._timers[0] if self._timers else None

    def _run_timers(self) -> None:
        now = time.monotonic_ns()
        while (timer := self._next_timer()) is not None and timer.when <= now:
            heapq.heappop(self._timers)
            callback, timer.callback = timer.callback, None
            if callback is not None:
                self._call(callback)

    # --- signals

    def on_signal(self, signum: int, callback: Callback) -> None:
        """Call `callback` from the loop, not from the signal handler, after signal `signum`. Main thread only."""
        if self._wakeup is None:
            ours, theirs = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            self._wakeup = (ours, theirs)
            signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)
            self.reader(ours, self._read_signals)
        self._signals[signum] = callback
        # A Python handler must exist, or the wakeup descriptor is never written.
        old = signal.signal(signum, lambda signum, frame: None)
        self._old_handlers.setdefault(signum, old)

    def _read_signals(self) -> None:
        assert self._wakeup is not None
        for signum in os.read(self._wakeup[0], 4096):
            callback = self._signals.get(signum)
            if callback is not None:
                self._call(callback)

    # --- running

    def run(self) -> None:
        """Go on until `stop()` is called."""
        self._stopped = False
        while not self._stopped:
            self.run_once()

    def stop(self) -> None:
        """Let run() return after the callbacks of this round."""
        self._stopped = True

    def run_once(self, timeout: float | None = None) -> None:
        """One round: wait at most `timeout` seconds (None: until something happens) and call what is ready."""
        if self._touched:
            self._settle()
        wait = self._wait(timeout)
        self.slept = wait != 0
        for fd, mask in self._poll(wait):
            watch = self._watches.get(fd)
            if watch is None:
                continue  # ended by an earlier callback of this round
            if watch.zmq is not None:
                self._ready[watch.zmq] = None  # most often it is a message, and to ask costs more than to be told no
            if watch.reader is not None and mask & _READABLE:
                self._call(watch.reader)
            if watch.writer is not None and mask & _WRITABLE:
                self._call(watch.writer)
        if self._timers and self._timers[0].when <= time.monotonic_ns():
            self._run_timers()
        if self._touched:
            self._settle()
        if self._ready:
            self._serve_sockets()
        if self.after_round is not None:
            self._call(self.after_round)
        self.rounds += 1

    def _wait(self, timeout: float | None) -> float:
        """Seconds for epoll: -1 is for ever."""
        if self._ready or self._stopped:
            return 0.0
        timer = self._next_timer()
        if timer is None:
            return -1.0 if timeout is None else timeout
        left = max(0, timer.when - time.monotonic_ns()) / 1e9
        return left if timeout is None else min(left, timeout)

    def _call(self, callback: Callback) -> None:
        try:
            callback()
        except Exception:
            self.mistakes += 1
            if self.mistakes <= _MISTAKES_IN_FULL or self.mistakes & (self.mistakes - 1) == 0:
                name = getattr(callback, "__qualname__", repr(callback))
                print(f"internal error number {self.mistakes}, in {name}; going on", file=sys.stderr)
                sys.__excepthook__(*sys.exc_info())
                sys.stderr.flush()

    def wait_with(self, poll: Poll | None) -> None:
        """Let `poll(seconds)` wait in place of epoll.poll() and return what that would; None: epoll again.

        It has the descriptor from `fileno()`, and may serve some of what is ready by itself (see shortcut.pyx).
        """
        self._poll = poll or self._epoll.poll

    def fileno(self) -> int:
        """Readable when a round would have something to do (timers and ZeroMQ's swallowed edges not counted)."""
        return self._epoll.fileno()

    def close(self) -> None:
        """Give the descriptors and the signal handlers back. The callbacks' own descriptors stay open."""
        if self._wakeup is not None:
            signal.set_wakeup_fd(-1)
            for signum, handler in self._old_handlers.items():
                signal.signal(signum, handler)
            os.close(self._wakeup[0])
            os.close(self._wakeup[1])
            self._wakeup = None
        self._epoll.close()
