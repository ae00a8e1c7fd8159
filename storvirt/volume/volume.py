"""A volume as a Block: every call is a burst of one. For bursts of many see storvirt.pool.engine.

Knows: acknowledge after commit, fua as flush, room in the log before a write. Refuses to know: how any of it is done.
"""

from __future__ import annotations

from collections.abc import Iterator

from storvirt.block import Extent
from storvirt.pool.pool import Pool
from storvirt.pool.reader import Disk


class Volume:
    """A `storvirt.block.Block`; made by Pool.volume(). Raises BlockError, and pool.Suspended while the host is in
    trouble."""

    read_only = False

    def __init__(self, pool: Pool, disk: Disk) -> None:
        self._pool = pool
        self._disk = disk

    @property
    def size(self) -> int:
        return self._disk.size

    def read(self, offset: int, length: int) -> bytes:
        return self._pool.engine.read(self._disk, offset, length)

    def write(self, offset: int, data: bytes | memoryview, fua: bool = False) -> None:
        self._pool.make_room()
        self._pool.engine.write(self._disk, offset, data)
        self._acknowledge(fua)

    def zero(self, offset: int, length: int, may_trim: bool = True, fua: bool = False) -> None:
        """Thin by nature: zeros occupy nothing, so `may_trim` makes no difference."""
        self._pool.make_room()
        self._pool.engine.zero(self._disk, offset, length)
        self._acknowledge(fua)

    def trim(self, offset: int, length: int, fua: bool = False) -> None:
        self.zero(offset, length, True, fua)

    def _acknowledge(self, fua: bool) -> None:
        if fua:
            self._pool.flush()
        else:
            self._pool.engine.commit()

    def flush(self) -> None:
        self._pool.flush()

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        return self._pool.engine.extents(self._disk, offset, length) if length else iter(())

    def close(self) -> None:
        """The pool stays open; it is closed by itself."""
