"""Room in the pool: how long the log may be, what data must leave free for it, and what is done before it is too late.

Knows: limits, and which work keeps within them. Refuses to know: how content is moved, who waits.

A pool that is full refuses writes with ENOSPC, before they are in the log; trims are always taken, and make room. For
that data never takes the last extents: they are for the log's full length, for a second copy of the whole map (it is
written to new space), and one more to write through what overwrites other content, whose slot comes back only later.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from typing import TYPE_CHECKING

from storvirt.block import BlockError
from storvirt.pool import format as f

if TYPE_CHECKING:
    from storvirt.pool.pool import Pool

LOG_SEGMENTS = 8  # segments of the log before the oldest is moved to grains
DIRTY_LEAVES = 1024  # pages of the map that may wait for a checkpoint
# Slots that may wait for a checkpoint to be used again: 128 MiB of the default grains. Space that was in use lately is
# in the page cache, fresh space is not: on tmpfs here, rewriting a volume in order went from 0.5 to 2.2 GB/s by it.
FREED_SLOTS = 4096
SLACK = 16  # slots of a kind that only grains which were there before may take
AT_ONCE = 256  # grains moved in one step
# Extents of data for which a slab of pages is kept: the densest map (grains of 4 KiB) needs a page of 16 KiB for
# 3.2 MiB, twice.
DATA_FOR_PAGES = 100


def log_limit(pool: Pool) -> int:
    """Segments of the log before the oldest is moved to grains: a small pool has a small log."""
    smallest = min((row.size for row in pool.rows if row.state == f.IN), default=0)
    return max(1, min(LOG_SEGMENTS, (smallest - f.EXTENTS_AT) // pool.extent // 8))


def most_segments(pool: Pool) -> int:
    """The log may pass its limit by half, however much is written at once."""
    limit = log_limit(pool)
    return limit + max(1, limit // 2)


def reserve(pool: Pool) -> int:
    """Extents that data must leave free on each member; one less for what was accepted before (engine.moving)."""
    usable = sum(row.state == f.IN for row in pool.rows)
    extents = sum((row.size - f.EXTENTS_AT) // pool.extent for row in pool.rows if row.state == f.IN)
    pages = 1 + extents // DATA_FOR_PAGES - sum(slab.use == f.META for slab in pool.engine.all_slabs())
    segments = most_segments(pool) + 2 - len(pool.segments)
    mirrored = (max(pages, 0) + max(segments, 1)) * min(pool.copies, usable)
    return -(-mirrored // max(usable, 1)) + (0 if pool.engine.moving else 1)


def make_room(pool: Pool) -> None:
    """Before a write. If there is no room, the engine refuses writes. Raises Suspended."""
    pool.engine.refusal = None
    while len(pool.segments) > most_segments(pool) and pool.engine.refusal is None:
        work(pool)


def work(pool: Pool) -> bool:
    """A little of what can be done meanwhile: True if there is more. Raises Suspended."""
    try:
        return _work(pool)
    except BlockError as error:
        # What can't be moved stays in the log, which must not grow then. Segments that only trims were logged in go.
        pool.engine.refusal = error
        if len(pool.segments) > most_segments(pool) + 1:
            with suppress(BlockError):
                pool.checkpoint()
        return False


def _work(pool: Pool) -> bool:
    engine = pool.engine
    if len(pool.segments) > log_limit(pool):
        oldest = pool.segments[0].slab
        for number, grain in engine.live_in(oldest)[:AT_ONCE]:
            engine.destage(engine.disks[number], grain)
        engine.commit()
        if not engine.live_in(oldest):
            pool.checkpoint()
        return True
    for number, grain in list(engine.to_heal)[:16]:
        if number in engine.disks:
            engine.destage(engine.disks[number], grain)
        engine.to_heal.discard((number, grain))
    engine.commit()
    dirty = sum(disk.map.dirty_leaves for disk in engine.disks.values())
    if dirty > DIRTY_LEAVES or len(engine.freed) > FREED_SLOTS:
        pool.checkpoint()
    return bool(engine.to_heal)


def full(pool: Pool) -> BlockError:
    return BlockError(errno.ENOSPC, f"pool {pool.name} is full; add a member, or trim what is not needed")
