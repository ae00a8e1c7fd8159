"""Taking a member out of a pool for good: all that it holds moves to the others first.

Knows: what a member holds, what the pool must keep without it, how far the job is. Refuses to know: how a slab is
emptied (emptying.py), when there is time for a step, files.

The record that begins it calls the member one that is leaving, so whoever opens the pool goes on with it (or calls it
off): nothing new is put there, and slabs that have a column there are emptied group by group. The member is read and
written as before until it holds nothing. One that is out may be taken out as well: then this is a rebuild into the
room that the others have.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from storvirt.block import BlockError
from storvirt.pool import emptying, mirrors
from storvirt.pool import format as f
from storvirt.pool.membership import retire, set_successor
from storvirt.pool.pool import Pool, PoolError, Suspended
from storvirt.pool.repair import Progress
from storvirt.pool.slab import Slab
from storvirt.raid.layout import BY_NUMBER, LayoutError, choose


class Evacuate:
    """Member `number` is emptied and removed. Raises PoolError if the others can't hold all of it; Suspended."""

    def __init__(self, pool: Pool, number: int) -> None:
        if not 0 <= number < len(pool.rows) or pool.rows[number].state not in (f.IN, f.OUT):
            raise PoolError(f"pool {pool.name} has no member number {number} that could be removed")
        if pool.rows[number].successor != f.LEAVING:
            why = refusal(pool, number)
            if why:
                raise PoolError(why)
            set_successor(pool, number, f.LEAVING)
        self.pool = pool
        self.old = number
        self.moved = 0  # bytes
        pool.space.leaving.add(number)
        pool.shelf.avoid(self._is_concerned)
        self._done = 0
        self._total = sum(slab.used for slab in self._concerned() if slab.use != f.LOG)
        self._steps = self._run()

    @property
    def progress(self) -> Progress:
        return Progress(min(self._done, self._total), self._total)

    def step(self) -> bool:
        """Some slots more; False when the member is removed. After Suspended it goes on with what is left."""
        try:
            return next(self._steps, None) is not None
        except Suspended:
            self._steps = self._run()  # an iterator that has raised is at its end
            raise
        except BlockError as error:
            raise PoolError(_no_room(self.pool, self.old) if error.errno == errno.ENOSPC else str(error)) from None

    def cancel(self) -> None:
        """The member stays. What was moved is where it was moved to. Raises Suspended."""
        set_successor(self.pool, self.old, f.NOBODY)
        self.pool.space.leaving.discard(self.old)
        self.pool.shelf.avoid()

    def _is_concerned(self, slab: Slab) -> bool:
        return any(place[0] == self.old for place in slab.places)

    def _concerned(self) -> list[Slab]:
        return [slab for slab in self.pool.engine.all_slabs() if self._is_concerned(slab)]

    def _run(self) -> Iterator[bool]:
        pool = self.pool
        while slabs := self._concerned():
            group = emptying.group_of(pool, slabs)
            for slots, size in emptying.empty(pool, group):
                self._done, self.moved = self._done + slots, self.moved + size
                yield True
            if not set(group) - set(self._concerned()):
                raise PoolError(f"what member {pool.member_name(self.old)} holds can't be moved; scrub the pool first")
        for _ in mirrors.strengthen(pool):
            yield True
        name = pool.member_name(self.old)
        retire(pool, self.old, f.NOBODY)
        pool.shelf.avoid()
        pool.events.append(f"member {name} is removed: it holds nothing any more")


def refusal(pool: Pool, number: int) -> str:
    """Why a member can't be taken out; "" if it can."""
    if pool.rows[number].successor not in f.WORDS or any(row.successor == number for row in _there(pool)):
        return f"member {pool.member_name(number)} is taking or giving up a place; wait for that, or cancel it"
    others = sum(row.state == f.IN for n, row in enumerate(pool.rows) if n != number and n not in pool.space.leaving)
    if not others:
        return f"pool {pool.name} has no other member"
    for row in pool.volume_rows.values():
        try:
            choose(BY_NUMBER[row.profile], others, row.grain, pool.extent)
        except LayoutError as error:
            return f"volume {row.name} of pool {pool.name} does not allow it: {error}"
    return "" if emptying.fits_without(pool, number) else _no_room(pool, number)


def _there(pool: Pool) -> list[f.MemberRow]:
    return [row for row in pool.rows if row.state in (f.IN, f.OUT)]


def _no_room(pool: Pool, number: int) -> str:
    return (
        f"the other members of pool {pool.name} have no room for what {pool.member_name(number)} holds; "
        "add a member first (vfab pool add), or trim what is not needed"
    )
