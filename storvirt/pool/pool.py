"""One pool that is open: members, slabs, volumes, log segments, commit records, checkpoints.

Knows: when the tables change, what must be written before what (storvirt/pool/__init__ has the argument).
Refuses to know: files (members are given), protocols, threads, clocks. Everything is called from one thread.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Set
from contextlib import contextmanager
from typing import Any

from storvirt.backing.errors import NO_SPACE, reason
from storvirt.backing.member import Member
from storvirt.block import BlockError
from storvirt.pool import format as f
from storvirt.pool import mirrors, report, room
from storvirt.pool.checkpoint import Checkpoints
from storvirt.pool.engine import Engine
from storvirt.pool.errors import Busy as Busy
from storvirt.pool.errors import PoolError as PoolError
from storvirt.pool.errors import Suspended as Suspended
from storvirt.pool.members import Members
from storvirt.pool.mover import Mover
from storvirt.pool.reader import Disk
from storvirt.pool.shelf import Shelf
from storvirt.pool.slab import Slab
from storvirt.pool.space import NoSpace, Space
from storvirt.pool.tables import MOST_BYTES
from storvirt.raid.kernels import crc32c
from storvirt.raid.layout import LayoutError, choose, profile_named
from storvirt.volume.map import PAGE, VolumeMap, levels_for

SKIP = 1 << 40  # sequence numbers left out at every opening: more than a log can hold


class Pool(Members):
    """Made by `assemble.format_pool()` and `assemble.open_pool()`."""

    def __init__(self, super_: f.Superblock, members: list[Member | None], commit: f.Commit, parent: bytes) -> None:
        super().__init__(super_, members, commit, parent)
        self.checkpointed = commit.sequence
        self.next_volume = commit.next_volume
        self.flags = commit.flags
        self.volume_rows = {row.volume: row for row in commit.volumes}
        self.segments = list(commit.segments)
        self.space = Space(self.rows, self.extent)
        self.space.leaving = {number for number, row in enumerate(self.rows) if row.successor == f.LEAVING}
        self.engine = Engine(self)
        self.shelf = Shelf(self.engine)
        self.member_counts: dict[tuple[int, str], int] = {}
        self.member_damage: dict[int, int] = {}
        self.checkpoints = Checkpoints(self)
        self.mover = Mover(self)
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
            volume_map.read_tree(row.root, row.levels)
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
            self.cannot_read(slab)
        raise BlockError(
            errno.EIO, f"a page of the map (slab {pointer.slab}, slot {pointer.slot}) is lost on all its copies"
        )

    @property
    def copies(self) -> int:
        """Of metadata and log."""
        return mirrors.copies(self)

    # --- what the engine asks for

    def new_slab(self, disk: Disk) -> Slab:
        """Where new grains of a volume go: a slab with free slots, or one cut anew. Raises BlockError (ENOSPC).

        The last slots are for grains that were there before: they need a slot more for a while, and give one back.
        """
        row, engine = disk.row, self.engine
        for attempt in range(2):
            slab = self.shelf.choose(f.DATA, row.profile, row.grain, beyond=0 if engine.moving else room.SLACK)
            if slab is not None:
                return slab
            try:
                cut = self.space.cut(
                    engine.free_number(),
                    row.profile,
                    row.grain,
                    self.rows,
                    room.reserve(self),
                    self._slab_rows.values(),
                )
            except NoSpace:
                engine.tight = True
                if self.shelf.relent():
                    return self.new_slab(disk)
            else:
                engine.tight = False
                return self._recorded(cut)
            # What was freed since the last checkpoint can be used after the next one.
            if attempt or not engine.freed:
                break
            self.pause("space that was freed is not free yet")
            self.checkpoint()
        raise room.full(self)

    def _recorded(self, row: f.SlabRow) -> Slab:
        """The slab is in use when every member has the record of it: nothing may lie where no record leads."""
        try:
            if self.crowded:
                self.pause("many of its records are not durable yet")
            with self.here():
                self.make_sure()
        except BaseException:
            self.space.release(row.columns)
            raise
        slab = self._add_slab(row)
        try:
            self.write_commit()
        except BaseException:
            self.release_slabs([row.slab])
            raise
        return slab

    def new_segment(self) -> None:
        """The log goes on in a new segment; the one before ends where it is. Raises Suspended, BlockError."""
        if len(self.segments) > room.most_segments(self) + 1:
            self.pause("its log is full")
        with self.here():
            self.make_sure()  # before the segment is in the table: a record that has it has its slab, too
        row = mirrors.cut(self, f.LOG)
        if self.segments and not self.segments[-1].end:
            # Some member may have the record of this end from now on: nothing may follow there, whatever happens.
            self.segments[-1] = self.segments[-1]._replace(end=max(self.engine.segment_end, 1))
            self.engine.close_segment()
        self.segments.append(f.SegmentRow(row.slab, self.engine.sequence, 0))
        try:
            slab = self._recorded(row)
        except BaseException:
            self.segments = [one for one in self.segments if one.slab != row.slab]
            raise
        self.engine.set_segment(slab, 0, self.extent)

    def write_failed(self, slab: Slab, columns: int, number: int) -> None:
        """Some columns could not be written: their members are out when this returns. Raises Suspended."""
        ended = any(member.ended for member in self.present().values())
        if number in NO_SPACE and not ended:
            why = reason(number).replace("its file system", "its members' file system")
            raise Suspended(f"pool {self.name} waits: {why}; make room and it goes on")
        why = f"a write failed ({errno.errorcode.get(number, number)})"
        lost = [place[0] for column, place in enumerate(slab.places) if columns >> column & 1]
        members = {number: self.members[number] for number in lost}
        self.lose_all({number: (member and member.check()) or why for number, member in members.items()})

    def cannot_read(self, slab: Slab) -> None:
        """Something can't be read, whichever way: before that is called damage, members that are gone are out. Raises
        Suspended where the pool can't do without them: then all of it is there when they are."""
        members = {number: self.members[number] for number, _extent in slab.places}
        gone = {number: why for number, member in members.items() if member is not None and (why := member.check())}
        self.lose_all(gone)

    def counted(self, what: str, slab: Slab, column: int, slot: int) -> None:
        """Damage of a member was found: how much, and where in it the newest was, in bytes."""
        if 0 <= column < slab.width:
            number, extent = slab.places[column]
            self.member_counts[number, what] = self.member_counts.get((number, what), 0) + 1
            self.member_damage[number] = f.EXTENTS_AT + extent * self.extent + slot * slab.column

    def exchange_member(self, number: int, member: Member) -> None:
        """A member that is in is reached through another object, which is as large, from now on."""
        old = self.members[number]
        assert old is not None and old.size == member.size, f"member {number} can't be exchanged"
        self.members[number] = member
        for slab in self.engine.all_slabs():
            slab.exchange(old, member)

    def bearable(self, lost: Set[int]) -> bool:
        gone = {number for number, row in enumerate(self.rows) if row.state != f.IN}
        for slab in self.engine.all_slabs():
            if slab.use == f.LOG or (slab.used and (slab.use == f.META or slab.redundant)):
                missing = sum(1 << column for column, place in enumerate(slab.places) if place[0] in gone)
                more = sum(1 << column for column, place in enumerate(slab.places) if place[0] in lost - gone)
                if slab.survives(missing) and not slab.survives(missing | more):
                    return False
        return True

    def member_lost(self, number: int) -> None:
        for slab in self.engine.all_slabs():
            slab.lose(number)
        self.engine.forget_current_slabs()
        # The log goes on where all its copies are; what it has is in the segments before.
        self.engine.close_segment()

    # --- commit records

    def commit_value(self) -> f.Commit:
        return f.Commit(
            self.number + 1,
            self.parent,
            self.durable,
            self.checkpointed,
            self.next_volume,
            tuple(self.rows),
            tuple(self._slab_rows.values()),
            tuple(self.volume_rows.values()),
            tuple(self.segments),
            self.flags,
        )

    def flush(self) -> None:
        """Promise B: what was acknowledged is durable. Raises Suspended."""
        self.engine.commit()
        below = self.engine.sequence
        self.sync_members()
        self.engine.flushed(below)

    # --- checkpoint

    def checkpoint(self) -> None:
        """Make the map durable: the log before it is not needed then, freed space can be used. Raises Suspended."""
        self.checkpoints.at_once()

    def pause(self, why: str) -> None:
        """Before a request makes fsyncs itself: where they are made apart, it waits for a checkpoint. Raises Busy."""
        if self.apart:
            raise self.busy(why)

    def busy(self, why: str) -> Busy:
        """A checkpoint is wanted, and somebody waits for it."""
        self.checkpoints.wanted = self.awaited = True
        return Busy(f"pool {self.name} waits for its disks: {why}")

    @contextmanager
    def here(self) -> Iterator[None]:
        """In here nothing waits for fsyncs that are made apart: they are made at once, if they must."""
        before, self.apart = self.apart, False
        try:
            yield
        finally:
            self.apart = before

    def page_slab(self) -> Slab:
        """Where a page of the map goes. Raises Suspended, BlockError."""
        width = mirrors.possible(self)
        return self.shelf.choose(f.META, width, PAGE) or self._recorded(mirrors.cut(self, f.META))

    def is_recorded(self, number: int) -> bool:
        """Whether the next commit record has this slab."""
        return number in self._slab_rows

    def drop_segments(self, numbers: Set[int]) -> None:
        """These segments of the log are left out of the next commit record."""
        self.segments = [row for row in self.segments if row.slab not in numbers]
        for number in numbers:
            self.engine.segment_keys.pop(number, None)
            self._slab_rows.pop(number)

    def release_slabs(self, numbers: list[int]) -> None:
        """These slabs are not used by the durable state any more: their extents are free."""
        for number in numbers:
            slab = self.engine.slab(number)
            self._slab_rows.pop(number, None)
            if slab is not None:
                self.engine.remove_slab(number)
                self.space.release(slab.places)

    # --- background

    def make_room(self) -> None:
        """Before a write: see storvirt.pool.room."""
        room.make_room(self)

    def work(self) -> bool:
        """A little of what can be done meanwhile: True if there is more. Raises Suspended."""
        return room.work(self)

    # --- volumes

    def create_volume(self, name: str, size: int, raid: str = "raid5", grain: int = 32768) -> f.VolumeRow:
        """A thin volume. size: bytes, a multiple of 4096. Raises PoolError."""
        if any(row.name == name for row in self.volume_rows.values()):
            raise PoolError(f"pool {self.name} has a volume {name!r} already")
        if not name or len(name.encode()) > 64:
            raise PoolError(f"a volume's name has 1 to 64 bytes, {name!r} has not")
        if not 0 < size <= MOST_BYTES or size % 4096:
            raise PoolError(f"a volume's size is a multiple of 4096 bytes, at most {MOST_BYTES}; {size} is not")
        usable = sum(row.state == f.IN for row in self.rows)
        try:
            profile = profile_named(raid)
            choose(profile, usable, grain, self.extent)
        except LayoutError as error:
            raise PoolError(f"pool {self.name}: {error}") from None
        levels = levels_for(size, grain)
        row = f.VolumeRow(self.next_volume, name, size, grain, profile.number, levels, f.NO_PAGE)
        self.next_volume += 1
        self.volume_rows[row.volume] = row
        self.add_volume_map(row)
        try:
            self._strengthen()
            self.write_commit()
            self.sync_members()
        except BaseException:
            del self.volume_rows[row.volume]
            self.engine.remove_disk(row.volume)
            raise
        return row

    def _strengthen(self) -> None:
        """Log and pages are as redundant as the volumes of the table ask for. Raises PoolError, Suspended."""
        with self.here():
            try:
                for _ in mirrors.strengthen(self):
                    pass
            except BlockError as error:
                raise PoolError(
                    f"pool {self.name} can't keep {self.copies} copies of its map: {error.strerror}"
                ) from None

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

    def move_column(self, slab: Slab, column: int, place: f.Column) -> None:
        """The next commit record says that a column lies there."""
        row = self._slab_rows[slab.number]
        columns = (*row.columns[:column], place, *row.columns[column + 1 :])
        self._slab_rows[slab.number] = row._replace(columns=columns)

    def close(self) -> None:
        """A checkpoint, then the members are closed. Raises Suspended, and then it is still open."""
        if not self.closed:
            self.checkpoint()
            self.abandon()

    def abandon(self) -> None:
        """Close the members as they are: what was promised is kept, as after a crash."""
        self.closed = True
        for member in (*self.members, *self.spares.values()):
            if member is not None:
                member.close()
