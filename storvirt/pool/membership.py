"""Members that come: what is written onto a new one, and when the pool counts on it.

Knows: superblocks, the member table. Refuses to know: what is moved onto the member (repair.py), files.
"""

from __future__ import annotations

from storvirt.backing.member import Member
from storvirt.pool import format as f
from storvirt.pool.pool import Pool, PoolError


def add_member(pool: Pool, member: Member, ident: bytes, instead_of: int = f.NOBODY) -> int:
    """A new member, empty: what it held is gone. Returns its number. instead_of: the number of the one whose place it
    takes; the same record says both, so that no opener finds a new member and does not know what for. Raises PoolError,
    MemberError; Suspended, and then it is no member."""
    number = next((n for n, row in enumerate(pool.rows) if row.state == f.REMOVED), len(pool.rows))
    if number == f.MAX_MEMBERS:
        raise PoolError(f"pool {pool.name} has {f.MAX_MEMBERS} members, which is the most")
    least = f.EXTENTS_AT + pool.extent
    if member.size < least:
        raise PoolError(f"member {member.name} has {member.size} bytes; in this pool it needs at least {least}")
    super_ = f.Superblock(pool.pool_id, ident, number, member.size, pool.extent, pool.name)
    member.write(f.RING_AT, bytes(f.RING_PLACES * f.RING_PLACE_SIZE))
    member.write(0, f.pack_superblock(super_) * 2)
    member.sync()  # no record may call in a member that can't be recognised
    row = f.MemberRow(ident, f.IN, member.size, pool.number + 1, hint=f.hint_for(member.name))
    before = [one.successor for one in pool.rows]
    for other, one in enumerate(pool.rows):
        if other == instead_of or one.successor == number:  # the number's former owner is forgotten
            pool.rows[other] = one._replace(successor=number if other == instead_of else f.NOBODY)
    if number == len(pool.rows):
        pool.rows.append(row)
        pool.members.append(member)
        pool.space.add_member(member.size)
    else:
        pool.rows[number] = row
        pool.members[number] = member
        pool.space.renew_member(number, member.size)
    try:
        pool.write_commit()
        pool.sync_members()
    except BaseException:
        for other, successor in enumerate(before):
            pool.rows[other] = pool.rows[other]._replace(successor=successor)
        pool.rows[number] = row._replace(state=f.REMOVED)
        pool.members[number] = None
        raise
    return number


def set_successor(pool: Pool, number: int, successor: int) -> None:
    """Member `successor`, which is in, takes the place of another one from now on: durable when this returns. Raises
    Suspended."""
    row = pool.rows[number]
    if row.successor == successor:
        return
    pool.rows[number] = row._replace(successor=successor)
    try:
        pool.write_commit()
        pool.sync_members()
    except BaseException:
        pool.rows[number] = pool.rows[number]._replace(successor=row.successor)
        raise


def unfinished(pool: Pool) -> list[tuple[int, int]]:
    """(number, successor) of members whose place is being taken, by one that is there: jobs for repair.Replace."""
    return [
        (number, row.successor)
        for number, row in enumerate(pool.rows)
        if row.state in (f.IN, f.OUT) and row.successor in pool.present()
    ]
