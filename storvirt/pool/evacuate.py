"""Taking a member out of a pool for good: all that it holds moves to the others first.

Knows: what a member holds, what the pool must keep without it, how far the job is. Refuses to know: how a slab is
emptied (emptying.py), when there is time for a step, files.

The record that begins it calls the member one that is leaving, so whoever opens the pool goes on with it (or calls it
off): nothing new is put there. A slab that another member has no column of yet keeps its width: that member takes the
column, and nothing else of the slab is written. The others are emptied, group by group. The member is read and
written as before until it holds nothing. One that is out may be taken out as well: then this is a rebuild into the
room that the others have.
"""

from __future__ import annotations

import errno
from itertools import islice

from storvirt.block import BlockError
from storvirt.pool import emptying, mirrors, room
from storvirt.pool import format as f
from storvirt.pool.columns import Moving
from storvirt.pool.job import SLABS_AT_ONCE, Steps, is_on, slabs_on
from storvirt.pool.membership import retire, set_successor
from storvirt.pool.pool import Pool, PoolError
from storvirt.pool.slab import Slab
from storvirt.raid.layout import BY_NUMBER, LayoutError, choose


class Evacuate(Moving):
    """Member `number` is emptied and removed. Raises PoolError if the others can't hold all of it; Suspended."""

    def __init__(self, pool: Pool, number: int) -> None:
        if not 0 <= number < len(pool.rows) or pool.rows[number].state not in (f.IN, f.OUT):
            raise PoolError(f"pool {pool.name} has no member number {number} that could be removed")
        if pool.rows[number].successor != f.LEAVING:
            why = refusal(pool, number)
            if why:
                raise PoolError(why)
            set_successor(pool, number, f.LEAVING)
        self._reserve = 0  # extents that stay free on each member, whatever moves there
        super().__init__(pool, number)
        pool.space.leaving.add(number)
        pool.shelf.avoid(lambda slab: is_on(slab, number))
        self._total = sum(slab.used for slab in slabs_on(pool, number) if slab.use != f.LOG)

    def cancel(self) -> None:
        """The member stays. What was moved is where it was moved to. Raises Suspended."""
        set_successor(self.pool, self.old, f.NOBODY)
        self._steps.close()
        self.pool.space.leaving.discard(self.old)
        self.pool.shelf.avoid()

    def _ended_by(self, error: Exception) -> str:
        full = isinstance(error, BlockError) and error.errno == errno.ENOSPC
        return _no_room(self.pool, self.old) if full else str(error)

    def _homes_for(self, slab: Slab) -> list[int]:
        return emptying.homes_for(slab, self.old, self.pool.space, self.pool.rows, self._reserve)

    def _run(self) -> Steps:
        pool = self.pool
        while slabs := slabs_on(pool, self.old):
            self._reserve = room.reserve(pool)
            movable = list(islice(filter(self._homes_for, slabs), SLABS_AT_ONCE))
            if movable and (yield from self._move(movable)):
                continue
            group = emptying.group_of(pool, slabs)
            for slots, size in emptying.empty(pool, group):
                self._dealt(size, slots)
                yield
            if not set(group) - set(slabs_on(pool, self.old)):
                raise PoolError(f"what member {pool.member_name(self.old)} holds can't be moved; scrub the pool first")
        yield from mirrors.strengthen(pool)
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
