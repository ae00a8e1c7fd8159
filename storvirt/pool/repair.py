"""Jobs that go over a whole pool a little at a time: replacing a member, scrubbing.

Knows: which slots are concerned, how far a job is. Refuses to know: when there is time for a step, files, clocks.

A job is a value with step() -> bool (there is more to do) and progress (done, total). It may be dropped at any time:
what it has not finished is as it was, and another job begins it again.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import NamedTuple

from storvirt.backing.errors import reason
from storvirt.backing.member import Member
from storvirt.block import BlockError
from storvirt.pool import format as f
from storvirt.pool import mirrors
from storvirt.pool.contents import contents
from storvirt.pool.membership import add_member, retire, set_successor
from storvirt.pool.pool import Pool, PoolError, Suspended
from storvirt.pool.slab import Slab
from storvirt.pool.space import NoSpace
from storvirt.volume.map import PAGE

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
        self.moved = 0  # bytes
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

    def cancel(self) -> Replace | None:
        """The old member keeps its place. What was moved already is moved back by the job that this returns; None where
        nothing was, or where the old one is out: then the new one stays as a member more. Raises Suspended."""
        pool, old, new = self.pool, self.old, self.new
        self._steps.close()
        row = pool.rows[old]
        pool.rows[old] = row._replace(successor=f.NOBODY)
        pool.space.leaving.discard(old)
        try:
            if not any(place[0] == new for slab in pool.engine.all_slabs() for place in slab.places):
                retire(pool, new, f.NOBODY)
            elif old in pool.present():
                return Replace(pool, new, old)
            else:
                pool.write_commit()
                pool.sync_members()
        except BaseException:
            pool.rows[old] = row
            pool.space.leaving.add(old)
            self._steps = self._run()
            raise
        return None

    def _concerned(self) -> list[Slab]:
        """Slabs that still have a column on the old member."""
        return [slab for slab in self.pool.engine.all_slabs() if any(place[0] == self.old for place in slab.places)]

    def _run(self) -> Generator[bool, None, None]:
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

    def _empty_log(self) -> Generator[bool, None, None]:
        """Segments of the log on the old member are not rebuilt: their content moves to grains, they are given up."""
        for _ in mirrors.empty_log(self.pool):
            yield True
        self.pool.checkpoint()

    def _strengthen(self) -> Generator[bool, None, None]:
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

    def _fill(self, group: list[Slab]) -> Generator[bool, None, None]:
        wanted = {slab.number: slab for slab in group}
        for slab, slot, content in contents(self.pool, wanted):
            slab.write_target(slot, content)
            self._check_target(slab)
            self._done += 1
            self.moved += len(content)
            if self._done % SLOTS_A_STEP == 0:
                yield True

    def _check_target(self, slab: Slab) -> None:
        if slab.target_error:
            self.pool.write_failed(slab, 0, slab.target_error)
            raise PoolError(f"the new member can't be written ({reason(slab.target_error)}); replace it by another one")

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
            home, before = self._homes.pop(slab), slab.places[columns[slab]]
            slab.end_rebuild(home.member, home.extent)
            pool.space.release([before])  # nobody takes it as long as the old member is leaving
        pool.sync_members()

    def _retire(self) -> None:
        name = self.pool.member_name(self.old)
        retire(self.pool, self.old, self.new)
        self.pool.events.append(f"member {name} is replaced by {self.pool.member_name(self.new)}")


class Scrub:
    """Read everything that is in use, all columns of it, and mend what does not agree.

    found: what was wrong, in sentences; lost: grains that could not be reconstructed.
    """

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.found: list[str] = []
        self.moved = 0  # bytes that were read
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

    def cancel(self) -> None:
        """What was mended is mended."""

    def _run(self) -> Generator[bool, None, None]:
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
            self.moved += PAGE
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
        self.moved += len(content)
        wrong = slab.differing(slot, content)
        if wrong or (volume, grain) in pool.engine.to_heal:
            names = [pool.member_name(place[0]) for i, place in enumerate(slab.places) if wrong >> i & 1]
            self.healed += 1
            self.found.append(f"grain {grain} of volume {disk.row.name} was bad on {', '.join(names) or 'a member'}")
            pool.make_room()
            pool.engine.destage(disk, grain)
            pool.engine.to_heal.discard((volume, grain))  # what destaging read was noted again
