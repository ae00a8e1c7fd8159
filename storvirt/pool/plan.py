"""What a pool of members of these sizes would hold with a RAID level: the slabs are cut as they would be, on paper.

Knows: sizes in, numbers out. Refuses to know: files, pools that there are, words for people.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from storvirt.pool import format as f
from storvirt.pool import room
from storvirt.pool.assemble import extent_for, least_member
from storvirt.pool.errors import PoolError
from storvirt.pool.space import NoSpace, Space, layout_of
from storvirt.raid.layout import Layout, LayoutError, choose, profile_named

MOST_PATTERNS = 2500  # losses that are tried one by one


class MemberPlan(NamedTuple):
    """Bytes. data: what slabs take, redundancy and padding among it; kept: for the log, the map and the superblock;
    unused: what the level can't use."""

    size: int
    data: int
    kept: int
    unused: int


class Shape(NamedTuple):
    """Slabs of one width. data, redundant: columns; groups: of columns that stand together; capacity: users' bytes."""

    data: int
    redundant: int
    groups: int
    slabs: int
    capacity: int


class Plan(NamedTuple):
    """Bytes. capacity: of users; redundancy, padding, kept, unused: where the rest of `size` goes. tolerance: members
    that may be lost, whichever they are; survived: of the losses of one member more, (how many are survived, how many
    there are), None where there are too many to try."""

    raid: str
    grain: int
    extent: int
    size: int
    capacity: int
    redundancy: int
    padding: int
    kept: int
    unused: int
    tolerance: int
    survived: tuple[int, int] | None
    members: tuple[MemberPlan, ...]
    shapes: tuple[Shape, ...]


def plan(sizes: Sequence[int], raid: str, grain: int = 32768, extent: int | None = None) -> Plan:
    """sizes, extent: bytes. Nothing else is in the pool. Raises PoolError with one sentence."""
    if not 1 <= len(sizes) <= f.MAX_MEMBERS:
        raise PoolError(f"a pool has 1 to {f.MAX_MEMBERS} members, not {len(sizes)}")
    extent = extent or extent_for(sum(sizes))
    for size in sizes:
        if size < least_member(extent):
            raise PoolError(f"a member of {size} bytes is too small: it needs {least_member(extent)} in such a pool")
    try:
        profile = profile_named(raid)
        choose(profile, len(sizes), grain, extent)
    except LayoutError as error:
        raise PoolError(str(error)) from None
    rows = [f.MemberRow(bytes([number]) * 16, f.IN, size, 1) for number, size in enumerate(sizes)]
    copies = min(max(profile.parity + 1, 2), len(rows))
    reserve = room.kept_free(rows, extent, copies) + 1
    space = Space(rows, extent)
    slabs = _slabs(space, profile.number, grain, rows, reserve)
    layouts = [layout_of(slab, extent) for slab in slabs]
    taken = Counter(column.member for slab in slabs for column in slab.columns)
    members = tuple(_member(row.size, taken[n], space.free(n), reserve, extent) for n, row in enumerate(rows))
    return Plan(
        profile.name, grain, extent, sum(sizes),
        capacity=sum(layout.slots * layout.grain for layout in layouts),
        redundancy=sum(layout.m * extent for layout in layouts),
        padding=sum(layout.k * extent - layout.slots * layout.grain for layout in layouts),
        kept=sum(member.kept for member in members),
        unused=sum(member.unused for member in members),
        tolerance=profile.parity,
        survived=_survived(slabs, layouts, len(rows), profile.parity + 1),
        members=members,
        shapes=_shapes(layouts),
    )  # fmt: skip


def _slabs(space: Space, profile: int, grain: int, rows: Sequence[f.MemberRow], reserve: int) -> list[f.SlabRow]:
    slabs: list[f.SlabRow] = []
    while True:
        try:
            # The last one says where a dedicated level has its parity.
            slabs.append(space.cut(len(slabs) + 1, profile, grain, rows, reserve, slabs[-1:]))
        except NoSpace:
            return slabs


def _member(size: int, taken: int, free: int, reserve: int, extent: int) -> MemberPlan:
    unused = max(free - reserve, 0) * extent
    return MemberPlan(size, taken * extent, size - taken * extent - unused, unused)


def _shapes(layouts: Sequence[Layout]) -> tuple[Shape, ...]:
    """The widest first."""
    counts = Counter(layouts)
    return tuple(
        Shape(layout.k, layout.m, layout.groups, count, count * layout.slots * layout.grain)
        for layout, count in sorted(counts.items(), key=lambda pair: -pair[0].width)
    )


def _survived(slabs: Sequence[f.SlabRow], layouts: Sequence[Layout], members: int, lost: int) -> tuple[int, int] | None:
    """Losses of so many members that leave every slab readable."""
    every = math.comb(members, lost)
    if every > MOST_PATTERNS:
        return None
    groups = {
        (frozenset(slab.columns[column].member for column in layout.columns_of(group)), layout.p)
        for slab, layout in zip(slabs, layouts, strict=True)
        for group in range(layout.groups)
    }
    patterns = map(frozenset, itertools.combinations(range(members), lost))
    return sum(all(len(group & gone) <= p for group, p in groups) for gone in patterns), every
