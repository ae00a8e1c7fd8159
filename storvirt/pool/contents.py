"""What lies in the slots of some slabs, slot by slot and verified: for whoever writes a column of them anew.

Knows: maps, births. Refuses to know: what it is wanted for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from storvirt.block import BlockError
from storvirt.pool import format as f

if TYPE_CHECKING:
    from storvirt.pool.pool import Pool
    from storvirt.pool.reader import Disk
    from storvirt.pool.slab import Slab

Content = tuple["Slab", int, bytes | bytearray]


def contents(pool: Pool, wanted: Mapping[int, Slab], since: int = 0) -> Iterator[Content]:
    """(slab, slot, bytes) of every slot in use of these slabs, by their numbers, that was born at `since` or later.
    What can't be read is left out, and is an event. Slots that are written meanwhile may be left out."""
    for disk in list(pool.engine.disks.values()):
        for pointer in list(disk.map.pages()):
            if pointer.slab in wanted and pointer.birth >= since:
                page = _page(pool, disk, pointer)
                if page is not None:
                    yield wanted[pointer.slab], pointer.slot, page
        if all(slab.use == f.META for slab in wanted.values()):
            continue
        for grain, slab, _slot in disk.map.allocated():
            entry = disk.map.entry(grain) if slab in wanted else None  # looked up again: it may have moved
            if entry is None or entry[2] < since:
                continue
            try:
                found = pool.engine.slot_content(disk, grain)
            except BlockError as error:
                pool.events.append(f"not rebuilt: {error}")
                continue
            if found is not None and wanted.get(found[0].number) is found[0]:
                yield found


def _page(pool: Pool, disk: Disk, pointer: f.PagePointer) -> bytes | None:
    """None for one that is not used any more, or can't be read."""
    try:
        return pool.load_page(pointer)
    except BlockError as error:
        if pointer in disk.map.pages():
            pool.events.append(f"not rebuilt: {error}")
        return None
