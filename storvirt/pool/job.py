"""What every job that goes over a whole pool is: steps, how far it is, what is done when one of them can't be made.

Knows: that a job is a generator which yields where a step may end. Refuses to know: what it does, when there is time
for a step, how fast it may be, files, clocks.

A job may be dropped at any time: what it has not finished is as it was, and another one begins it again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from typing import TYPE_CHECKING, NamedTuple

from storvirt.backing.errors import MemberError
from storvirt.block import BlockError
from storvirt.pool import mirrors
from storvirt.pool.errors import PoolError, Suspended

if TYPE_CHECKING:
    from storvirt.pool.pool import Pool
    from storvirt.pool.slab import Slab

SLOTS_A_STEP = 32
SLABS_AT_ONCE = 64  # slabs that are dealt with at the same time: the map is walked once for each such group

Steps = Generator[None, None, None]


class Progress(NamedTuple):
    """Slots dealt with, of how many (new ones may come in between)."""

    done: int
    total: int


class Job(ABC):
    """One of these says what is done in _run(), and counts it. moved: bytes so far. flag: of the commit record, where
    nothing else there tells the next opener to go on with it; place: bits of the same that say from where."""

    flag = place = 0

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.moved = self._done = self._total = 0
        self._steps = self._run()

    @property
    def progress(self) -> Progress:
        return Progress(min(self._done, self._total), self._total)

    @property
    def running(self) -> bool:
        """Neither done, nor called off, nor ended by an error."""
        return self._steps.gi_frame is not None  # type: ignore[attr-defined]  # every generator function's result has one

    def run(self) -> None:
        """All of it at once; raises what step() does."""
        while self.step():
            pass

    def step(self) -> bool:
        """Some slots more; False when all of it is done and recorded.

        Raises PoolError, and then it has ended where it was; Suspended, and then it goes on with the next call.
        """
        try:
            return next(self._steps, self) is not self
        except Suspended:
            self._once_more()
            self._steps = self._run()  # an iterator that has raised is at its end
            raise
        except (BlockError, MemberError, PoolError) as error:
            raise PoolError(self._ended_by(error)) from None

    def cancel(self) -> Job | None:
        """Call it off: the job that moves back what was moved, where there is something to move back. Raises Suspended,
        and then it is not called off."""
        self._said(False)
        self._steps.close()
        return None

    def _said(self, going_on: bool) -> None:
        """The flag, in a commit record that is durable. Raises Suspended, and then nothing has changed."""
        pool, before = self.pool, self.pool.flags
        pool.flags = before | self.flag if going_on else before & ~(self.flag | self.place)
        if pool.flags == before:
            return
        try:
            pool.write_commit()
            pool.sync_members()
        except BaseException:
            pool.flags = before
            raise

    @abstractmethod
    def _run(self) -> Steps:
        """All of it, with what is left at the moment: it is called again after Suspended."""

    def _once_more(self) -> None:  # noqa: B027  # most have nothing to do
        """Before it goes on after Suspended."""

    def _ended_by(self, error: Exception) -> str:
        """Why it can't be done, after what must be put right is put right. The next record has no flag any more;
        whoever opens the pool before it tries once more."""
        self.pool.flags &= ~(self.flag | self.place)
        return str(error)

    def _dealt(self, size: int, slots: int = 1) -> bool:
        """So many bytes were dealt with; whether that is enough for a step."""
        before, self._done, self.moved = self._done, self._done + slots, self.moved + size
        return self._done // SLOTS_A_STEP > before // SLOTS_A_STEP

    def _strengthen(self) -> Steps:
        """Pages and log get the copies that they were cut without while members were missing."""
        try:
            yield from mirrors.strengthen(self.pool)
        except BlockError as error:
            self.pool.events.append(f"pages and log stay with fewer copies: {error}")


def slabs_on(pool: Pool, number: int) -> list[Slab]:
    """Slabs that have a column on a member."""
    return [slab for slab in pool.engine.all_slabs() if is_on(slab, number)]


def is_on(slab: Slab, number: int) -> bool:
    return any(place[0] == number for place in slab.places)
