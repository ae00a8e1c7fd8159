"""Making a volume larger while it is used.

Knows: which of the map's pages must be written before the commit record that has the new size.
Refuses to know: who sees the volume, files.
"""

from __future__ import annotations

from storvirt.pool.pool import Pool, PoolError


def grow_volume(pool: Pool, name: str, size: int) -> None:
    """size: bytes, a multiple of 4096, durable when it returns. Raises PoolError; Suspended, and then call it again."""
    disk = pool.disk(name)
    row = disk.row
    if size == row.size:
        return
    if size < row.size:
        raise PoolError(f"volume {name} has {row.size} bytes and can't shrink to {size}: what is behind would be lost")
    if size % 4096:
        raise PoolError(f"a volume's size is a multiple of 4096 bytes, {size} is not")
    # Afterwards the only dirty pages are those that grow() adds above the others: the tree that is written then is the
    # one of this checkpoint, and the log goes on from it. A commit record on the way still has the old size and root.
    pool.checkpoint()
    disk.map.grow(size)
    root, unused = pool.write_map(disk.map)
    row = pool.volume_rows[row.volume]._replace(size=size, root=root, levels=disk.map.levels)
    pool.engine.freed.extend((pointer.slab, pointer.slot) for pointer in unused)
    pool.sync_members()
    pool.volume_rows[row.volume] = row
    disk.change(row)
    pool.write_commit()
    pool.sync_members()
