"""Members that come: what is written onto a new one, and when the pool counts on it.

Knows: superblocks, the member table. Refuses to know: what is moved onto the member (repair.py), files.
"""

from __future__ import annotations

from storvirt.backing.errors import MemberError
from storvirt.backing.member import Member
from storvirt.pool import format as f
from storvirt.pool.pool import Pool, PoolError


def add_member(
    pool: Pool, member: Member, ident: bytes, instead_of: int = f.NOBODY, *, spare: bool = False
) -> int:  # fmt: skip
    """A new member, empty: what it held is gone. Returns its number. instead_of: the number of the one whose place it
    takes; the same record says both, so that no opener finds a new member and does not know what for. spare: it is
    kept until somebody's place is to be taken. Raises PoolError, MemberError; Suspended, and then it is no member."""
    number = next((n for n, row in enumerate(pool.rows) if row.state == f.REMOVED), len(pool.rows))
    if number == f.MAX_MEMBERS:
        raise PoolError(f"pool {pool.name} has {f.MAX_MEMBERS} members, which is the most")
    least = f.EXTENTS_AT + pool.extent
    if member.size < least:
        raise PoolError(f"member {member.name} has {member.size} bytes; in this pool it needs at least {least}")
    member.write(f.RING_AT, bytes(f.RING_PLACES * f.RING_PLACE_SIZE))
    member.write(0, superblock(pool, number, ident, member.size) * 2)
    member.sync()  # no record may call in a member that can't be recognised
    row = f.MemberRow(ident, f.SPARE if spare else f.IN, member.size, pool.number + 1, hint=f.hint_for(member.name))
    before = [one.successor for one in pool.rows]
    for other, one in enumerate(pool.rows):
        if other == instead_of or one.successor == number:  # the number's former owner is forgotten
            pool.rows[other] = one._replace(successor=number if other == instead_of else f.NOBODY)
    if number == len(pool.rows):
        pool.rows.append(row)
        pool.members.append(None)
        pool.space.add_member(member.size)
    else:
        pool.rows[number] = row
        pool.space.renew_member(number, member.size)
    if spare:
        pool.spares[number] = member
    else:
        pool.members[number] = member
    try:
        pool.write_commit()
        pool.sync_members()
    except BaseException:
        for other, successor in enumerate(before):
            pool.rows[other] = pool.rows[other]._replace(successor=successor)
        pool.rows[number] = row._replace(state=f.REMOVED)
        pool.members[number] = None
        pool.spares.pop(number, None)
        raise
    return number


def call_in(pool: Pool, spare: int, instead_of: int) -> None:
    """A spare takes a member's place from now on: the same record says both. For repair.Replace. Raises Suspended, and
    then it is a spare."""
    member, rows = pool.spares[spare], list(pool.rows)
    pool.rows[spare] = rows[spare]._replace(state=f.IN, since=pool.number + 1)
    pool.rows[instead_of] = rows[instead_of]._replace(successor=spare)
    pool.members[spare] = pool.spares.pop(spare)
    try:
        pool.write_commit()
        pool.sync_members()
    except BaseException:
        pool.rows[:], pool.members[spare], pool.spares[spare] = rows, None, member
        raise


def best_spare(pool: Pool, number: int) -> int | None:
    """The smallest spare that can take whatever a member held, or the largest there is; none whose file is gone."""
    usable = [number for number, member in pool.spares.items() if member.check() is None]
    spares = sorted(usable, key=lambda n: pool.rows[n].size)
    enough = [n for n in spares if pool.rows[n].size >= pool.rows[number].size]
    return next(iter([*enough, *reversed(spares)]), None)


def set_successor(pool: Pool, number: int, successor: int) -> None:
    """Member `successor`, which is in, takes the place of another one from now on (or it is LEAVING, or NOBODY takes it
    any more): durable when this returns. Raises Suspended."""
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


def retire(pool: Pool, number: int, successor: int) -> None:
    """A member that nothing leads to is one no more. successor: who has its place now, or NOBODY; that one takes, too,
    what this one was to take. Raises Suspended, and then it may be called again."""
    member = pool.members[number] or pool.spares.get(number)
    before, was_in = list(pool.rows), pool.members[number]
    for other, row in enumerate(pool.rows):
        if row.successor == number and row.state in (f.IN, f.OUT):
            pool.rows[other] = row._replace(successor=successor if other != successor else f.NOBODY)
    row = pool.rows[number]._replace(state=f.REMOVED, since=pool.number + 1, successor=successor)
    pool.rows[number] = row
    pool.members[number] = None
    try:
        pool.write_commit()
        pool.sync_members()
    except BaseException:
        pool.rows[:], pool.members[number] = before, was_in
        raise
    pool.space.leaving.discard(number)
    pool.spares.pop(number, None)
    if member is not None:
        member.close()


def unfinished(pool: Pool) -> list[tuple[int, int]]:
    """(number, successor) of members whose place is being taken, by one that is there: jobs for repair.Replace; or
    LEAVING: for evacuate.Evacuate."""
    return [
        (number, row.successor)
        for number, row in enumerate(pool.rows)
        if row.state in (f.IN, f.OUT) and (row.successor in pool.present() or row.successor == f.LEAVING)
    ]


def superblock(pool: Pool, number: int, ident: bytes, size: int) -> bytes:
    """Of member `number`, which is called `ident` and has `size` bytes."""
    return f.pack_superblock(f.Superblock(pool.pool_id, ident, number, size, pool.extent, pool.name))


def mend_superblocks(pool: Pool) -> list[str]:
    """Both of every member are what they should be afterwards; sentences about those that were not. A crash while a
    member was enlarged leaves them with two sizes, or one of them torn. One that can't be read or written is called out
    when that matters."""
    said = []
    for number, member in pool.present().items():
        try:
            copies = [member.read(at, f.SUPER_SIZE) for at in (0, f.SUPER_SIZE)]
            good = next((one for one in copies if _is_of(pool, number, one)), None)
            good = good or superblock(pool, number, pool.rows[number].member, member.size)
            for copy, found in enumerate(copies):
                if found != good:
                    member.write(copy * f.SUPER_SIZE, good)
                    said.append(f"a superblock of member {member.name} was not as its twin, and is written anew")
        except MemberError:
            continue
    return said


def _is_of(pool: Pool, number: int, copy: bytes) -> bool:
    try:
        super_ = f.unpack_superblock(copy)
    except f.FormatError:
        return False
    return (super_.pool, super_.member) == (pool.pool_id, pool.rows[number].member)
