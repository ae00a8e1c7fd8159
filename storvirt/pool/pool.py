"""One pool that is open: members, slabs, volumes, log segments, commit records, checkpoints.

Knows: when the tables change, what must be written before what (storvirt/pool/__init__ has the argument).
Refuses to know: files (members are given), protocols, threads, clocks. Everything is called from one thread.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from storvirt.backing.errors import NO_SPACE, MemberError
from storvirt.backing.member import Member
from storvirt.block import BlockError
from storvirt.pool import format as f
from storvirt.pool import report
from storvirt.pool.engine import Engine
from storvirt.pool.reader import Disk
from storvirt.pool.slab import Slab
from storvirt.pool.space import NoSpace, Space
from storvirt.raid.kernels import crc32c
from storvirt.raid.layout import PROFILES, LayoutError, choose
from storvirt.volume.map import PAGE, VolumeMap, levels_for

SKIP = 1 << 24  # sequence numbers left out at every opening
NOT_DURABLE = 13  # commit records in a row that need not be durable, of 16 places in the ring
LOG_SEGMENTS = 8  # segments of the log before the oldest is moved to grains
DIRTY_LEAVES = 1024  # pages of the map that may wait for a checkpoint


class PoolError(Exception):
    """The user's to read: one sentence."""


class Suspended(Exception):
    """The host is in trouble, not a member: nothing is lost, the call is to be made again later. One sentence."""


