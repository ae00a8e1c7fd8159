"""Checkpoints: the map is made durable, then the log before it is not needed and what was freed is used again.

Knows: the order of it, what belongs to which checkpoint. Refuses to know: who makes the fsyncs, when one is due.

    write the maps | fsync | record them, retire segments | fsync | release

Requests may go on at each `|`, so what counts is what was so when the maps were written:
- the sequence number: a SWITCH from then on is replayed, whether or not a page has it;
- which segments are retired: those that were closed and had nothing live. What became dead later did so by an entry of
  the log that no page has yet, and waits for the next checkpoint;
- which slots and pages are released: those that were freed. What was freed later, the map that is written leads to.
Pages that are changed again are dirty again, and no row, retired segment or released slot is seen by anybody before its
step: a checkpoint that stops anywhere is forgotten, and the next one does all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from storvirt.pool import format as f
from storvirt.pool.mirrors import is_thin
from storvirt.raid.kernels import crc32c

if TYPE_CHECKING:
    from storvirt.pool.pool import Pool
    from storvirt.volume.map import VolumeMap


class Checkpoints:
    """The checkpoints of one pool. wanted: one is to begin with the next round of fsyncs; count: of those completed."""

    def __init__(self, pool: Pool) -> None:
        self.wanted = False
        self.count = 0
        self._pool = pool
        self._steps: Iterator[None] | None = None
        self._unused: list[f.PagePointer] = []  # pages that the newest maps do without
        self._dead: list[int] = []  # segments of the log that the newest commit record does without

    @property
    def pending(self) -> bool:
        """Whether rounds of fsyncs are needed to bring what is wanted to its end."""
        return self.wanted or self._steps is not None

    def at_once(self) -> None:
        """A whole checkpoint, with its fsyncs. One that was under way is done anew. Raises Suspended, BlockError."""
        self.wanted, self._steps = False, None
        for _ in self._run():
            self._pool.sync_members()

    def before_round(self) -> None:
        """Everything written up to now is about to be made durable. Raises Suspended, BlockError."""
        if self.wanted and self._steps is None:
            self.wanted = False
            self._steps = self._run()
            self._advance()

    def after_round(self) -> None:
        """What was written before the round began is durable on all members that are in. Raises Suspended."""
        if self._steps is not None:
            self._advance()

    def _advance(self) -> None:
        steps, self._steps = self._steps, None
        assert steps is not None
        try:
            with self._pool.here():
                if next(steps, self) is not self:
                    self._steps = steps
        except BaseException:
            self.wanted = True  # all of it again
            raise

    def _run(self) -> Iterator[None]:
        """One checkpoint. It goes on after each `yield` when all that was written before it is durable."""
        pool, engine = self._pool, self._pool.engine
        engine.commit()
        sequence, retired, freed = engine.sequence, self._retired(), len(engine.freed)
        rows = self._write_maps()
        unused = len(self._unused)
        # No record may lead to a page that is not durable, so the tables change only now; and a slot that the newest
        # record that may survive still leads to is not given back before its successor is durable on all members.
        yield
        for number, (root, levels) in rows.items():
            pool.volume_rows[number] = pool.volume_rows[number]._replace(root=root, levels=levels)
        pool.checkpointed = sequence
        self._retire(retired)
        dead = len(self._dead)
        pool.write_commit()
        yield
        for number, slot in [*engine.freed[:freed], *((page.slab, page.slot) for page in self._unused[:unused])]:
            slab = engine.slab(number)
            if slab is not None:
                slab.give_slot(slot)
        pool.release_slabs([*self._dead[:dead], *self._empty_slabs()])
        del engine.freed[:freed], self._unused[:unused], self._dead[:dead]
        self.count += 1

    # --- maps

    def _write_maps(self) -> dict[int, tuple[f.PagePointer, int]]:
        """Every volume's dirty pages, to new space; by volume the root that leads to them and the levels below it."""
        roots = {}
        for number, disk in self._pool.engine.disks.items():
            root, unused = self._write_map(disk.map)
            self._unused += unused
            roots[number] = root, disk.map.levels
        return roots

    def _write_map(self, volume_map: VolumeMap) -> tuple[f.PagePointer, list[f.PagePointer]]:
        """The dirty pages of one map: its new root, and the pages that it does without now."""
        taken: list[f.PagePointer] = []

        def store(page: bytes) -> f.PagePointer:
            taken.append(self._store_page(page))
            return taken[-1]

        try:
            return volume_map.write_tree(store)
        except BaseException:
            for pointer in taken:  # nothing leads to them
                slab = self._pool.engine.slab(pointer.slab)
                if slab is not None:
                    slab.give_slot(pointer.slot)
            raise

    def _store_page(self, page: bytes) -> f.PagePointer:
        pool = self._pool
        while True:
            slab = pool.page_slab()
            slot = slab.take_slot()
            failed = slab.write_page(slot, page)
            if failed:
                try:
                    pool.write_failed(slab, failed, slab.last_error)
                except BaseException:
                    slab.give_slot(slot)
                    raise
            if slab.tolerance >= 0:
                return f.PagePointer(slab.number, slot, crc32c(0, page), pool.engine.sequence)
            slab.give_slot(slot)  # no copy of it is left

    # --- what is done without

    def _retired(self) -> set[int]:
        """Segments that nothing is added to and whose content is all in grains."""
        live = self._pool.engine.is_live
        return {row.slab for row in self._pool.segments if row.end and not live(row.slab)}

    def _retire(self, numbers: set[int]) -> None:
        """They are left out of the next commit record."""
        self._pool.drop_segments(numbers)
        self._dead += numbers

    def _empty_slabs(self) -> list[int]:
        """Slabs without a slot in use, but for one of each kind that has all its copies."""
        empty, kept = [], set()
        for slab in self._pool.engine.all_slabs():
            kind = (slab.use, slab.profile, slab.grain)
            if slab.use != f.LOG and slab.used == 0 and self._pool.is_recorded(slab.number):
                if self._pool.shelf.avoids(slab):
                    empty.append(slab.number)
                    continue
                if kind in kept or is_thin(self._pool, slab):
                    empty.append(slab.number)
                kept.add(kind)
        return empty

    def awaiting(self) -> tuple[list[f.PagePointer], list[int]]:
        """(pages, segments) that the next checkpoints release."""
        return self._unused, self._dead
