"""Copies of the log and of the map: as many as the pool's volumes need, on members of which not all may go together.

Knows: one copy more than the most tolerant volume may lose; what has fewer than could be, and how it gets them.
Refuses to know: how slabs are cut (space.py), what an entry of the log or of the map says.

A slab of pages or a segment is *thin* if it has fewer copies than the pool could give it now: it was cut before a
volume that tolerates more was made, or while members were missing. It is not mended where it lies, but emptied: what a
thin segment holds moves to grains, and pages on thin slabs are written anew with a checkpoint. Nothing waits for that
but the making of that volume, and the end of a rebuild: from then on the pool keeps the promise.

With nested levels more losses are survived than are promised, if no group loses too much. The copies stand together in
one group of members then, if they can: a loss that the groups survive leaves one of them.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from storvirt.pool import format as f
from storvirt.pool import room
from storvirt.pool.space import NoSpace
from storvirt.raid.layout import BY_NUMBER, LayoutError, choose

if TYPE_CHECKING:
    from storvirt.pool.pool import Pool
    from storvirt.pool.slab import Slab


def copies(pool: Pool) -> int:
    """Of pages and log: one more than the most tolerant volume may lose, two where there are two members."""
    tolerance = max((BY_NUMBER[row.profile].parity for row in pool.volume_rows.values()), default=1)
    return max(tolerance + 1, 2)


def possible(pool: Pool) -> int:
    """Copies that a new slab can have: members that are in, and not about to leave."""
    takers = sum(row.state == f.IN and n not in pool.space.leaving for n, row in enumerate(pool.rows))
    return min(copies(pool), max(takers, 1))


def cut(pool: Pool, use: int) -> f.SlabRow:
    """A new slab for pages or a segment. Raises BlockError (ENOSPC)."""
    try:
        return pool.space.cut_mirror(pool.engine.free_number(), use, pool.rows, copies(pool), _groups(pool))
    except NoSpace:
        raise room.full(pool) from None


def _groups(pool: Pool) -> list[set[int]]:
    """Of members that stand together in the widest slabs of a nested level; none where slabs take members in turn."""
    members = [n for n, row in enumerate(pool.rows) if row.state == f.IN]
    for row in pool.volume_rows.values():
        if not BY_NUMBER[row.profile].nested:
            continue
        try:
            layout = choose(BY_NUMBER[row.profile], len(members), row.grain, pool.extent)
        except LayoutError:
            continue
        size = layout.d + layout.p
        if layout.width == len(members) and size >= copies(pool):
            return [set(members[at : at + size]) for at in range(0, len(members), size)]
    return []


def is_thin(pool: Pool, slab: Slab) -> bool:
    return slab.use != f.DATA and slab.width < possible(pool)


def strengthen(pool: Pool) -> Generator[None, None, None]:
    """Empty what is thin, a little with each step; at the end a checkpoint has released it. Raises Suspended, and
    BlockError where there is no room for it."""
    thin = {slab.number for slab in pool.engine.all_slabs() if is_thin(pool, slab)}
    if not thin:
        return
    if any(row.slab in thin for row in pool.segments):
        yield from empty_log(pool, thin)
    for disk in pool.engine.disks.values():
        for level, number, pointer in list(disk.map.numbered_pages()):
            if pointer.slab in thin:
                disk.map.touch(level, number)
    yield
    pool.checkpoint()


def empty_log(pool: Pool, segments: set[int] | None = None) -> Generator[None, None, None]:
    """What these segments (None: all) hold moves to grains, and nothing is added to them: the next checkpoint releases
    them. Raises Suspended, BlockError."""
    pool.engine.commit()
    pool.new_segment()
    for row in pool.segments[:-1]:
        if segments is None or row.slab in segments:
            for volume, grain in pool.engine.live_in(row.slab):
                pool.engine.destage(pool.engine.disks[volume], grain)
                yield
