"""Which slab is filled next: the cheap choice is the obvious one, whatever happened to the pool before."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from storvirt.backing.memory import MemoryMember
from storvirt.block import BlockError
from storvirt.pool import format as f
from storvirt.pool.assemble import format_pool
from storvirt.pool.pool import Pool, PoolError
from storvirt.pool.repair import Replace
from storvirt.pool.shelf import Shelf
from storvirt.pool.slab import Slab
from tests.support.poolrig import MIB, Kind, contents, volume

EXTENT = 131072  # few slots in a slab, so there is a lot to choose from
KINDS = [Kind("raid5", 3 * MIB, 32768), Kind("raid5", 3 * MIB, 4096), Kind("raid1", 2 * MIB, 32768),
         Kind("raid5", 2 * MIB, 32768), Kind("raid1", 2 * MIB, 4096)]  # fmt: skip


class Checked(Shelf):
    """Compares every choice with the obvious one: all slabs are looked at."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool.engine)
        self.pool = pool
        self.seen: Counter[str] = Counter()

    def choose(self, use: int, profile: int, grain: int, beyond: int = 0) -> Slab | None:
        fits = [
            slab
            for slab in self.pool.engine.all_slabs()
            if slab.use == use and slab.grain == grain and slab.free_slots and slab.tolerance >= 0
            and (use != f.DATA or slab.profile == profile)
        ]  # fmt: skip
        best = None
        if sum(slab.free_slots for slab in fits) > beyond:
            best = min(fits, key=lambda slab: (bin(slab.missing).count("1"), slab.free_slots))
        found = super().choose(use, profile, grain, beyond)
        assert found is best
        self.seen["none" if best is None else "pages" if use == f.META else "data"] += 1
        self.seen["of several"] += len(fits) > 1
        self.seen["degraded"] += bool(best is not None and best.missing)
        return found


class History:
    def __init__(self, seed: int, members: int, size: int) -> None:
        self.dice = random.Random(seed)
        self.size = size
        self.pool = format_pool(
            [MemoryMember(size, f"m{number}") for number in range(members)],
            name="small slabs", pool_id=bytes(16), member_ids=[bytes([number]) * 16 for number in range(members)],
            extent=EXTENT,
        )  # fmt: skip
        for number, kind in enumerate(KINDS):
            self.pool.create_volume(f"{kind.raid}-{number}", kind.size, kind.raid, kind.grain)
        self.pool.shelf = self.shelf = Checked(self.pool)
        self.made = members

    def step(self) -> None:
        self.dice.choices(
            [self.write, self.trim, self.pool.checkpoint, self.lose, self.work], [50, 12, 4, 0.5, 8]
        )[0]()  # fmt: skip

    def _range(self) -> tuple[str, int, int]:
        row = self.dice.choice(list(self.pool.volume_rows.values()))
        length = self.dice.choice([4096, 4096, 32768, 131072])
        return row.name, self.dice.randrange(0, row.size - length + 1, 4096), length

    def write(self) -> None:
        name, offset, length = self._range()
        try:
            volume(self.pool, name).write(offset, self.dice.randbytes(length))
        except BlockError:
            self.shelf.seen["refused"] += 1

    def trim(self) -> None:
        name, offset, length = self._range()
        try:
            volume(self.pool, name).trim(offset, length)
        except BlockError:
            self.shelf.seen["refused"] += 1

    def work(self) -> None:
        self.pool.work()

    def lose(self) -> None:
        """One member goes, and comes again, or stays away for a while."""
        if len(self.pool.present()) < len(self.pool.rows) or self.shelf.seen["lost"] > 3:
            return
        number = self.dice.choice(list(self.pool.present()))
        self.pool.lose(number, "test")
        self.shelf.seen["lost"] += 1
        for _ in range(60):
            self.write()
        self.made += 1
        try:
            job = Replace(self.pool, number, MemoryMember(self.size, f"m{self.made}"), bytes([self.made]) * 16)
            while job.step():
                self.write()
            self.shelf.seen["replaced"] += 1
        except (PoolError, BlockError):
            self.shelf.seen["not replaced"] += 1


@pytest.mark.parametrize("seed", range(6))
def test_every_choice_is_the_obvious_one(seed: int) -> None:
    history = History(seed, 4, 8 * MIB + (44 + 30 * (seed % 3)) * EXTENT)
    for _ in range(1500):
        history.step()
    seen = history.shelf.seen
    assert seen["data"] > 50 and seen["pages"] > 50 and seen["of several"] > 50
    assert seen["refused"] or seed % 3


def test_losses_are_among_the_histories() -> None:
    history = History(3, 4, 8 * MIB + 120 * EXTENT)
    while not history.shelf.seen["replaced"] and history.made < 12:
        history.shelf.seen["lost"] = 0
        history.write()
        history.lose()
    assert history.shelf.seen["replaced"] and history.shelf.seen["degraded"]
    assert any(any(data) for data in contents(history.pool).values())
