"""Which job an earlier opener of the pool did not bring to its end; it is begun again, and does what is left.

Knows: what the newest commit record says of each kind of job. Refuses to know: how a job works, when there is time.
"""

from __future__ import annotations

from storvirt.pool import format as f
from storvirt.pool.errors import PoolError
from storvirt.pool.evacuate import Evacuate
from storvirt.pool.job import Job, Steps
from storvirt.pool.membership import unfinished
from storvirt.pool.mirrors import is_thin
from storvirt.pool.pool import Pool
from storvirt.pool.repair import Replace, Scrub
from storvirt.pool.widen import Rebalance


class Strengthen(Job):
    """Log and map get the copies that they can have: what the ends of other jobs do, too."""

    def _run(self) -> Steps:
        return self._strengthen()


def going_on(pool: Pool) -> Job | None:
    """One that a record leads to, begun again. Those that can't be for now are left out: the pool's own problems have a
    sentence for it. Raises Suspended."""
    for number, new in unfinished(pool):
        try:
            return Evacuate(pool, number) if new == f.LEAVING else Replace(pool, number, new)
        except PoolError:
            continue
    if pool.flags & f.REBALANCING:
        try:
            return Rebalance(pool)
        except PoolError:
            return None  # nothing is left of it
    # First things first: one that is out may come back, or another one takes its place.
    whole = all(row.state != f.OUT for row in pool.rows)
    return Scrub(pool, resumed=True) if pool.flags & f.SCRUBBING and whole else None


def at_opening(pool: Pool) -> Job | None:
    """The same; and no record says that a member had been added or was back, and its job cut short: log and map may
    have fewer copies than they could. Raises Suspended."""
    thin = any(is_thin(pool, slab) for slab in pool.engine.all_slabs())
    return going_on(pool) or (Strengthen(pool) if thin else None)
