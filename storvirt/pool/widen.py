"""A pool that becomes larger: a member more, members whose files grew, and what there is spread over all of them.

Knows: what more members change for slabs that there are. Refuses to know: how a slab is emptied (emptying.py), files.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping

from storvirt.backing.member import Member
from storvirt.block import BlockError
from storvirt.pool import emptying
from storvirt.pool import format as f
from storvirt.pool.assemble import MOST_EXTENTS
from storvirt.pool.job import Job, Steps, is_on
from storvirt.pool.membership import add_member, superblock
from storvirt.pool.pool import Pool, PoolError
from storvirt.pool.slab import Slab
from storvirt.raid.layout import BY_NUMBER, LayoutError, choose

UNEVEN = 0.05  # of a member's size: what it may hold more than another before something is moved


class Add(Job):
    """An empty member more; its number is `new`. New slabs use it at once; the job is only to give log and map the
    copies that the pool had too few members for. It stays when the job is called off. Raises PoolError, MemberError;
    Suspended, and then it is no member."""

    def __init__(self, pool: Pool, member: Member, ident: bytes) -> None:
        super().__init__(pool)
        _few_enough(pool, member.size)
        self.new = add_member(pool, member, ident)
        pool.engine.forget_current_slabs()
        pool.events.append(f"member {member.name} is added")

    def _run(self) -> Steps:
        return self._strengthen()


class Rebalance(Job):
    """Move data so that slabs are as wide as the members allow, and members are filled alike. The commit record says
    that this is going on, so whoever opens the pool does what is left of it. Called off, it leaves what was moved where
    it is. Raises PoolError, where there is nothing to do; Suspended."""

    flag = f.REBALANCING

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self._slabs = set(candidates(pool))
        if not self._slabs:
            self._said(False)
            raise PoolError(f"pool {pool.name} is balanced")
        self._said(True)
        self._avoids = self._slabs.__contains__
        pool.shelf.avoid(self._avoids, if_possible=True)
        self._total = sum(slab.used for slab in self._slabs)

    def step(self) -> bool:
        if self._slabs and self.pool.shelf.avoids is not self._avoids:
            raise PoolError(self._ended_by(BlockError(errno.ENOSPC, "guests need what was to be emptied")))
        return super().step()

    def cancel(self) -> None:
        self._said(False)
        self._leave()

    def _leave(self) -> None:
        self._steps.close()
        self._slabs.clear()
        self.pool.shelf.avoid()

    def _ended_by(self, error: Exception) -> str:
        self._leave()
        if isinstance(error, BlockError) and error.errno == errno.ENOSPC:
            error = PoolError(f"pool {self.pool.name} has no room to move more; what was moved stays where it is")
        return super()._ended_by(error)

    def _run(self) -> Steps:
        pool = self.pool
        while self._slabs:
            there = sorted(self._slabs & set(pool.engine.all_slabs()), key=lambda slab: slab.number)
            group = emptying.group_of(pool, there)
            for slots, size in emptying.empty(pool, group) if group else ():
                self._dealt(size, slots)
                yield
            self._slabs.difference_update(group or self._slabs)
        pool.shelf.avoid()
        yield from self._strengthen()
        self._said(False)


def candidates(pool: Pool) -> list[Slab]:
    """Slabs for data that would be cut wider now; and, as long as it evens out how full members are, slabs of the
    fullest member that are not on the emptiest."""
    takers = [n for n, row in enumerate(pool.rows) if row.state == f.IN and n not in pool.space.leaving]
    data = [slab for slab in pool.engine.all_slabs() if slab.use == f.DATA and slab.used]
    found = [slab for slab in data if slab.width < _width(pool, slab, len(takers))]
    extents = {n: (pool.rows[n].size - f.EXTENTS_AT) // pool.extent for n in takers}
    taken = {n: extents[n] - pool.space.free(n) for n in takers}
    for slab in found:
        _recut(slab, taken, extents)
    chosen = set(found)
    left = sorted((slab for slab in data if slab not in chosen), key=lambda slab: -slab.number)
    while left and takers:
        by_fill = sorted(takers, key=lambda n: taken[n] / max(extents[n], 1))
        least, most = by_fill[0], by_fill[-1]
        if taken[most] / extents[most] - taken[least] / max(extents[least], 1) <= max(UNEVEN, 2 / extents[most]):
            break
        better = next((one for one in left if is_on(one, most) and not is_on(one, least)), None)
        if better is None:
            break
        left.remove(better)
        found.append(better)
        _recut(better, taken, extents)
    return found


def _recut(slab: Slab, taken: dict[int, int], extents: dict[int, int]) -> None:
    """On paper: its columns go to the members with most room."""
    for member, _extent in slab.places:
        if member in taken:
            taken[member] -= 1
    for member in sorted(taken, key=lambda n: taken[n] - extents[n])[: slab.width]:
        taken[member] += 1


def _width(pool: Pool, slab: Slab, members: int) -> int:
    try:
        return choose(BY_NUMBER[slab.profile], members, slab.grain, pool.extent).width
    except LayoutError:
        return 0


def grow_members(pool: Pool, sizes: Mapping[int, int]) -> list[int]:
    """Members whose files became larger, or are to, are used as far as they reach: their numbers. sizes: bytes, by
    number. Durable when this returns. A crash in the middle leaves some of them as they were.

    Raises PoolError where none would be larger; MemberError, Suspended, and then it may be called again.
    """
    present = pool.present()
    larger = {n: size for n, size in sizes.items() if n in present and size >= pool.rows[n].size + pool.extent}
    if not larger:
        raise PoolError(
            f"no member of pool {pool.name} has grown by an extent ({pool.extent} bytes); make its file larger first "
            "(truncate -s SIZE FILE)"
        )
    _few_enough(pool, sum(size - pool.rows[n].size for n, size in larger.items()))
    pool.settle()
    for number, size in larger.items():
        _resize(pool, number, size)
    before = list(pool.rows)
    for number, size in larger.items():
        pool.rows[number] = pool.rows[number]._replace(size=size)
    try:
        pool.write_commit()
        pool.sync_members()
    except BaseException:
        pool.rows[:] = before
        raise
    for number, size in larger.items():
        pool.space.grow_member(number, size)
        pool.events.append(f"member {pool.member_name(number)} has {size} bytes now")
    pool.engine.forget_current_slabs()
    return sorted(larger)


def _few_enough(pool: Pool, more: int) -> None:
    """more: bytes. Raises PoolError where the table of slabs would not fit into a commit record any more."""
    total = sum(row.size for row in pool.rows if row.state in (f.IN, f.OUT)) + more
    if total // pool.extent > MOST_EXTENTS:
        raise PoolError(f"pool {pool.name} would have more than {MOST_EXTENTS} extents of {pool.extent} bytes")


def _resize(pool: Pool, number: int, size: int) -> None:
    """The file, and what its superblocks say: one after the other, so that one of them is whole at any time. Raises
    MemberError."""
    member = pool.members[number]
    assert member is not None
    super_ = superblock(pool, number, pool.rows[number].member, size)
    if size != member.size:
        member.resize(size)
    for at in (0, f.SUPER_SIZE):
        member.sync()
        member.write(at, super_)
    member.sync()
