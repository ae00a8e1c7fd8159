"""What the log adds to the map at opening: finding its records, making them as redundant as they were meant to be, and
applying them. The crash story is in storvirt/pool/__init__.

Knows: segments, records, where the log ends and what a hole in it means. Refuses to know: which members belong to the
pool (assemble.py), how many records are read at once (logwalk.pyx), what an entry does to tables (engine.pyx).

What was not flushed is written again where it lies, on all copies and columns, and with the same bytes: some may have
lost it with the power, or to an fsync that failed before the process ended (the kernel calls such pages clean, and the
next fsync says that all is well). A crash in the middle leaves it as it was or better. Records that follow each other
are written so in one go, up to a MiB, and then what they say is done: no column is written before the record that
speaks of it.
"""

from __future__ import annotations

from typing import NamedTuple

from storvirt.pool import format as f
from storvirt.pool.logcopy import LogCopy
from storvirt.pool.logwalk import LogWalk, from_number
from storvirt.pool.pool import SKIP, Pool, PoolError
from storvirt.pool.record import FLUSHED, SWITCH, ZERO, parse
from storvirt.pool.slab import Slab


class Logged(NamedTuple):
    """Records of the log that follow each other: the number of the first entry, and the one behind the last; a copy of
    their segment that has all of them, and where they are in it; the largest number of a FLUSHED, or 0; the bytes of
    their heads and entries."""

    segment: Slab
    first: int
    after: int
    copy: int
    start: int
    end: int
    durable: int
    parts: bytes


def log_is_there(pool: Pool, commit: f.Commit) -> None:
    """Raises PoolError if a segment of the log is on none of the members: what it holds can't be told from nothing."""
    for row in commit.segments:
        slab = pool.engine.slab(row.slab)
        if slab is None or slab.use != f.LOG:
            raise PoolError(f"pool {pool.name} is damaged: the log's segment {row.slab} is not in its table of slabs")
        if slab.tolerance < 0:
            lost = ", ".join(str(place.member) for place in slab.places)
            raise PoolError(
                f"the newest writes of pool {pool.name} are in its log on members (number {lost}) that are missing; "
                "without one of them it can't be opened"
            )


def replay(pool: Pool, commit: f.Commit, degraded: bool) -> None:
    """Apply what the log has beyond the map. Raises PoolError, Suspended.

    degraded: go on although a record is damaged that a flush had made durable.
    """
    last = commit.sequence
    records: list[Logged] = []
    ends: dict[int, int] = {}
    for row in commit.segments:
        slab = pool.engine.slab(row.slab)
        assert slab is not None
        found = records_of(pool, slab, row)
        records += found
        at, expected = (found[-1].end, found[-1].after) if found else (0, row.first)
        last = max(last, expected)
        ends[row.slab] = max(at, 1)
        if (at < row.end and row.end > 1) or not row.end:
            if _flushed_beyond(pool, commit, slab, at) > expected:
                _damaged(pool, row, at, degraded)
            elif row.end:
                break  # written behind a hole that the loss of power left: none of it was flushed
    durable = max((record.durable for record in records), default=0)
    for record in records:
        if record.after > durable:
            _spread(pool, record, durable)
        _apply(pool, record, commit.sequence, durable)
    # Nothing is ever appended behind what was found here, and what lies there is never read.
    pool.segments = [row._replace(end=ends.get(row.slab, 1)) for row in pool.segments]
    pool.engine.sequence = last + SKIP


def _damaged(pool: Pool, row: f.SegmentRow, at: int, degraded: bool) -> None:
    sentence = f"the log of pool {pool.name} is damaged (segment {row.slab}, byte {at}) on all its copies"
    if not degraded:
        raise PoolError(f"{sentence}: writes that were flushed are lost; open it degraded to go on without them")
    pool.events.append(f"{sentence}: writes that were flushed are lost")


def _apply(pool: Pool, record: Logged, checkpointed: int, durable: int) -> None:
    engine, segment = pool.engine, record.segment.number

    def other(sequence: int, kind: int, volume: int, where: int, arg: int, crcs: list[int]) -> None:
        disk = engine.disks.get(volume)
        if disk is None or where >= disk.map.grains * (1 if kind == SWITCH else disk.blocks):
            return
        if kind == ZERO:
            engine.apply_zero(disk, where, min(arg, disk.map.grains * disk.blocks - where), sequence, segment)
        elif kind == SWITCH and sequence >= checkpointed:
            slab, slot = arg >> 32, arg & 0xFFFFFFFF
            done = engine.replay_switch(disk, where, sequence, slab, slot, crcs, sequence < durable)
            if not done and sequence < durable:
                raise PoolError(
                    f"pool {pool.name} is damaged: grain {where} of volume {disk.row.name} was flushed to slab {slab}, "
                    f"slot {slot}, which does not exist or is another one's"
                )

    engine.replay_entries(record.parts, record.start, segment, other)


def _spread(pool: Pool, record: Logged, durable: int) -> None:
    """All copies have the records from now on, but for those that were flushed: these they have."""
    slab, start = record.segment, from_number(record.parts, record.start, durable)
    data = slab.piece(record.copy, start, record.end - start)
    if data is None:
        raise PoolError(f"pool {pool.name}: what was read from its log a moment ago can't be read any more")
    for copy in range(slab.width):
        error = slab.put_piece(copy, start, data)
        if error:
            pool.write_failed(slab, 1 << copy, error)


def records_of(pool: Pool, slab: Slab, row: f.SegmentRow) -> list[Logged]:
    """Of a segment, up to the first that is whole on none of its copies or goes beyond its end."""
    end = row.end or pool.extent
    walk = LogWalk(slab, pool.pool_id, min(end, pool.extent))
    found: list[Logged] = []
    at, expected = 0, row.first
    while at < end:
        run = walk.run(at, expected)
        record = Logged(slab, *run) if run is not None else _record_at(pool, slab, at, expected)
        if record is None or record.end > end:  # an end of 1: nothing in it counts
            break
        found.append(record)
        at, expected = record.end, record.after
    return found


def _record_at(pool: Pool, slab: Slab, at: int, expected: int) -> Logged | None:
    """The whole record that begins here on any copy; None at the end of the log."""
    for copy in range(slab.width):
        data = _copy(pool, slab, copy).whole(at, expected)
        parsed = parse(data) if data is not None else None
        if data is not None and parsed is not None:
            entries, payload = parsed
            durable = max((entry.where for entry in entries if entry.kind == FLUSHED), default=0)
            after = expected + len(entries)
            return Logged(slab, expected, after, copy, at, at + len(data), durable, data[:payload])
    return None


def _copy(pool: Pool, slab: Slab, copy: int) -> LogCopy:
    number, extent = slab.places[copy]
    base = f.EXTENTS_AT + extent * pool.extent
    return LogCopy(slab, copy, pool.members[number], base, pool.pool_id, pool.extent)


def _flushed_beyond(pool: Pool, commit: f.Commit, hole: Slab, at: int) -> int:
    """Entries below this number had been made durable, say whole records behind a place in the log."""
    most, behind = 0, False
    for row in commit.segments:
        slab = pool.engine.slab(row.slab)
        assert slab is not None
        behind = behind or slab is hole
        for copy in range(slab.width if behind else 0):
            most = max(most, _copy(pool, slab, copy).flushed(at if slab is hole else 0))
    return most
