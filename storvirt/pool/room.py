"""Room in the pool: how long the log may be, what data must leave free for it, and what is done before it is too late.

Knows: limits, and which work keeps within them. Refuses to know: how content is moved (mover.py), who waits.

While the log is longer than it should be, each write moves as much of its oldest content as it adds, and somewhat more;
a checkpoint gives up what is empty, in halves, where fsyncs are made apart. Only a log that passes its limit by half
makes writes wait: for that checkpoint, or for the moving of whole segments.

A pool that is full refuses writes with ENOSPC, before they are in the log; trims are always taken, and make room. For
that data never takes the last extents: they are for the log's full length, for a second copy of the whole map (it is
written to new space), and one more to write through what overwrites other content, whose slot comes back only later.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from storvirt.block import BlockError
from storvirt.pool import format as f
from storvirt.pool.errors import Busy

if TYPE_CHECKING:
    from storvirt.pool.pool import Pool

# Segments of the log before the oldest is moved to grains. The longer it is, the more blocks of a grain are moved at
# once, and the more is read again after a kill. Random 4 KiB writes over 1 GiB, per second of CPU, and CPU seconds to
# open the pool after a kill: 8 segments 160 MB, 0.06 s; 16: 191 MB, 0.14 s; 32: 230 MB, 0.22 s.
LOG_SEGMENTS = 32
FEW_SEGMENTS = 8  # of a pool that has not 32 times as many extents on each member
LONGEST_LOG = 512 << 20  # bytes, where extents are large: all of it is read again after a kill, half a GiB in a second
# Bytes that the log of a large pool may have while there is room, a fifth of what is free: the longer it is, the more
# blocks of a grain are moved in one. Of 4 KiB writes at random over 8 GiB that is 1.1 blocks with 128 MiB, 2 with 1 GiB
# and 3 with this; on a disk a write took 25 us of CPU then in place of 35. It costs 32 MiB of memory, and two seconds
# after a kill.
LENT_LOG = 2 << 30
SHARE = 5
# Pages of the map that may wait for a checkpoint: 15 us for each, in one step, for which requests wait.
DIRTY_LEAVES = 1024
# Slots that may wait for a checkpoint to be used again: 128 MiB of the default grains. Space that was in use lately is
# in the page cache, fresh space is not: on tmpfs here, rewriting a volume in order went from 0.5 to 2.2 GB/s by it.
FREED_SLOTS = 4096
FREED_FOR_LEAF = 16  # more of them for each page that a checkpoint has to write: it costs as much as that many slots
SLACK = 16  # slots of a kind that only grains which were there before may take
AT_ONCE = 4  # blocks of the log that one step of the background work looks at: requests wait for it
# Extents of data for which a slab of pages is kept: the densest map (grains of 4 KiB) needs a page of 16 KiB for
# 3.2 MiB, twice.
DATA_FOR_PAGES = 100


def log_limit(pool: Pool) -> int:
    """Segments of the log before the oldest is moved to grains: a small pool has a small log.

    What data must leave free for it is a twentieth of a pool at most. A large pool lends it more.
    """
    few = _log_limit(pool.rows, pool.extent)
    if few < FEW_SEGMENTS:
        return few
    free = sum(pool.space.free(number) for number, row in enumerate(pool.rows) if row.state == f.IN)
    return max(few, min(LENT_LOG // pool.extent, (free // pool.copies + len(pool.segments)) // SHARE))


def _log_limit(rows: Sequence[f.MemberRow], extent: int) -> int:
    smallest = min((row.size for row in rows if row.state == f.IN), default=0)
    extents = (smallest - f.EXTENTS_AT) // extent
    wanted = max(min(FEW_SEGMENTS, extents // 8), min(LOG_SEGMENTS, extents // 32))
    return max(1, min(wanted, LONGEST_LOG // extent))


def most_segments(pool: Pool) -> int:
    """The log may pass its limit by half, however much is written at once."""
    return _passed(log_limit(pool))


def _passed(limit: int) -> int:
    return limit + max(1, limit // 2)


def reserve(pool: Pool) -> int:
    """Extents that data must leave free on each member; one less for what was accepted before (engine.moving)."""
    pages = sum(slab.use == f.META for slab in pool.engine.all_slabs())
    free = kept_free(pool.rows, pool.extent, pool.copies, pages, len(pool.segments))
    return free + (0 if pool.engine.moving else 1)


def kept_free(rows: Sequence[f.MemberRow], extent: int, copies: int, pages: int = 0, segments: int = 0) -> int:
    """Extents of each member that are for log and map; pages, segments: slabs of them that there are."""
    usable = sum(row.state == f.IN for row in rows)
    extents = sum((row.size - f.EXTENTS_AT) // extent for row in rows if row.state == f.IN)
    more = max(1 + extents // DATA_FOR_PAGES - pages, 0) + max(_passed(_log_limit(rows, extent)) + 2 - segments, 1)
    return -(-more * min(copies, usable) // max(usable, 1))


def make_room(pool: Pool) -> None:
    """Before a write: the log's other end moves on by as much. If there is no room, the engine refuses writes.

    Raises Suspended.
    """
    pool.engine.refusal = None
    try:
        pool.mover.keep_up(log_limit(pool))
        while len(pool.segments) > most_segments(pool) and pool.engine.refusal is None:
            if pool.mover.emptied:
                pool.pause("its log is full")
            work(pool)
    except Busy as pause:
        pool.engine.refusal = pause  # writes wait, reads don't
    except BlockError as error:
        _refuse(pool, error)


def work(pool: Pool) -> bool:
    """A little of what can be done meanwhile: True if there is more. Raises Suspended."""
    try:
        return _work(pool)
    except BlockError as error:
        _refuse(pool, error)
        return False


def _refuse(pool: Pool, error: BlockError) -> None:
    """What can't be moved stays in the log, which must not grow then. Segments that only trims were logged in go."""
    pool.engine.refusal = error
    if len(pool.segments) > most_segments(pool) + 1:
        with suppress(BlockError):
            _checkpoint(pool)


def _checkpoint(pool: Pool) -> None:
    """Now, or with the next round of fsyncs where these are made apart."""
    if pool.apart:
        pool.checkpoints.wanted = True
    else:
        pool.checkpoint()


def _work(pool: Pool) -> bool:
    engine, limit = pool.engine, log_limit(pool)
    behind = pool.mover.behind(limit)
    if behind:
        pool.mover.move(AT_ONCE)
    for number, grain in list(engine.to_heal)[:AT_ONCE]:
        if number in engine.disks:
            engine.destage(engine.disks[number], grain)
        engine.to_heal.discard((number, grain))
    engine.commit()
    if _checkpoint_due(pool, limit) and not (pool.apart and pool.checkpoints.pending):
        _checkpoint(pool)
    return pool.mover.behind(limit) or bool(engine.to_heal)


def _checkpoint_due(pool: Pool, limit: int) -> bool:
    """Whether enough waits for it: segments, so many that there is room for as many until it is done; pages; slots."""
    dirty = sum(disk.map.dirty_leaves for disk in pool.engine.disks.values())
    slots = FREED_SLOTS + FREED_FOR_LEAF * dirty
    return pool.mover.emptied > limit // 8 or dirty > DIRTY_LEAVES or len(pool.engine.freed) > slots


def full(pool: Pool) -> BlockError:
    return BlockError(errno.ENOSPC, f"pool {pool.name} is full; add a member, or trim what is not needed")
