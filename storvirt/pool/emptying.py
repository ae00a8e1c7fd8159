"""Emptying slabs: what they hold is written anew elsewhere, then they are given up; and whether there is room for it.

Knows: what a slab may hold, that nothing of it may be filled meanwhile. Refuses to know: why they are emptied
(evacuate.py, widen.py), when there is time for a step.

It is the pool's one primitive with another reason: a grain is written to a new slot, then its pointer is switched. So
it may stop anywhere, and nothing is owed: what was moved is moved, what was not is where it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from storvirt.pool import format as f
from storvirt.pool import mirrors, room
from storvirt.pool.job import SLABS_AT_ONCE, SLOTS_A_STEP, is_on, slabs_on
from storvirt.pool.space import NoSpace, Space, layout_of
from storvirt.raid.layout import BY_NUMBER

if TYPE_CHECKING:
    from storvirt.pool.pool import Pool
    from storvirt.pool.slab import Slab

SPARED = 2  # extents more than have to be free on each member before something is moved to it


def empty(pool: Pool, slabs: Collection[Slab]) -> Iterator[tuple[int, int]]:
    """Move all that is in these slabs, which pool.shelf avoids, to others; at the end they are gone. Yields the slots
    and bytes dealt with since. Raises Suspended, and BlockError where there is no room."""
    wanted = {slab.number: slab for slab in slabs}
    segments = {slab.number for slab in slabs if slab.use == f.LOG}
    if segments & {row.slab for row in pool.segments}:
        for _ in mirrors.empty_log(pool, segments):
            yield 0, 0
    slots = size = 0
    for disk in list(pool.engine.disks.values()):
        for level, number, pointer in list(disk.map.numbered_pages()):
            if pointer.slab in wanted:
                disk.map.touch(level, number)
                slots += 1
        for grain, slab, _slot in disk.map.allocated():
            found = disk.map.entry(grain) if slab in wanted else None  # it may have moved meanwhile
            if found is None or found[0] not in wanted:
                continue
            pool.make_room()
            pool.engine.destage(disk, grain)
            slots, size = slots + 1, size + disk.grain
            if slots >= SLOTS_A_STEP:
                yield slots, size
                slots = size = 0
    pool.checkpoint()
    yield slots, size


def group_of(pool: Pool, slabs: list[Slab]) -> list[Slab]:
    """The first of these to be emptied together: log and map alone, and of data not more than there is room for."""
    others = [slab for slab in slabs if slab.use != f.DATA]
    if others:
        return others
    takers = [n for n, row in enumerate(pool.rows) if row.state == f.IN and n not in pool.space.leaving]
    spare = min((pool.space.free(n) for n in takers), default=0) - room.reserve(pool)
    return slabs[: max(1, min(SLABS_AT_ONCE, spare // 4))]


def homes_for(slab: Slab, leaving: int, space: Space, rows: Sequence[f.MemberRow], reserve: int) -> list[int]:
    """Members that can take the leaving one's column of a slab, which stays as wide as it is; the one with most room
    first. None where it is better cut anew: with little in it; where it says for all slabs of a level who stands with
    whom (nested), or who has the parity (dedicated). reserve: extents that stay free on each member."""
    level = BY_NUMBER.get(slab.profile)
    if slab.use != f.DATA or level is None or level.nested or level.dedicated or slab.used * 2 < slab.slots:
        return []
    able = [n for n, row in enumerate(rows) if row.state == f.IN and n not in space.leaving and n != leaving]
    homes = [n for n in able if space.free(n) > reserve + SPARED and not is_on(slab, n)]
    return sorted(homes, key=lambda n: -space.free(n))


def fits_without(pool: Pool, leaving: int) -> bool:
    """Whether all that is in slabs of which a member has a column has room on the others: the slabs are cut on paper.
    It is the end that counts, and a slab more: each that was emptied has given its extents back before the next one."""
    rows = list(pool.rows)
    rows[leaving] = rows[leaving]._replace(state=f.REMOVED)
    space = Space(rows, pool.extent)
    space.leaving = set(pool.space.leaving)
    moved: Counter[tuple[int, int]] = Counter()
    uses: Counter[int] = Counter()
    leaves = slabs_on(pool, leaving)
    for slab in pool.engine.all_slabs():
        if slab.use == f.DATA or slab not in leaves:
            space.claim(place for place in slab.places if place[0] != leaving)
        if slab not in leaves:
            uses[slab.use] += 1
            if slab.use == f.DATA and slab.tolerance >= 0:
                moved[slab.profile, slab.grain] -= slab.free_slots
    reserve = room.kept_free(rows, pool.extent, pool.copies, uses[f.META], uses[f.LOG]) + SPARED
    for slab in [slab for slab in leaves if slab.use == f.DATA]:
        if homes := homes_for(slab, leaving, space, rows, reserve):
            space.take(homes[0])
            moved[slab.profile, slab.grain] -= slab.free_slots
        else:
            space.release(place for place in slab.places if place[0] != leaving)
            moved[slab.profile, slab.grain] += slab.used
    cut: list[f.SlabRow] = []
    for (profile, grain), slots in moved.items():
        left = slots
        while left > 0:
            try:
                cut.append(space.cut(len(cut) + 1, profile, grain, rows, reserve, cut))
            except NoSpace:
                return False
            left -= layout_of(cut[-1], pool.extent).slots
    return True
