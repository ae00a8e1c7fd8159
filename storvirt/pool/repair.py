"""Jobs that go over a whole pool a little at a time: replacing a member, scrubbing.

Knows: which slots are concerned, how far a job is. Refuses to know: when there is time for a step, files, clocks.

A job is a value with step() -> bool (there is more to do) and progress (done, total). It may be dropped at any time:
what it has not finished is as it was, and another job begins it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from storvirt.backing.errors import reason
from storvirt.backing.member import Member
from storvirt.block import BlockError
from storvirt.pool import format as f
from storvirt.pool import mirrors
from storvirt.pool.membership import add_member, set_successor
from storvirt.pool.pool import Pool, PoolError, Suspended
from storvirt.pool.reader import Disk
from storvirt.pool.slab import Slab
from storvirt.pool.space import NoSpace

SLOTS_A_STEP = 32
SLABS_AT_ONCE = 64  # slabs whose new columns are written at the same time: the map is walked once for each such group


class Progress(NamedTuple):
    """Slots dealt with, of how many (new ones may come in between)."""

    done: int
    total: int


class Replace:
    """Move everything that member `number` holds, or held, to a new member. The old one is read as long as it is there.

    member: empty, of any size; ident: 16 bytes; or the number of one that is in: a job that was cut short goes on. Who
    takes whose place is in the member table, so whoever opens the pool knows what was going on
    (membership.unfinished). Where the new member has no room, other members take columns.
    Raises PoolError, NoSpace is one sentence of it; Suspended.
    """

    def __init__(self, pool: Pool, number: int, member: Member | int, ident: bytes = b"") -> None:
        if not 0 <= number < len(pool.rows) or pool.rows[number].state not in (f.IN, f.OUT) or number == member:
            raise PoolError(f"pool {pool.name} has no member number {number} that could be replaced")
        if isinstance(member, int):
            if member not in pool.present():
                raise PoolError(f"pool {pool.name} has no member number {member} that could take a place")
            set_successor(pool, number, member)
        self.pool = pool
        self.old = number
        self.new = member if isinstance(member, int) else add_member(pool, member, ident, number)
        pool.space.leaving.add(number)
        pool.engine.forget_current_slabs()
        self._homes: dict[Slab, f.Column] = {}  # where a slab's column is being rebuilt
        self._done = 0
        self._total = sum(slab.used for slab in self._concerned())
        self._steps = self._run()

    @property
    def progress(self) -> Progress:
        return Progress(min(self._done, self._total), self._total)

    def step(self) -> bool:
        """Some slots more; False when all of it is done and recorded. After Suspended it goes on with what is left."""
        try:
            return next(self._steps, None) is not None
        except Suspended:
            self._steps = self._run()  # an iterator that has raised is at its end
            raise
        except BlockError as error:
            raise PoolError(str(error)) from None

    def _concerned(self) -> list[Slab]:
        """Slabs that still have a column on the old member."""
        return [slab for slab in self.pool.engine.all_slabs() if any(place[0] == self.old for place in slab.places)]

    def _run(self) -> Iterator[bool]:
        while group := self._concerned()[:SLABS_AT_ONCE]:
            if any(slab.use == f.LOG for slab in group):
                yield from self._empty_log()
                continue
            try:
                for slab in group:
                    self._begin(slab)
                yield from self._fill(group)
                self._finish(group)
            finally:
                self._give_up(group)
            yield True
        yield from self._strengthen()
        self._retire()

    def _give_up(self, group: list[Slab]) -> None:
        """What was not finished stays where it is."""
        for slab in group:
            slab.abandon_rebuild()
            if home := self._homes.pop(slab, None):
                self.pool.space.release([home])

    def _empty_log(self) -> Iterator[bool]:
        """Segments of the log on the old member are not rebuilt: their content moves to grains, they are given up."""
        for _ in mirrors.empty_log(self.pool):
            yield True
        self.pool.checkpoint()

    def _strengthen(self) -> Iterator[bool]:
        """Pages and log get the copies that they were cut without while members were missing."""
        try:
            for _ in mirrors.strengthen(self.pool):
                yield True
        except BlockError as error:
            self.pool.events.append(f"pages and log stay with fewer copies: {error}")

    def _begin(self, slab: Slab) -> None:
        column = next(i for i, place in enumerate(slab.places) if place[0] == self.old)
        taken = {place[0] for place in slab.places}
        rows = self.pool.rows
        others = [n for n, row in enumerate(rows) if row.state == f.IN and n not in taken and n != self.new]
        for number in [self.new, *sorted(others, key=lambda n: -self.pool.space.free(n))]:
            member = self.pool.members[number]
            if member is None:
                continue
            try:
                extent = self.pool.space.take(number)
            except NoSpace:
                continue
            slab.begin_rebuild(column, member, extent, self.pool.extent)
            self._homes[slab] = f.Column(number, extent)
            return
        raise PoolError(f"pool {self.pool.name} has no room for what member {self.old} held; add a larger member")

    def _fill(self, group: list[Slab]) -> Iterator[bool]:
        wanted = {slab.number: slab for slab in group}
        for slab, slot, content in self._contents(wanted):
            slab.write_target(slot, content)
            self._check_target(slab)
            self._done += 1
            if self._done % SLOTS_A_STEP == 0:
                yield True

    def _contents(self, wanted: dict[int, Slab]) -> Iterator[tuple[Slab, int, bytes | bytearray]]:
        """Every slot in use of these slabs, its content verified. What is written meanwhile goes there by itself."""
        pool = self.pool
        for disk in list(pool.engine.disks.values()):
            for pointer in list(disk.map.pages()):
                if pointer.slab in wanted and (page := self._page(disk, pointer)) is not None:
                    yield wanted[pointer.slab], pointer.slot, page
            for grain, slab, _slot in disk.map.allocated():
                if slab not in wanted:
                    continue
                try:
                    found = pool.engine.slot_content(disk, grain)  # looked up again: it may have moved
                except BlockError as error:
                    pool.events.append(f"not rebuilt: {error}")
                    continue
                if found is not None and found[0].number in wanted:
                    yield found

    def _check_target(self, slab: Slab) -> None:
        if slab.target_error:
            self.pool.write_failed(slab, 0, slab.target_error)
            raise PoolError(f"the new member can't be written ({reason(slab.target_error)}); replace it by another one")

    def _page(self, disk: Disk, pointer: f.PagePointer) -> bytes | None:
        """None for one that is not used any more, or can't be read."""
        try:
            return self.pool.load_page(pointer)
        except BlockError as error:
            if pointer in disk.map.pages():
                self.pool.events.append(f"not rebuilt: {error}")
            return None

    def _finish(self, group: list[Slab]) -> None:
        """From the moment that a record may say where the columns are now, both places have all that is needed: the map
        that is durable leads to no slot that was freed, and so not copied, meanwhile."""
        pool = self.pool
        pool.checkpoint()
        done = [slab for slab in group if pool.engine.slab(slab.number) is slab]  # the others became empty, and went
        for slab in done:
            self._check_target(slab)
        columns = {slab: slab.rebuilding for slab in done}
        for slab in done:
            pool.move_column(slab, columns[slab], self._homes[slab])
        try:
            pool.write_commit()
            if any(pool.members[self._homes[slab].member] is None for slab in done):
                raise PoolError("the new member failed; replace it by another one")
        except BaseException:
            for slab in done:
                pool.move_column(slab, columns[slab], slab.places[columns[slab]])
            raise
        for slab in done:
            home = self._homes.pop(slab)
            slab.end_rebuild(home.member, home.extent)
        pool.sync_members()

    def _retire(self) -> None:
        pool = self.pool
        name = pool.member_name(self.old)
        member = pool.members[self.old]
        for number, row in enumerate(pool.rows):
            if row.successor == self.old and row.state in (f.IN, f.OUT):  # what it was to take goes to the new one
                pool.rows[number] = row._replace(successor=self.new if number != self.new else f.NOBODY)
        pool.rows[self.old] = pool.rows[self.old]._replace(state=f.REMOVED, since=pool.number + 1)
        pool.members[self.old] = None
        pool.space.leaving.discard(self.old)
        pool.write_commit()
        pool.sync_members()
        pool.events.append(f"member {name} is replaced by {pool.member_name(self.new)}")
        if member is not None:
            member.close()


