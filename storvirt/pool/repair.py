"""Jobs that write again what is lost or wrong: replacing a member, scrubbing.

Knows: which slots are concerned. Refuses to know: what a job is (job.py), files.
"""

from __future__ import annotations

from collections.abc import Generator
from functools import partial

from storvirt.backing.member import Member
from storvirt.block import BlockError
from storvirt.pool import emptying, mirrors
from storvirt.pool import format as f
from storvirt.pool.columns import Moving
from storvirt.pool.job import SLABS_AT_ONCE, Job, Steps, is_on, slabs_on
from storvirt.pool.logcopy import PIECE
from storvirt.pool.membership import add_member, mend_superblocks, retire, set_successor
from storvirt.pool.pool import Pool, PoolError
from storvirt.pool.record import is_log
from storvirt.pool.slab import Slab
from storvirt.volume.map import PAGE

GRAINS_A_RECORD = 64 * f.SCRUB_UNIT  # that a scrub sees between two commit records of its own: 8 GiB by default
MOST_UNITS = (1 << 32 - f.SCRUBBED) - 1


class Replace(Moving):
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
        super().__init__(pool, number)
        self.new = member if isinstance(member, int) else add_member(pool, member, ident, number)
        pool.space.leaving.add(number)
        pool.engine.forget_current_slabs()
        self._total = sum(slab.used for slab in slabs_on(pool, number))

    def cancel(self) -> Replace | None:
        """The old member keeps its place. What was moved already is moved back by the job that this returns; None where
        nothing was, or where the old one is out: then the new one stays as a member more. Raises Suspended."""
        pool, old, new = self.pool, self.old, self.new
        self._steps.close()
        row = pool.rows[old]
        pool.rows[old] = row._replace(successor=f.NOBODY)
        pool.space.leaving.discard(old)
        try:
            if not slabs_on(pool, new):
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

    def _run(self) -> Steps:
        while group := slabs_on(self.pool, self.old)[:SLABS_AT_ONCE]:
            if any(slab.use == f.LOG for slab in group):
                yield from self._empty_log()
                continue
            both = [slab for slab in group if is_on(slab, self.new)]
            if both:
                yield from self._empty(both)
                continue
            if not (yield from self._move(group)):
                raise PoolError(f"pool {self.pool.name} has no room for what member {self.old} held; add a larger one")
            yield
        yield from self._strengthen()
        self._retire()

    def _empty_log(self) -> Steps:
        """Segments of the log on the old member are not rebuilt: their content moves to grains, they are given up."""
        yield from mirrors.empty_log(self.pool)
        self.pool.checkpoint()

    def _empty(self, slabs: list[Slab]) -> Steps:
        """These have a column on the new member as well: it was a member like others before it was to take this place
        (it took the place of one that had been meant to). A slab has one column on a member, so they are cut anew."""
        pool = self.pool
        pool.shelf.avoid(lambda slab: is_on(slab, self.old))
        try:
            for slots, size in emptying.empty(pool, slabs):
                self._dealt(size, slots)
                yield
        finally:
            pool.shelf.avoid()
        if set(slabs) & set(slabs_on(pool, self.old)):
            raise PoolError(f"what member {pool.member_name(self.old)} holds can't be moved; scrub the pool first")

    def _ended_by(self, error: Exception) -> str:
        if self.new not in self.pool.present():
            self.pool.space.leaving.discard(self.old)  # used as any other again
        return super()._ended_by(error)

    def _homes_for(self, slab: Slab) -> list[int]:
        """Where the new one has no room, other members take columns."""
        rows = self.pool.rows
        others = [n for n, row in enumerate(rows) if row.state == f.IN and n != self.new and not is_on(slab, n)]
        return [self.new, *sorted(others, key=lambda n: -self.pool.space.free(n))]

    def _retire(self) -> None:
        name = self.pool.member_name(self.old)
        retire(self.pool, self.old, self.new)
        self.pool.events.append(f"member {name} is replaced by {self.pool.member_name(self.new)}")