class Pool:
    """Made by `assemble.format_pool()` and `assemble.open_pool()`.

    members: by number, None where one is missing or out.
    """

    def __init__(self, super_: f.Superblock, members: list[Member | None], commit: f.Commit, parent: bytes) -> None:
        self.name = super_.name
        self.pool_id = super_.pool
        self.extent = super_.extent
        self.members = members
        self.rows = list(commit.members)
        self.number = commit.number
        self.durable = commit.number
        self.parent = parent
        self.checkpointed = commit.sequence
        self.next_slab = commit.next_slab
        self.next_volume = commit.next_volume
        self.volume_rows = {row.volume: row for row in commit.volumes}
        self.segments = list(commit.segments)
        self.space = Space(self.rows, self.extent)
        self.engine = Engine(self)
        self.events: list[str] = []
        self.member_counts: dict[tuple[int, str], int] = {}
        self._in_checkpoint = False
        self._slab_rows: dict[int, f.SlabRow] = {}
        for row in commit.slabs:
            self._add_slab(row)
        self.closed = False

    # --- tables

    def _add_slab(self, row: f.SlabRow) -> Slab:
        slab = Slab(row, self.extent, self.members)
        self.space.claim(row.columns)
        self._slab_rows[row.slab] = row
        self.engine.add_slab(slab)
        return slab

    def add_volume_map(self, row: f.VolumeRow) -> Disk:
        """A volume of the table becomes usable: its page pointers are read."""
        volume_map = VolumeMap(row.volume, row.size, row.grain, self.load_page)
        if row.root.slab:
            volume_map.read_tree(row.root)
        disk = Disk(row, volume_map)
        self.engine.add_disk(disk)
        return disk

    def load_page(self, pointer: f.PagePointer) -> bytes:
        """One page of the map from any copy that is whole. Raises BlockError."""
        slab = self.engine.slab(pointer.slab)
        if slab is not None and slab.use == f.META and pointer.slot < slab.slots:
            for copy in range(slab.width):
                data = slab.column_bytes(pointer.slot, copy)
                if data is not None and crc32c(0, data) == pointer.crc:
                    return data
        raise BlockError(
            errno.EIO, f"a page of the map (slab {pointer.slab}, slot {pointer.slot}) is lost on all its copies"
        )

    @property
    def copies(self) -> int:
        """Of metadata and log: one more than the most tolerant volume may lose, two where there are two members."""
        tolerance = max((self.tolerance_of(row) for row in self.volume_rows.values()), default=1)
        return max(tolerance + 1, 2)

    def tolerance_of(self, row: f.VolumeRow) -> int:
        return {f.RAID1: 1, f.RAID5: 1}.get(row.profile, 0)

    # --- what the engine asks for

    def new_slab(self, disk: Disk) -> Slab:
        """Where new grains of a volume go: a slab with free slots, or one cut anew. Raises BlockError (ENOSPC)."""
        row = disk.row
        found = self._slab_with_room(f.DATA, row.profile, row.grain)
        if found is None:
            found = self._cut(lambda number: self.space.cut(number, f.DATA, row.profile, row.grain, self.rows))
        return found

    def _slab_with_room(self, use: int, profile: int, grain: int) -> Slab | None:
        fits = [
            slab
            for slab in self.engine.all_slabs()
            if slab.use == use and slab.grain == grain and slab.free_slots and slab.tolerance >= 0
            and (use != f.DATA or slab.profile == profile)
        ]  # fmt: skip
        # Whole ones first, then the fullest: so that others become empty and can be given back.
        return min(fits, key=lambda slab: (bin(slab.missing).count("1"), slab.free_slots), default=None)

    def _cut(self, cut: Callable[[int], f.SlabRow]) -> Slab:
        try:
            row = cut(self.next_slab)
        except NoSpace:
            # What was freed since the last checkpoint can be used after the next one.
            if self._in_checkpoint:
                raise self._full() from None
            self.checkpoint()
            try:
                row = cut(self.next_slab)
            except NoSpace:
                raise self._full() from None
        self.next_slab += 1
        slab = self._add_slab(row)
        self.write_commit()
        return slab

    def _full(self) -> BlockError:
        return BlockError(errno.ENOSPC, f"pool {self.name} is full; add a member, or trim what is not needed")

    def new_segment(self) -> None:
        """The log goes on in a new segment; the one before ends where it is."""
        self._end_segment()
        try:
            row = self.space.cut_mirror(self.next_slab, f.LOG, self.rows, self.copies)
        except NoSpace:
            raise self._full() from None
        self.next_slab += 1
        slab = self._add_slab(row)
        self.segments.append(f.SegmentRow(row.slab, self.engine.sequence, 0))
        self.engine.set_segment(slab, 0, self.extent)
        self.write_commit()

    def _end_segment(self) -> None:
        if self.segments and not self.segments[-1].end:
            last = self.segments[-1]
            self.segments[-1] = last._replace(end=max(self.engine.segment_end, 1))

    def write_failed(self, slab: Slab, columns: int, number: int) -> None:
        """Some columns could not be written: their members are out when this returns. Raises Suspended."""
        if number in NO_SPACE:
            raise Suspended(f"pool {self.name} waits: its members' file system is full; make room and it goes on")
        failed = {place[0] for column, place in enumerate(slab.places) if columns >> column & 1}
        for member in failed:
            self.lose(member, f"a write failed ({errno.errorcode.get(number, number)})")

    def counted(self, what: str, slab: Slab, column: int) -> None:
        if 0 <= column < slab.width:
            key = (slab.places[column][0], what)
            self.member_counts[key] = self.member_counts.get(key, 0) + 1

    # --- members

    def lose(self, number: int, why: str) -> None:
        """A member is out from now on, and all others say so before anything else is answered. Raises Suspended."""
        if self.rows[number].state != f.IN:
            return
        others = [row for n, row in enumerate(self.rows) if row.state == f.IN and n != number]
        if not others:
            raise Suspended(f"pool {self.name} waits: its last member failed ({why}); repair it and it goes on")
        self.events.append(f"member {self.member_name(number)} is out: {why}")
        self.rows[number] = self.rows[number]._replace(state=f.OUT, since=self.number + 1)
        for slab in self.engine.all_slabs():
            slab.lose(number)
        self.members[number] = None
        self.engine.forget_current_slabs()
        self.write_commit()

    def member_name(self, number: int) -> str:
        member = self.members[number]
        return member.name if member is not None else f"number {number}"

    # --- commit records

    def commit_value(self) -> f.Commit:
        return f.Commit(
            self.number + 1,
            self.parent,
            self.checkpointed,
            self.next_slab,
            self.next_volume,
            tuple(self.rows),
            tuple(self._slab_rows.values()),
            tuple(self.volume_rows.values()),
            tuple(self.segments),
        )

    def write_commit(self) -> None:
        """A new commit record on every member that is in; durable with the next sync. Raises Suspended, PoolError."""
        if self.number + 1 - self.durable > NOT_DURABLE:
            self.sync_members()
        try:
            record = f.pack_commit(self.commit_value())
        except f.FormatError as error:
            raise PoolError(f"pool {self.name}: {error}") from None
        at = f.RING_AT + (self.number + 1) % f.RING_PLACES * f.RING_PLACE_SIZE
        failed = []
        for number, row in enumerate(self.rows):
            member = self.members[number]
            if row.state != f.IN or member is None:
                continue
            try:
                member.write(at, record)
            except MemberError as error:
                if error.errno in NO_SPACE:
                    raise Suspended(f"pool {self.name} waits: {error}; make room and it goes on") from None
                failed.append((number, str(error)))
        self.number += 1
        self.parent = f.commit_hash(record)
        for number, why in failed:
            self.lose(number, why)

    def sync_members(self) -> None:
        """Everything written so far is durable afterwards on every member that is still in. Raises Suspended."""
        number = self.number
        for place, row in enumerate(self.rows):
            member = self.members[place]
            if row.state != f.IN or member is None:
                continue
            try:
                member.sync()
            except MemberError as error:
                # The kernel may have dropped what it could not write: this member is never believed again.
                self.lose(place, f"fsync failed ({error})")
        self.durable = max(self.durable, number)

    def flush(self) -> None:
        """Promise B: what was acknowledged is durable. Raises Suspended."""
        self.engine.commit()
        below = self.engine.sequence
        self.sync_members()
        if self.number != self.durable:  # a member was lost meanwhile, and that record must be durable, too
            self.sync_members()
        self.engine.flushed(below)

    # --- checkpoint

    def checkpoint(self) -> None:
        """Make the map durable: the log before it is not needed then, freed space can be used. Raises Suspended."""
        self._in_checkpoint = True
        try:
            self._checkpoint()
        finally:
            self._in_checkpoint = False

    def _checkpoint(self) -> None:
        engine = self.engine
        engine.commit()
        sequence = engine.sequence
        freed, engine_freed = list(engine.freed), len(engine.freed)
        rows = dict(self.volume_rows)
        for number, disk in engine.disks.items():
            root, unused = disk.map.write_tree(self._store_page)
            freed += [(pointer.slab, pointer.slot) for pointer in unused]
            rows[number] = rows[number]._replace(root=root, levels=disk.map.levels)
        self.volume_rows = rows
        self.checkpointed = sequence
        dead = self._retire_segments()
        self.sync_members()
        self.write_commit()
        self.sync_members()
        del engine.freed[:engine_freed]
        for slab_number, slot in freed:
            slab = engine.slab(slab_number)
            if slab is not None:
                slab.give_slot(slot)
        self._release([*dead, *self._empty_slabs()])

    def _store_page(self, page: bytes) -> f.PagePointer:
        slab = self._slab_with_room(f.META, 0, PAGE)
        if slab is None:
            slab = self._cut(lambda number: self.space.cut_mirror(number, f.META, self.rows, self.copies))
        slot = slab.take_slot()
        failed = slab.write_page(slot, page)
        if failed:
            try:
                self.write_failed(slab, failed, slab.last_error)
            except BaseException:
                slab.give_slot(slot)
                raise
        return f.PagePointer(slab.number, slot, crc32c(0, page), self.engine.sequence)

    def _retire_segments(self) -> list[int]:
        """Segments whose content is all in grains: they are left out of the next commit record."""
        dead = [row.slab for row in self.segments if row.end and not self.engine.live_in(row.slab)]
        self.segments = [row for row in self.segments if row.slab not in dead]
        for number in dead:
            self.engine.segment_keys.pop(number, None)
            self._slab_rows.pop(number)
        return dead

    def _empty_slabs(self) -> list[int]:
        """Slabs without a slot in use, but for one of each kind."""
        empty, kept = [], set()
        for slab in self.engine.all_slabs():
            kind = (slab.use, slab.profile, slab.grain)
            if slab.use != f.LOG and slab.used == 0 and slab.number in self._slab_rows:
                if kind in kept:
                    empty.append(slab.number)
                kept.add(kind)
        return empty

    def _release(self, numbers: list[int]) -> None:
        """These slabs are not used by the durable state any more: their extents are free."""
        for number in numbers:
            slab = self.engine.slab(number)
            self._slab_rows.pop(number, None)
            if slab is not None:
                self.engine.remove_slab(number)
                self.space.release(slab.places)

    # --- background

    @property
    def log_limit(self) -> int:
        """Segments of the log before the oldest is moved to grains: a small pool has a small log."""
        smallest = min((row.size for row in self.rows if row.state == f.IN), default=0)
        return max(1, min(LOG_SEGMENTS, (smallest - f.EXTENTS_AT) // self.extent // 8))

    def make_room(self) -> None:
        """Before a write: the log may not outgrow its limit by more than half, however much is written at once."""
        while len(self.segments) > self.log_limit + max(1, self.log_limit // 2):
            self.work()

    def work(self) -> bool:
        """A little of what can be done meanwhile: True if there is more. Raises Suspended."""
        engine = self.engine
        for number, grain in list(engine.to_heal)[:16]:
            engine.to_heal.discard((number, grain))
            if number in engine.disks:
                engine.destage(engine.disks[number], grain)
        if len(self.segments) > self.log_limit:
            for number, grain in engine.live_in(self.segments[0].slab)[:256]:
                engine.destage(engine.disks[number], grain)
            engine.commit()
            if not engine.live_in(self.segments[0].slab):
                self.checkpoint()
            return True
        if sum(disk.map.dirty_leaves for disk in engine.disks.values()) > DIRTY_LEAVES:
            self.checkpoint()
        return bool(engine.to_heal)

    # --- volumes

    def create_volume(self, name: str, size: int, raid: str = "raid5", grain: int = 32768) -> f.VolumeRow:
        """A thin volume. size: bytes, a multiple of 4096. Raises PoolError."""
        if raid not in PROFILES:
            raise PoolError(f"there is no RAID level {raid!r}; there are: {', '.join(PROFILES)}")
        if any(row.name == name for row in self.volume_rows.values()):
            raise PoolError(f"pool {self.name} has a volume {name!r} already")
        if not name or len(name.encode()) > 64:
            raise PoolError(f"a volume's name has 1 to 64 bytes, {name!r} has not")
        if size <= 0 or size % 4096:
            raise PoolError(f"a volume's size is a multiple of 4096 bytes, {size} is not")
        usable = sum(row.state == f.IN for row in self.rows)
        try:
            choose(PROFILES[raid], usable, grain, extent=self.extent)
        except LayoutError as error:
            raise PoolError(f"pool {self.name}: {error}") from None
        levels = levels_for(size, grain)
        row = f.VolumeRow(self.next_volume, name, size, grain, PROFILES[raid].number, levels, f.NO_PAGE)
        self.next_volume += 1
        self.volume_rows[row.volume] = row
        self.add_volume_map(row)
        self.write_commit()
        self.sync_members()
        return row

    def disk(self, name: str) -> Disk:
        """Raises PoolError."""
        for row in self.volume_rows.values():
            if row.name == name:
                return self.engine.disks[row.volume]
        names = ", ".join(row.name for row in self.volume_rows.values()) or "none"
        raise PoolError(f"pool {self.name} has no volume {name!r}; its volumes are: {names}")

    # --- looking, ending

    def status(self) -> dict[str, Any]:
        """Members, volumes, space in bytes, the log, counters: storvirt.pool.report."""
        return report.status(self)

    def rename_slab(self, slab: Slab) -> None:
        """A slab's columns lie elsewhere now: the next commit record says so."""
        row = self._slab_rows[slab.number]
        self._slab_rows[slab.number] = row._replace(columns=slab.places)

    def close(self) -> None:
        """A checkpoint, then the members are closed. Raises Suspended, and then it is still open."""
        if not self.closed:
            self.checkpoint()
            self.abandon()

    def abandon(self) -> None:
        """Close the members as they are: what was promised is kept, as after a crash."""
        self.closed = True
        for member in self.members:
            if member is not None:
                member.close()
