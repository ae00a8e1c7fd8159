"""Making a volume larger while it is used.

Knows: that a row says how high the tree is that its root leads to, so a larger volume needs no new pages at once.
Refuses to know: who sees the volume, files.
"""

from __future__ import annotations

from storvirt.pool.pool import Pool, PoolError
from storvirt.pool.tables import MOST_BYTES


def grow_volume(pool: Pool, name: str, size: int) -> None:
    """size: bytes, a multiple of 4096, durable when it returns. Raises PoolError; Suspended, and then call it again."""
    disk = pool.disk(name)
    row = pool.volume_rows[disk.number]
    if size < row.size:
        raise PoolError(f"volume {name} has {row.size} bytes and can't shrink to {size}: what is behind would be lost")
    if size % 4096 or size > MOST_BYTES:
        raise PoolError(f"a volume's size is a multiple of 4096 bytes, at most {MOST_BYTES}; {size} is not")
    disk.map.grow(size)
    # The root stays, and with it `levels`: the pages that must stand above it come with the next checkpoint.
    pool.volume_rows[row.volume] = row._replace(size=size)
    pool.write_commit()
    pool.sync_members()
    disk.change(pool.volume_rows[row.volume])
