"""Extents and slabs: which members a new slab is cut from, and what becomes free again.

Knows: free extents of each member, layouts. Refuses to know: what slabs hold, how much must stay free, files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence, Set

from storvirt.pool.format import (
    DATA,
    EXTENTS_AT,
    IN,
    LINEAR,
    LOG,
    MAX_EXTENT,
    META,
    OUT,
    RAID1,
    Column,
    MemberRow,
    SlabRow,
)
from storvirt.raid.layout import BY_NUMBER, Layout, LayoutError, choose
from storvirt.volume.map import PAGE


class NoSpace(Exception):
    """There are not enough free extents on different members."""


class Space:
    """Free extents by member. `extent`: bytes."""

    def __init__(self, members: Sequence[MemberRow], extent: int) -> None:
        self.extent = extent
        self._count: list[int] = []  # extents, free or not
        self._free: list[set[int]] = []
        self._lowest: list[int] = []  # no extent of a member below this is free
        self.leaving: set[int] = set()  # members that are being replaced: nothing new is put there
        for row in members:
            self.add_member(row.size)

    def add_member(self, size: int) -> None:
        self._count.append(max(0, (size - EXTENTS_AT) // self.extent))
        self._free.append(set(range(self._count[-1])))
        self._lowest.append(0)

    def renew_member(self, number: int, size: int) -> None:
        """Another file has this number now."""
        self.add_member(size)
        self._count[number] = self._count.pop()
        self._free[number] = self._free.pop()
        self._lowest[number] = self._lowest.pop()

    def grow_member(self, number: int, size: int) -> None:
        """It has so many bytes now, and had fewer. What is new is free."""
        new = max(0, (size - EXTENTS_AT) // self.extent)
        self._free[number].update(range(self._count[number], new))
        self._count[number] = new

    def claim(self, columns: Iterable[Column]) -> None:
        """These extents are in use."""
        for member, extent in columns:
            self._free[member].discard(extent)

    def release(self, columns: Iterable[Column]) -> None:
        for member, extent in columns:
            self._free[member].add(extent)
            self._lowest[member] = min(self._lowest[member], extent)

    def free(self, member: int) -> int:
        return len(self._free[member])

    def take(self, member: int) -> int:
        """The lowest free extent of a member. Raises NoSpace."""
        if not self._free[member]:
            raise NoSpace
        extent = self._lowest[member]
        while extent not in self._free[member]:
            extent += 1
        self._free[member].remove(extent)
        self._lowest[member] = extent + 1
        return extent

    def _takers(self, members: Sequence[MemberRow]) -> list[int]:
        return [n for n, row in enumerate(members) if row.state == IN and n not in self.leaving]

    def cut(
        self, slab: int, profile: int, grain: int, members: Sequence[MemberRow], reserve: int,
        slabs: Iterable[SlabRow] = (),
    ) -> SlabRow:  # fmt: skip
        """A new slab for data: of members that are in, those with most free extents; where these are few, the missing
        ones keep their column, as far as the profile can do without, and where few have room, it is narrower than the
        level asks for. reserve: extents that stay free on each member; slabs: those that there are, which say where a
        dedicated level has its parity. Raises NoSpace.
        """
        level = BY_NUMBER[profile]
        takers = self._takers(members)
        usable = [n for n in takers if self.free(n) > reserve]
        absent = [n for n, row in enumerate(members) if row.state == OUT and self.free(n) > reserve]
        absent = [n for n in absent if n not in self.leaving]
        usable.sort(key=lambda n: (-self.free(n), (n - slab) % len(members)))
        parity = Counter(row.columns[-1].member for row in slabs if level.dedicated and row.profile == profile)
        for several, narrow in ((usable, False), ([*usable, *absent], False), (usable, True)):
            try:
                layout = choose(level, len(several), grain, self.extent, narrow)
            except LayoutError:
                continue
            if several is usable and level.copies:
                layout = self._all_used(layout, usable, reserve)
            chosen, keeper = several[: layout.width], None
            if level.dedicated:
                keeper = _keeper(parity, several, takers)
                chosen = chosen if keeper in chosen else [*chosen[:-1], keeper]
            if sum(n in absent for n in chosen) <= layout.tolerance:
                order = _dealt(layout, sorted(chosen), slab, keeper)
                return SlabRow(slab, DATA, profile, layout.k, grain, tuple(Column(n, self.take(n)) for n in order))
        raise NoSpace

    def _all_used(self, layout: Layout, usable: Sequence[int], reserve: int) -> Layout:
        """A stripe of mirrors so narrow that what it leaves can be used up by mirrors: every extent of the largest
        member needs another member's for its copy."""
        free = [self.free(n) - reserve for n in usable]
        while layout.groups > 1:
            left = [count - (place < layout.width) for place, count in enumerate(free)]
            if 2 * max(left) <= sum(left):
                break
            layout = choose(layout.profile, layout.width - 2, layout.grain, self.extent, narrow=True)
        return layout

    def cut_mirror(
        self, slab: int, use: int, members: Sequence[MemberRow], copies: int, groups: Iterable[Set[int]] = ()
    ) -> SlabRow:
        """A slab for pages or for the log: as many copies as asked for and possible, at least one. groups: members of
        which only some may be lost together; one group has all copies, if one can. Raises NoSpace."""
        usable = [n for n in self._takers(members) if self.free(n)]
        if not usable:
            raise NoSpace
        fits = [inside for group in groups if len(inside := [n for n in usable if n in group]) >= copies]
        if fits:
            usable = max(fits, key=lambda inside: sorted(map(self.free, inside), reverse=True)[copies - 1])
        order = sorted(usable, key=lambda n: (-self.free(n), (n - slab) % len(members)))[:copies]
        columns = tuple(Column(n, self.take(n)) for n in order)
        profile = RAID1 if len(columns) > 1 else LINEAR
        return SlabRow(slab, use, profile, 1, PAGE if use == META else self.extent, columns)


