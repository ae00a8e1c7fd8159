"""One open pool in its process: flushes, background work, members looked after, host trouble waited out.

Knows: when each of these has its turn, so that no request waits for long. Refuses to know: sockets, configuration, how
any of it is done (storvirt.pool).

Fsyncs are made in the worker's thread, in *rounds*: each serves the flushes that wait when it begins, and one half of a
checkpoint. Requests go on meanwhile. One that needs what only a checkpoint gives (Busy) is kept until that is over.

A *turn* is a little of the background work and of the job. It comes after each round of the loop and between two rounds
of fsyncs; the job's part only there, because it makes its own fsyncs and must not wait for others.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from daemons.lab.sizes import about
from daemons.loop import Loop
from daemons.worker import Worker
from storvirt.block import BlockError
from storvirt.pool import flush as flushes
from storvirt.pool import format as f
from storvirt.pool.errors import Busy
from storvirt.pool.flush import Flush
from storvirt.pool.job import Job
from storvirt.pool.pool import Pool, PoolError, Suspended
from storvirt.pool.reader import Disk
from storvirt.pool.repair import Scrub
from storvirt.pool.serve import Served

CHECK_SECONDS = 1.0
EARLY = 5  # commit records that are not durable, from which on a round is made for them (of members.CROWDED)
RETRY_SECONDS = 0.5
# On tmpfs, or where nothing is dirty, the fsyncs of a flush take some 10 us, and the worker's thread some 100 us more.
QUICK_NS = 100_000
_KEPT_EVENTS = 50

Done = Callable[[BlockError | None], None]


class Task:
    """A job with what people call it; `path`: of the new member, if there is one; `problem`: why it was not done."""

    def __init__(self, kind: str, what: str, job: Job, path: str = "") -> None:
        self.kind, self.what, self.job, self.path = kind, what, job, path
        self.state = "running"
        self.problem = ""
        self.limit = 0  # bytes/s that it is held to; 0: none
        self._began = time.monotonic()

    def row(self) -> dict[str, Any]:
        """left: seconds, None while nobody knows; speed: bytes/s since it began in this process."""
        done, total = self.job.progress
        if self.state == "done":
            done = total  # what was counted at the beginning may have gone meanwhile
        row = {"kind": self.kind, "what": self.what, "state": self.state, "done": done, "total": total}
        found = {"healed": self.job.healed, "lost": self.job.lost} if isinstance(self.job, Scrub) else {}
        took = max(time.monotonic() - self._began, 0.001)
        left = round(took * (total - done) / done) if done and self.state == "running" else None
        pace = {"speed": round(self.job.moved / took), "left": left, "limit": self.limit}
        return {**row, **found, **pace, "path": self.path, "problem": self.problem, "sentence": _pace(pace)}


def _pace(pace: dict[str, Any]) -> str:
    """How fast it is, for people."""
    words = f"{about(pace['speed'])}/s"
    words += f", held to {about(pace['limit'])}/s" if pace["limit"] else ""
    return words + (f", about {pace['left']} s left" if pace["left"] is not None else "")


class Keeper:
    """paths: the file of each member by number, of those that were ever seen here."""

    def __init__(self, loop: Loop, pool: Pool, paths: dict[int, str]) -> None:
        self.pool = pool
        self.paths = paths
        self.served: list[Served] = []
        self.suspended = ""
        self.task: Task | None = None
        self.vanished: set[int] = set()  # members whose files were not there any more: they may come back
        self.rate = 0  # bytes/s that jobs may deal with; 0: as fast as requests leave room for
        self._not_before = 0  # of the job's next step, in the loop's time
        self.loop = loop
        self._worker = Worker(loop)
        pool.apart, pool.settle = True, self._worker.settle
        self._waiting: list[Done] = []  # flushes to be begun
        self._syncing = False
        self._quick = self._answering = False
        self._ended: Callable[[], None] | None = None
        self._at_end: list[Callable[[], None]] = []
        self._told = 0
        self._last_trouble = ""
        self._check_timer = loop.call_later(CHECK_SECONDS, self._check)
        loop.after_round = self._round

    def serve(self, disk: Disk) -> Served:
        """What executes an export's requests."""
        served = Served(self.pool, disk, self.flush)
        self.served.append(served)
        return served

    # --- rounds of fsyncs

    def flush(self, done: Done) -> None:
        """Make durable what was acknowledged; those that come while fsyncs are under way share the next ones."""
        self._waiting.append(done)
        self._begin()

    @property
    def _due(self) -> bool:
        pool = self.pool
        return bool(self._waiting) or pool.checkpoints.pending or pool.number - pool.durable >= EARLY

    def _begin(self) -> None:
        if self._syncing or self.suspended or self._ended is not None or not self._due:
            return
        batch, self._waiting = self._waiting, []
        try:
            self._checkpoint(self.pool.checkpoints.before_round)
            flush = flushes.begin(self.pool)
        except Suspended as trouble:
            self._waiting = batch
            self._suspend(trouble)
        except BlockError as error:
            for done in batch:
                done(error)
        else:
            self._syncing = True
            if self._quick and not self._answering:
                self._synced(flush, batch, self._sync(flush))
            else:
                self._worker.run(lambda: self._sync(flush), lambda failed: self._synced(flush, batch, failed))

    def _sync(self, flush: Flush) -> Any:
        """In the worker, or here where it has been quicker than the way there and back."""
        begun = self.loop.now()
        failed = flushes.sync(flush)
        self._quick = self.loop.now() - begun < QUICK_NS
        return failed

    def _synced(self, flush: Flush, batch: list[Done], failed: Any) -> None:
        self._syncing = False
        try:
            self._end_round(flush, batch, failed)
        except Suspended as trouble:
            self._waiting[:0] = batch
            self._suspend(trouble)
        if self._ended is not None:
            self._ended()
            return
        self._serve_again()
        self._turn()
        self._begin()

    def _end_round(self, flush: Flush, batch: list[Done], failed: Any) -> None:
        """Raises Suspended."""
        if not flushes.end(self.pool, flush, failed):
            self._waiting[:0] = batch
            return
        answered, batch[:] = batch[:], []
        self._answering = True  # an answer may bring the next flush: it is not begun inside this one
        try:
            for done in answered:
                done(None)
        finally:
            self._answering = False
        self._checkpoint(self.pool.checkpoints.after_round)

    def _checkpoint(self, step: Callable[[], None]) -> None:
        """One that can't be made for now is no reason to refuse a flush. Raises Suspended."""
        try:
            step()
        except (BlockError, PoolError) as error:
            self.pool.checkpoints.wanted = False
            self._failed(error)

    def _serve_again(self) -> None:
        """Requests that waited for a checkpoint. They are not sent away again: what they still lack is made here."""
        if not self.pool.awaited or self.pool.checkpoints.pending or self.suspended:
            return
        self.pool.awaited = False
        try:
            with self.pool.here():
                self.pool.make_room()
                if not all(served.resume() for served in self.served):
                    self._suspend(Suspended(self._stalled()))
        except Suspended as trouble:
            self._suspend(trouble)

    # --- what is done meanwhile

    def _round(self) -> None:
        if self.suspended or self._ended is not None:
            return
        if any(served.stalled for served in self.served) and not self.pool.awaited:
            self._suspend(Suspended(self._stalled()))
            return
        more = self._turn()
        self._begin()
        self._serve_again()
        if more:
            self.loop.call_later(0, lambda: None)  # another round, when requests have had their turn

    def _stalled(self) -> str:
        return next((served.stalled for served in self.served if served.stalled), f"pool {self.pool.name} waits")

    def _turn(self) -> bool:
        """A little of the background work; True if there is more."""
        if self.suspended:
            return False
        try:
            return self._advance()
        except Busy:
            return False
        except Suspended as trouble:
            self._suspend(trouble)
            return False
        finally:
            self._tell_events()

    def _advance(self) -> bool:
        """Raises Suspended."""
        try:
            more = self.pool.work()
        except (BlockError, PoolError) as error:
            more = False
            self._failed(error)
        if self.task is not None and self.task.state == "running" and not self._syncing and self._may_step():
            with self.pool.here():
                more = self._step(self.task) or more
        return more

    def _may_step(self) -> bool:
        return not self.rate or self.loop.now() >= self._not_before

    def _paced(self, size: int) -> bool:
        """After a step that dealt with so many bytes: whether the next one may come at once; else it comes in time."""
        if not self.rate or not size:
            return True
        now = self.loop.now()
        self._not_before = max(now, self._not_before) + size * 1_000_000_000 // self.rate
        self.loop.call_later((self._not_before - now) / 1e9, lambda: None)
        return False

    def _failed(self, error: Exception) -> None:
        if str(error) != self._last_trouble:
            self._last_trouble = str(error)
            self._say(f"background work: {error}")

    def _step(self, task: Task) -> bool:
        task.limit, before = self.rate, task.job.moved
        try:
            if task.job.step():
                return self._paced(task.job.moved - before)
            task.state = "done"
        except (BlockError, PoolError) as error:
            task.state, task.problem = "failed", str(error)
        self._say(f"{task.kind} {task.what}: {task.problem or task.state}")
        return False

    # --- members

    def _check(self) -> None:
        """A file that was removed, replaced or cut short underneath is out, and said so."""
        self._check_timer = self.loop.call_later(CHECK_SECONDS, self._check)
        try:
            self._lose_dead()
        except Suspended as trouble:
            self._suspend(trouble)
        self._tell_events()

    def _lose_dead(self) -> None:
        """Raises Suspended, also for as long as the pool's last member is dead."""
        for number, row in enumerate(self.pool.rows):
            member = self.pool.members[number]
            why = member.check() if row.state == f.IN and member is not None else None
            if why is not None:
                self.pool.lose(number, why)
                self.vanished.add(number)

    # --- host trouble

    def _suspend(self, trouble: Suspended) -> None:
        if not self.suspended:
            self._say(str(trouble))
            self.loop.call_later(RETRY_SECONDS, self._retry)
        self.suspended = str(trouble)

    def _retry(self) -> None:
        """Tables may have changed for a commit record that could not be written, so that one comes first."""
        if self._ended is not None:
            return
        try:
            self._lose_dead()
            with self.pool.here():
                self.pool.write_commit()
                if not all(served.resume() for served in self.served):
                    raise Suspended(self.suspended)
                self.pool.awaited = False
                self._advance()
        except (Suspended, BlockError) as trouble:
            self.suspended = str(trouble)
            self.loop.call_later(RETRY_SECONDS, self._retry)
            return
        self._say(f"pool {self.pool.name} goes on")
        self.suspended = ""
        self._begin()

    # --- words

    def _tell_events(self) -> None:
        events = self.pool.events
        for event in events[self._told :]:
            self._say(event)
        del events[:-_KEPT_EVENTS]
        self._told = len(events)

    def _say(self, sentence: str) -> None:
        print(sentence, file=sys.stderr, flush=True)

    # --- the end

    def at_end(self, callback: Callable[[], None]) -> None:
        """Called when the pool is about to be closed."""
        self._at_end.append(callback)

    def end(self, done: Callable[[], None], checkpoint: bool = True) -> None:
        """Goodbye with a checkpoint, or as if killed, when no fsync is under way any more; then `done()`."""

        def close() -> None:
            self._check_timer.cancel()
            self.loop.after_round = None
            for callback in self._at_end:
                callback()
            self._worker.close()
            self.pool.apart = False
            try:
                if checkpoint:
                    self.pool.close()
                else:
                    self.pool.abandon()
            except (Suspended, BlockError, PoolError) as error:
                self._say(f"without a last checkpoint: {error}")
                self.pool.abandon()
            done()

        if self._ended is None:
            self._ended = close
            if not self._syncing:
                close()
