"""A member that was away comes back: it is given what it missed, then it is in again.

Knows: what a member that is out may say of itself, which slots were born since it was there. Refuses to know: files,
when there is time for a step, whether somebody wants it.

The member's newest commit record says up to which sequence number the map was when it had that record: what was born
before was durable on it, because a checkpoint's fsyncs come before its record. All that was born since is written
again, to where the slab's table says that the member's column lies. From the moment this begins it gets every new slot
as well (*writing only*); it is not read before all of it is there, durable, and a record calls it in. Until then
nothing on any member says so: after a crash it begins again, and what the member's own record said is still true.

That record must be one that this pool knows: by its hash, as far back as the rings and this process remember. A member
whose record is older than that may have lived another life meanwhile, so all of its columns are written anew. One that
has records from after it was called out has another history, and is refused; one whose fsync failed is never asked.
"""

from __future__ import annotations

from storvirt.backing.errors import reason
from storvirt.backing.member import Member
from storvirt.pool import format as f
from storvirt.pool import mirrors
from storvirt.pool.assemble import look
from storvirt.pool.contents import contents
from storvirt.pool.job import Job, Steps, slabs_on
from storvirt.pool.pool import Pool, PoolError
from storvirt.pool.slab import Slab


class Rejoin(Job):
    """member: opened; it says itself which one it is. since: entries born before are on it; 0: nothing is believed.

    Raises PoolError with one sentence, and then the member is not touched. When a step raises it, the member is out as
    before, and may be tried again.
    """

    def __init__(self, pool: Pool, member: Member) -> None:
        super().__init__(pool)
        self.member = member
        self.new, self.since = _may_come_back(pool, member)
        self._begun: set[Slab] = set()
        self._total = self._count()
        pool.joining.add(self.new)

    def _once_more(self) -> None:
        self._give_up()
        self._done = 0

    def _ended_by(self, error: Exception) -> str:
        self.cancel()
        return str(error)

    def cancel(self) -> None:
        """It stays out, if it is not in yet."""
        self._steps.close()
        self._give_up()
        if self.pool.rows[self.new].state != f.IN:
            self.pool.joining.discard(self.new)
            self.member.close()

    def _give_up(self) -> None:
        for slab in self._begun:
            slab.abandon_rebuild()
        self._begun.clear()

    def _count(self) -> int:
        """Slots that it may lack."""
        numbers = {slab.number for slab in slabs_on(self.pool, self.new)}
        total = 0
        for disk in self.pool.engine.disks.values():
            total += sum(page.slab in numbers and page.birth >= self.since for page in disk.map.pages())
            for grain, slab, _slot in disk.map.allocated():
                entry = disk.map.entry(grain) if slab in numbers else None
                total += entry is not None and entry[2] >= self.since
        return total

    def _run(self) -> Steps:
        if self.new not in self.pool.joining:  # it was called in, and then the host had no room
            if self.pool.rows[self.new].state != f.IN:
                raise PoolError(f"member {self.member.name} is out again")
            self.pool.sync_members()
            yield from self._strengthen()
            return
        segments = {slab.number for slab in slabs_on(self.pool, self.new) if slab.use == f.LOG}
        if segments:  # not brought up to date, but given up
            yield from mirrors.empty_log(self.pool, segments)
            self.pool.checkpoint()
        while True:
            # A slab that was cut meanwhile may have a column on it, too: there were too few members without it.
            while group := [slab for slab in slabs_on(self.pool, self.new) if slab not in self._begun]:
                yield from self._fill(group)
            self.pool.checkpoint()
            if set(slabs_on(self.pool, self.new)) <= self._begun:
                break
        self._finish()
        yield from self._strengthen()  # what was written while it was away has a copy less

    def _fill(self, group: list[Slab]) -> Steps:
        pool = self.pool
        for slab in group:
            column, place = next((i, place) for i, place in enumerate(slab.places) if place[0] == self.new)
            slab.begin_rebuild(column, self.member, place[1], pool.extent)
            self._begun.add(slab)
        for slab, slot, content in contents(pool, {slab.number: slab for slab in group}, self.since):
            slab.write_target(slot, content)
            if slab.target_error:
                raise PoolError(f"{self.member.name} can't be written ({reason(slab.target_error)})")
            if self._dealt(len(content)):
                yield

    def _finish(self) -> None:
        """The map that is durable leads to no slot that was freed, and so not copied, meanwhile."""
        pool, number = self.pool, self.new
        there = [slab for slab in slabs_on(pool, number) if slab in self._begun]
        failed = next((slab.target_error for slab in there if slab.target_error), 0)
        if failed:
            raise PoolError(f"{self.member.name} can't be written ({reason(failed)})")
        self.member.sync()
        row = pool.rows[number]
        hint = f.hint_for(self.member.name)
        pool.rows[number] = row._replace(state=f.IN, since=pool.number + 1, successor=f.NOBODY, hint=hint)
        pool.members[number] = self.member
        try:
            pool.write_commit()
        except BaseException:
            # It may have that record, and all later ones say again that it is out.
            pool.rows[number], pool.members[number] = row._replace(since=pool.number + 1), None
            raise
        if pool.rows[number].state != f.IN:
            raise PoolError(f"{self.member.name} can't be written")
        for slab in there:
            slab.end_rebuild(number, next(place[1] for place in slab.places if place[0] == number))
        self._begun.clear()
        pool.joining.discard(number)
        pool.engine.forget_current_slabs()
        pool.events.append(f"member {self.member.name} is in again: {self._done} slots were brought up to date")
        pool.sync_members()


def _may_come_back(pool: Pool, member: Member) -> tuple[int, int]:
    """(number, since). Raises PoolError."""
    found = look(member)
    number, name = found.super_.number, member.name
    row = pool.rows[number] if number < len(pool.rows) else None
    if found.super_.pool != pool.pool_id or row is None or row.member != found.super_.member:
        raise PoolError(f"{name} is no member of pool {pool.name}")
    if row.state != f.OUT:
        raise PoolError(f"member {name} of pool {pool.name} is not out")
    if row.successor == f.ENDED:
        raise PoolError(
            f"an fsync of member {name} failed: what was written to it may be lost, and it would not say so again; "
            "put another file in its place"
        )
    if row.successor != f.NOBODY:
        raise PoolError(f"another member is taking the place of {name}, or it is being removed; cancel that first")
    if found.newest >= row.since:
        raise PoolError(
            f"{name} has commit records from after it was called out (its newest is {found.newest}, it is out since "
            f"{row.since}): it has another history than pool {pool.name}; put another file in its place"
        )
    if found.super_.size < row.size:
        raise PoolError(f"{name} has {found.super_.size} bytes, and the pool knows {row.size} of it")
    record = found.ring.get(found.newest, b"")
    trusted = record and pool.known.get(found.newest) == f.commit_hash(record)
    return number, f.unpack_commit(record).sequence if trusted else 0
