"""A pool as its newest commit record says, looked at without being opened: no log is replayed, nothing is written.

Knows: slabs, which member file has which byte of a slot, who claims a slot. Refuses to know: which record is the newest
(heads.py), what the slots hold.
"""

from __future__ import annotations

from storvirt.backing.member import Member
from storvirt.pool import format as f
from storvirt.pool.heads import Half
from storvirt.pool.slab import Slab
from storvirt.pool.space import layout_of
from storvirt.raid.layout import Layout


class View:
    """Made of a half whose tables are checked. members: by number, None where one is missing or out."""

    def __init__(self, half: Half) -> None:
        self.commit, self.super_ = half.commit, half.super_
        self.extent, self.pool_id, self.name = half.super_.extent, half.super_.pool, half.super_.name
        places = half.places
        self.members: list[Member | None] = [
            places[number].member if number in places else None for number in range(len(half.commit.members))
        ]
        self.rows = {row.slab: row for row in half.commit.slabs}
        self.slabs = {row.slab: Slab(row, self.extent, self.members) for row in half.commit.slabs}
        self._claims = {slab.number: bytearray(slab.slots) for slab in self.slabs.values() if slab.use != f.LOG}

    def layout(self, slab: Slab) -> Layout:
        return layout_of(self.rows[slab.number], self.extent)

    def place(self, slab: Slab, column: int, inside: int) -> tuple[Member | None, int]:
        """(member, offset in it) of a byte of a column's extent."""
        number, extent = slab.places[column]
        return self.members[number], f.EXTENTS_AT + extent * self.extent + inside

    def slot(self, number: int, use: int, grain: int, slot: int) -> Slab | None:
        """The slab that a pointer may lead to; None if it can't."""
        slab = self.slabs.get(number)
        fits = slab is not None and slab.use == use and slab.grain == grain and slot < slab.slots
        return slab if fits else None

    def claim(self, slab: Slab, slot: int) -> bool:
        """False if somebody else has claimed it."""
        free = not self._claims[slab.number][slot]
        self._claims[slab.number][slot] = 1
        return free

    def claimed(self, slab: Slab) -> int:
        """How many of its slots are."""
        return self._claims[slab.number].count(1)