class Scrub(Job):
    """Read everything that is in use, all columns of it, and mend what does not agree. What was mended stays mended
    when it is called off. Raises Suspended.

    resumed: go on where the newest commit record says that one was, which was cut short; log and map are read again.
    found: what was wrong, in sentences; lost: grains that could not be reconstructed.
    """

    flag = f.SCRUBBING
    place = MOST_UNITS << f.SCRUBBED

    def __init__(self, pool: Pool, resumed: bool = False) -> None:
        super().__init__(pool)
        self.found: list[str] = []
        self.healed = self.lost = 0
        self._total = sum(slab.used for slab in pool.engine.all_slabs() if slab.use != f.LOG)
        if not resumed:
            pool.flags &= ~self.place
        self._recorded = self._seen
        self._said(True)

    @property
    def _seen(self) -> int:
        """Grains below this place are not read again."""
        return (self.pool.flags >> f.SCRUBBED) * f.SCRUB_UNIT

    def _reached(self, place: int) -> None:
        """What lies below it was seen: the next commit record says so, and from time to time there is one for it."""
        pool, units = self.pool, min(place // f.SCRUB_UNIT, MOST_UNITS)
        if units * f.SCRUB_UNIT <= self._seen:
            return
        pool.flags = pool.flags & ~self.place | units << f.SCRUBBED
        if self._seen - self._recorded >= GRAINS_A_RECORD:
            self._recorded = self._seen
            pool.write_commit()

    def _once_more(self) -> None:
        self._done = 0

    def _run(self) -> Steps:
        said = mend_superblocks(self.pool)
        self.healed += len(said)
        self.found += said
        yield from self._log()
        before, seen = 0, self._seen
        for number, disk in sorted(self.pool.engine.disks.items()):
            self._pages(number)
            for grain, _slab, _slot in disk.map.allocated():
                if self._dealt(self._grain(number, grain) if before + grain >= seen else 0):
                    self._reached(before + grain)
                    yield
            before += disk.map.grains
        self.pool.engine.commit()
        self.pool.checkpoint()
        self._said(False)

    def _log(self) -> Steps:
        """Segments of which a copy is bad are given up with the checkpoint at the end: what they hold moves to
        grains."""
        pool, bad = self.pool, set()
        for number in [row.slab for row in pool.segments]:
            pool.engine.commit()
            row = next((row for row in pool.segments if row.slab == number), None)
            slab = pool.engine.slab(number)
            if row is not None and slab is not None and (yield from self._segment(slab, row.first, row.end)):
                bad.add(number)
        if bad:
            yield from mirrors.empty_log(pool, bad)

    def _segment(self, slab: Slab, first: int, end: int) -> Generator[None, None, bool]:
        """Whether a copy of it is bad. end: 0 where records are still appended, 1 where nothing counts."""
        pool = self.pool
        length = 0 if end == 1 else end or pool.engine.segment_end
        same = True
        for at in range(0, length, PIECE):
            there = [n for n in range(slab.width) if not slab.missing >> n & 1]
            copies = {slab.piece(n, at, min(PIECE, length - at)) for n in there}
            same = same and None not in copies and len(copies) <= 1
            self._dealt(min(PIECE, length - at) * len(there), 0)
            yield
        given_up = all((row.slab, row.first) != (slab.number, first) for row in pool.segments)
        if same or given_up:
            return False
        reads = {n: partial(slab.piece, n) for n in range(slab.width) if not slab.missing >> n & 1}
        wrong = [n for n, read in reads.items() if not is_log(read, length, pool.pool_id, slab.number, first)]
        for column in wrong:
            pool.counted("healed", slab, column, 0)
        names = ", ".join(pool.member_name(slab.places[n][0]) for n in wrong)
        self.healed += 1
        self.found.append(f"segment {slab.number} of the log was bad on {names or 'a member'}")
        return True

    def _pages(self, volume: int) -> None:
        """Pages of which a copy is bad are written anew with the checkpoint at the end."""
        pool, volume_map = self.pool, self.pool.engine.disks[volume].map
        for level, number, pointer in list(volume_map.numbered_pages()):
            slab = pool.engine.slab(pointer.slab)
            self._dealt(PAGE)
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

    def _grain(self, volume: int, grain: int) -> int:
        """Bytes that were read."""
        pool = self.pool
        disk = pool.engine.disks[volume]
        try:
            found = pool.engine.slot_content(disk, grain)
        except BlockError as error:
            self.lost += 1
            self.found.append(str(error))
            return 0
        if found is None:
            return 0
        slab, slot, content = found
        wrong = slab.differing(slot, content)
        if wrong or (volume, grain) in pool.engine.to_heal:
            names = [pool.member_name(place[0]) for i, place in enumerate(slab.places) if wrong >> i & 1]
            self.healed += 1
            self.found.append(f"grain {grain} of volume {disk.row.name} was bad on {', '.join(names) or 'a member'}")
            pool.make_room()
            pool.engine.destage(disk, grain)
            pool.engine.to_heal.discard((volume, grain))  # what destaging read was noted again
        return len(content)
