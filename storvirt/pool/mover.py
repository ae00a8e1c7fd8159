"""Moving the log's oldest content to grains, in step with what is added at its other end.

Knows: how much is owed for what was logged, how far the oldest segment is read over. Refuses to know: how a grain is
moved (engine.pyx), when a segment is given up (checkpoint.py).

A segment is read over block by block in the order in which it was logged, so a share of it is a share of its blocks;
what was written again since costs nothing. At its end it is empty for good: nothing is added to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storvirt.pool import format as f
    from storvirt.pool.pool import Pool

# Bytes of the oldest segment that are moved for each byte that is logged. More than 1, because moving is logged, too,
# and because segments wait for a checkpoint when they are empty; little more, because one request waits for its share.
PACE = 1.5
SLICE = 64  # blocks that are looked at in one go: so many reads at once, where a disk has to be asked

_Key = tuple[int, int]
_NONE: _Key = (0, 0)


class Mover:
    """Of one pool. `limit` below: segments whose content may stay in the log."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._counted = 0  # bytes of the log when it was looked at last
        self._owed = 0.0  # blocks
        self._at = 0  # of the blocks of `_read`
        self._read = _NONE
        self._emptied: set[_Key] = set()

    @property
    def emptied(self) -> int:
        """Segments that wait for a checkpoint: the first ones, because the oldest is always moved first."""
        rows = self._pool.segments
        return next((number for number, row in enumerate(rows) if _key(row) not in self._emptied), len(rows))

    def behind(self, limit: int) -> bool:
        """Whether there is content in more than `limit` segments."""
        return len(self._pool.segments) > limit and len(self._pool.segments) - self.emptied > limit

    def keep_up(self, limit: int) -> None:
        """What is owed for all that was logged since the last call is moved. Raises Suspended, BlockError."""
        logged = self._pool.engine.counts["log-bytes"]
        grown, self._counted = logged - self._counted, logged
        oldest = self._oldest() if self.behind(limit) else None
        if oldest is None:
            self._owed = 0.0
            return
        self._owed += PACE * grown * self._pool.engine.logged_in(oldest.slab) / self._pool.extent
        if self._owed >= 1:
            self.move(int(self._owed))

    def move(self, blocks: int) -> None:
        """Read over so many blocks more of the oldest segment, or up to its end. Raises Suspended, BlockError."""
        oldest, engine = self._oldest(), self._pool.engine
        if oldest is None:
            return
        if self._read != _key(oldest):
            self._read, self._at = _key(oldest), 0
        end = min(self._at + blocks, engine.logged_in(oldest.slab))
        while self._at < end:
            upto = min(self._at + SLICE, end)
            engine.destage_all(engine.live_in(oldest.slab, self._at, upto))
            self._owed = max(0.0, self._owed - (upto - self._at))
            self._at = upto
        if self._at >= engine.logged_in(oldest.slab):
            self._emptied &= set(map(_key, self._pool.segments))
            self._emptied.add(_key(oldest))

    def _oldest(self) -> f.SegmentRow | None:
        """The first segment that is closed and not read over yet."""
        return next((row for row in self._pool.segments if row.end and _key(row) not in self._emptied), None)


def _key(row: f.SegmentRow) -> _Key:
    """A slab's number alone is used again."""
    return row.slab, row.first