class Scrub:
    """Read everything that is in use, all columns of it, and mend what does not agree.

    found: what was wrong, in sentences; lost: grains that could not be reconstructed.
    """

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.found: list[str] = []
        self.healed = self.lost = self._done = 0
        self._total = sum(slab.used for slab in pool.engine.all_slabs() if slab.use != f.LOG)
        self._steps = self._run()

    @property
    def progress(self) -> Progress:
        return Progress(min(self._done, self._total), self._total)

    def step(self) -> bool:
        """Some slots more; False when all of it was read and mended. After Suspended it begins again."""
        try:
            return next(self._steps, None) is not None
        except Suspended:
            self._steps, self._done = self._run(), 0  # an iterator that has raised is at its end
            raise

    def _run(self) -> Iterator[bool]:
        for disk in list(self.pool.engine.disks.values()):
            self._pages(disk.number)
            for grain, _slab, _slot in disk.map.allocated():
                self._grain(disk.number, grain)
                self._done += 1
                if self._done % SLOTS_A_STEP == 0:
                    yield True
        self.pool.engine.commit()
        self.pool.checkpoint()

    def _pages(self, volume: int) -> None:
        """Pages of which a copy is bad are written anew with the checkpoint at the end."""
        pool, volume_map = self.pool, self.pool.engine.disks[volume].map
        for level, number, pointer in list(volume_map.numbered_pages()):
            slab = pool.engine.slab(pointer.slab)
            self._done += 1
            try:
                page = pool.load_page(pointer)
            except BlockError as error:
                self.lost += 1
                self.found.append(str(error))
                continue
            if slab is not None and slab.differing(pointer.slot, page):
                self.healed += 1
                self.found.append(f"a page of the map had a bad copy (slab {pointer.slab}, slot {pointer.slot})")
                volume_map.touch(level, number)

    def _grain(self, volume: int, grain: int) -> None:
        pool = self.pool
        disk = pool.engine.disks[volume]
        try:
            found = pool.engine.slot_content(disk, grain)
        except BlockError as error:
            self.lost += 1
            self.found.append(str(error))
            return
        if found is None:
            return
        slab, slot, content = found
        wrong = slab.differing(slot, content)
        if wrong or (volume, grain) in pool.engine.to_heal:
            names = [pool.member_name(place[0]) for i, place in enumerate(slab.places) if wrong >> i & 1]
            self.healed += 1
            self.found.append(f"grain {grain} of volume {disk.row.name} was bad on {', '.join(names) or 'a member'}")
            pool.make_room()
            pool.engine.destage(disk, grain)
            pool.engine.to_heal.discard((volume, grain))  # what destaging read was noted again