def _keeper(parity: Counter[int], several: Sequence[int], takers: Sequence[int]) -> int:
    """The member that keeps the parity of a dedicated level, in the whole pool: slabs are shared by all volumes of
    a level and grain, and one disk of parity is what raid4 is to md. Of those that are in (or that have to do) the one
    that has most of it; at first the one with most room. Raises NoSpace if it is full: another one would not be
    dedicated."""
    there = {n: count for n, count in parity.items() if n in takers or n in several}
    if not there:
        return several[0]
    keeper = max(there, key=lambda n: (there[n], -n))
    if keeper not in several:
        raise NoSpace
    return keeper


def _dealt(layout: Layout, chosen: Sequence[int], slab: int, keeper: int | None) -> list[int]:
    """Members in the order of columns. Neighbours make a group, so that it is of the same members in all slabs that
    take all members. Redundancy stands last: within each group members turn, so that each gets its share of it."""
    if keeper is not None:
        return [*_turned([n for n in chosen if n != keeper], slab), keeper]
    size = layout.d + layout.p
    groups = [_turned(chosen[at : at + size], slab) for at in range(0, layout.width, size)]
    data = [n for group in groups for n in group[: layout.d]]
    return data + [n for group in groups for n in group[layout.d :]]


def _turned(members: Sequence[int], slab: int) -> list[int]:
    turn = slab % len(members)
    return [*members[turn:], *members[:turn]]


def layout_of(row: SlabRow, extent: int) -> Layout:
    """Of a slab for data. Raises LayoutError."""
    return Layout.of(BY_NUMBER[row.profile], row.data, len(row.columns) - row.data, row.grain, extent)


def survives(row: SlabRow, gone: Set[int]) -> bool:
    """Whether a slab of a checked table can be read without these members."""
    lost = [number for number, column in enumerate(row.columns) if column.member in gone]
    if row.use != DATA:
        return len(lost) < len(row.columns)
    return layout_of(row, MAX_EXTENT).survives(lost)


USES = {DATA: "data", META: "metadata", LOG: "log"}
