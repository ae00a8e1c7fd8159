"""Extents and slabs: which members a new slab is cut from, and what becomes free again.

Knows: free extents of each member, layouts. Refuses to know: what slabs hold, how much must stay free, files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from storvirt.pool.format import (
    DATA,
    EXTENTS_AT,
    IN,
    LINEAR,
    LOG,
    META,
    OUT,
    RAID1,
    Column,
    MemberRow,
    SlabRow,
)
from storvirt.raid.layout import PROFILES, LayoutError, choose
from storvirt.volume.map import PAGE

BY_NUMBER = {profile.number: profile for profile in PROFILES.values()}


class NoSpace(Exception):
    """There are not enough free extents on different members."""


class Space:
    """Free extents by member. `extent`: bytes."""

    def __init__(self, members: Sequence[MemberRow], extent: int) -> None:
        self.extent = extent
        self._free: list[set[int]] = []
        self.leaving: set[int] = set()  # members that are being replaced: nothing new is put there
        for row in members:
            self.add_member(row.size)

    def add_member(self, size: int) -> None:
        self._free.append(set(range(max(0, (size - EXTENTS_AT) // self.extent))))

    def renew_member(self, number: int, size: int) -> None:
        """Another file has this number now."""
        self.add_member(size)
        self._free[number] = self._free.pop()

    def claim(self, columns: Iterable[Column]) -> None:
        """These extents are in use."""
        for member, extent in columns:
            self._free[member].discard(extent)

    def release(self, columns: Iterable[Column]) -> None:
        for member, extent in columns:
            self._free[member].add(extent)

    def free(self, member: int) -> int:
        return len(self._free[member])

    def take(self, member: int) -> int:
        """The lowest free extent of a member. Raises NoSpace."""
        if not self._free[member]:
            raise NoSpace
        extent = min(self._free[member])
        self._free[member].remove(extent)
        return extent

    def _takers(self, members: Sequence[MemberRow]) -> list[int]:
        return [n for n, row in enumerate(members) if row.state == IN and n not in self.leaving]

    def cut(
        self, slab: int, profile: int, grain: int, members: Sequence[MemberRow], reserve: int, copies: int = 2
    ) -> SlabRow:
        """A new slab for data: of members that are in, those with most free extents; where these are few, the missing
        ones keep their column, as far as the profile can do without. reserve: extents that stay free on each member.
        Raises NoSpace.
        """
        usable = [n for n in self._takers(members) if self.free(n) > reserve]
        absent = [n for n, row in enumerate(members) if row.state == OUT and self.free(n) > reserve]
        layout = None
        for several in (usable, [*usable, *absent]):
            try:
                layout = choose(BY_NUMBER[profile], len(several), grain, copies, self.extent)
                break
            except LayoutError:
                continue
        if layout is None:
            raise NoSpace
        order = sorted(usable, key=lambda n: (-self.free(n), (n - slab) % len(members)))
        chosen = [*order, *absent][: layout.width]
        if len([n for n in chosen if n in absent]) > layout.tolerance:
            raise NoSpace
        # Parity stands in the last column: turn, so that every member gets its share of it.
        turn = slab % len(chosen)
        chosen = sorted(chosen)[turn:] + sorted(chosen)[:turn]
        columns = tuple(Column(n, self.take(n)) for n in chosen)
        return SlabRow(slab, DATA, profile, layout.k, grain, columns)

    def cut_mirror(self, slab: int, use: int, members: Sequence[MemberRow], copies: int) -> SlabRow:
        """A slab for pages or for the log: as many copies as asked for and possible, at least one. Raises NoSpace."""
        usable = [n for n in self._takers(members) if self.free(n)]
        if not usable:
            raise NoSpace
        order = sorted(usable, key=lambda n: (-self.free(n), (n - slab) % len(members)))[:copies]
        columns = tuple(Column(n, self.take(n)) for n in order)
        profile = RAID1 if len(columns) > 1 else LINEAR
        return SlabRow(slab, use, profile, 1, PAGE if use == META else self.extent, columns)


USES = {DATA: "data", META: "metadata", LOG: "log"}
