"""Members that come: what is written onto a new one, and when the pool counts on it.

Knows: superblocks, the member table. Refuses to know: what is moved onto the member (repair.py), files.
"""

from __future__ import annotations

from storvirt.backing.member import Member
from storvirt.pool import format as f
from storvirt.pool.pool import Pool, PoolError


def add_member(pool: Pool, member: Member, ident: bytes) -> int:
    """A new member, empty: what it held is gone. Returns its number. Raises PoolError,
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
    row = f.MemberRow(ident, f.IN, member.size, pool.number + 1)
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
        pool.rows[number] = row._replace(state=f.REMOVED)
        pool.members[number] = None
        raise
    return number
