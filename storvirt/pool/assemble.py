"""Making a pool of members, and opening one: which commit record is the newest, and what the log adds to it.

Knows: superblocks, rings, histories, which members are the pool's. Refuses to know: files (members are given), what the
log's records do (replay.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from storvirt.backing.errors import MemberError
from storvirt.backing.member import Member
from storvirt.block import BlockError
from storvirt.pool import format as f
from storvirt.pool.membership import mend_superblocks
from storvirt.pool.pool import SKIP, Pool, PoolError
from storvirt.pool.replay import log_is_there, replay
from storvirt.pool.tables import check
from storvirt.volume.map import PAGE

MIN_EXTENTS = 8  # per member: log, metadata, what they need in reserve, and some data
DEFAULT_EXTENT = 4 << 20
MOST_EXTENTS = 8192  # in a whole pool, so that its table fits into a commit record
FIRST_EXTENTS = 2048  # of a new pool at most, so that it can become four times as large


def extent_for(total: int) -> int:
    """The extent size for a pool of `total` bytes: 4 MiB, and more where there would be too many. Raises PoolError."""
    extent = DEFAULT_EXTENT
    while total // extent > FIRST_EXTENTS and extent < f.MAX_EXTENT:
        extent *= 2
    if total // extent > MOST_EXTENTS:
        most = MOST_EXTENTS * f.MAX_EXTENT >> 40
        raise PoolError(f"a pool has at most {most} TiB in all its members, not {total / 2**40:.1f}; make two of it")
    return extent


def least_member(extent: int) -> int:
    """Bytes that a member of a new pool has at least."""
    return f.EXTENTS_AT + MIN_EXTENTS * extent


def format_pool(
    members: Sequence[Member], *, name: str, pool_id: bytes, member_ids: Sequence[bytes], extent: int | None = None
) -> Pool:
    """Write a new, empty pool onto members (what they held is gone) and open it. Raises PoolError, MemberError."""
    if not 1 <= len(members) <= f.MAX_MEMBERS:
        raise PoolError(f"a pool has 1 to {f.MAX_MEMBERS} members, not {len(members)}")
    total = sum(member.size for member in members)
    size = extent or extent_for(total)
    if total // size > MOST_EXTENTS:
        raise PoolError(f"{total} bytes in extents of {size} are more than {MOST_EXTENTS} of them; take larger ones")
    least = least_member(size)
    for member in members:
        if member.size < least:
            raise PoolError(f"member {member.name} has {member.size} bytes; with extents of {size} it needs {least}")
    rows = tuple(
        f.MemberRow(ident, f.IN, member.size, 1, hint=f.hint_for(member.name))
        for ident, member in zip(member_ids, members, strict=True)
    )
    supers = [
        f.Superblock(pool_id, ident, number, member.size, size, name)
        for number, (ident, member) in enumerate(zip(member_ids, members, strict=True))
    ]
    for member, super_ in zip(members, supers, strict=True):
        member.write(f.RING_AT, bytes(f.RING_PLACES * f.RING_PLACE_SIZE))
        member.write(0, f.pack_superblock(super_) * 2)
    empty = f.Commit(0, bytes(32), 0, SKIP, 1, rows, (), (), ())
    pool = Pool(supers[0], list(members), empty, bytes(32))
    pool.engine.sequence = SKIP
    pool.checkpoint()
    return pool


class Found(NamedTuple):
    """A member that was given: every whole commit record in its ring, by number."""

    member: Member
    super_: f.Superblock
    ring: dict[int, bytes]

    @property
    def newest(self) -> int:
        """-1 where there is none: a member that had just been added."""
        return max(self.ring, default=-1)


def open_pool(
    members: Sequence[Member], *, lacking: bool = False, degraded: bool = False, read_only: bool = False
) -> Pool:
    """Assemble a pool and replay its log. Raises PoolError with one sentence; Suspended while the host is in trouble.

    lacking: go on although members are missing that the newest record calls in, as far as redundancy reaches; degraded:
    that, and although flushed writes are lost in a damaged log. read_only: of the members nothing is kept that is
    written to them (storvirt.backing.overlay), so that features which only writing must know do not matter.
    """
    found = [look(member, read_only) for member in members]
    _same_pool(found)
    newest = max(found, key=lambda one: one.newest)
    if newest.newest < 0:
        raise PoolError(f"no member of pool {newest.super_.name} that was given holds a whole commit record")
    record = newest.ring[newest.newest]
    commit = f.unpack_commit(record)
    try:
        check(commit, newest.super_.extent)
    except f.FormatError as error:
        raise PoolError(f"pool {newest.super_.name} is damaged: {error}") from None
    chain = history(found, newest)
    places: list[Member | None] = [None] * len(commit.members)
    spares: dict[int, Member] = {}
    for one in found:
        if _belongs(one, newest, commit, chain, places):
            places[one.super_.number] = one.member
        elif commit.members[one.super_.number].state == f.SPARE:
            spares[one.super_.number] = one.member
    missing = [n for n, row in enumerate(commit.members) if row.state == f.IN and places[n] is None]
    if missing and not (lacking or degraded):
        raise PoolError(
            f"pool {newest.super_.name} lacks {len(missing)} of {len(places)} members (number "
            f"{', '.join(map(str, missing))}), which its newest record calls in; bring them back, or open it degraded"
        )
    pool = Pool(newest.super_, places, commit, f.commit_hash(record))
    pool.spares, pool.known = spares, chain
    try:
        _resume(pool, commit, record, missing, degraded)
        pool.events += mend_superblocks(pool)
        pool.checkpoint()
    except (f.FormatError, BlockError) as error:
        raise PoolError(f"pool {pool.name} can't be opened: {error}") from None
    return pool


def history(found: Sequence[Found], newest: Found) -> dict[int, bytes]:
    """The newest record and those before it, as far back as the rings lead: number -> hash."""
    number, digest = newest.newest, f.commit_hash(newest.ring[newest.newest])
    parents = {f.commit_hash(record): f.unpack_commit(record).parent for one in found for record in one.ring.values()}
    chain = {number: digest}
    while (parent := parents.get(chain[number])) in parents:
        number -= 1
        chain[number] = parent
    return chain


def _belongs(
    one: Found, newest: Found, commit: f.Commit, chain: dict[int, bytes], places: Sequence[Member | None]
) -> bool:
    """Whether a member is in. False: it is out. Raises PoolError for one that can't be of this pool and time."""
    number, name = one.super_.number, one.member.name
    row = commit.members[number] if number < len(commit.members) else None
    if row is None or row.member != one.super_.member or row.state == f.REMOVED:
        raise PoolError(f"member {name} is not in the member table of pool {newest.super_.name}")
    twin = places[number]
    if twin is not None:
        raise PoolError(f"{name} and {twin.name} are the same member twice; leave out the copy")
    if one.newest >= 0:
        own = f.commit_hash(one.ring[one.newest])
        # A member that is out gets no record from then on: if it has one, others went on without the rest.
        apart = row.state == f.OUT and one.newest >= row.since
        if own != chain.get(one.newest, b"" if apart else own):
            raise PoolError(
                f"pool {newest.super_.name} has two histories: commit {one.newest} differs between "
                f"{newest.member.name} and {name}; leave out the members of the one that is not wanted"
            )
    if row.state != f.IN:
        return False
    if one.newest < commit.durable and row.since <= commit.durable:
        raise PoolError(
            f"member {name} is of an earlier time than the pool (commit {one.newest}; {commit.durable} had been made "
            "durable on it): it is an old copy, or lost writes; leave it out, and open the pool degraded"
        )
    return True


def look(member: Member, read_only: bool = False) -> Found:
    """What a member says of itself. Raises PoolError."""
    super_ = _superblock(member, read_only)
    if member.size < super_.size:
        raise PoolError(f"member {member.name} is cut short: it has {member.size} bytes of {super_.size}")
    ring = {}
    for place in range(f.RING_PLACES):
        try:
            at = f.RING_AT + place * f.RING_PLACE_SIZE
            length = f.record_length(member.read(at, f.COMMIT_HEAD))
            record = member.read(at, length) if length else b""
            number = f.unpack_commit(record).number
        except (f.FormatError, MemberError):
            continue  # a torn record, or one that never was: the others decide
        if number % f.RING_PLACES == place:
            ring[number] = record
    return Found(member, super_, ring)


def _superblock(member: Member, read_only: bool) -> f.Superblock:
    problem = ""
    if member.size < 2 * f.SUPER_SIZE:
        raise PoolError(f"{member.name} has {member.size} bytes: it is no member of a pool, or it was emptied")
    for at in (0, f.SUPER_SIZE):
        try:
            super_ = f.unpack_superblock(member.read(at, f.SUPER_SIZE))
        except f.FormatError as error:
            problem = problem or str(error)
            continue
        except MemberError as error:
            raise PoolError(str(error)) from None
        if not read_only and not f.writable(super_):
            raise PoolError(f"{member.name}: it uses features that this program may not write; a newer virtfab can")
        return super_
    raise PoolError(f"{member.name}: {problem}")


def _same_pool(found: Sequence[Found]) -> None:
    if not found:
        raise PoolError("a pool has at least one member, and none was given")
    first = found[0]
    for one in found:
        if one.super_.pool != first.super_.pool:
            raise PoolError(
                f"{one.member.name} belongs to pool {one.super_.name}, {first.member.name} to pool {first.super_.name} "
                "(their identities differ); open them apart"
            )


def _resume(pool: Pool, commit: f.Commit, record: bytes, missing: Sequence[int], degraded: bool) -> None:
    """From the newest record to all that there is. Nobody may see anything of it before the next checkpoint."""
    log_is_there(pool, commit)
    for number, member in enumerate(pool.members):
        if member is not None:
            pool.rows[number] = pool.rows[number]._replace(hint=f.hint_for(member.name))
    for number in missing:
        pool.rows[number] = pool.rows[number]._replace(state=f.OUT, since=pool.number + 1)
        pool.events.append(f"member number {number} was missing at opening and is out")
    # What a killed process wrote is in page caches only, the newest records of the ring among it.
    pool.adopt_commit(record)
    for row in commit.volumes:
        disk = pool.add_volume_map(row)
        for pointer in disk.map.pages():
            _mark(pool, f.META, PAGE, pointer.slab, pointer.slot)
        for _grain, slab, slot in disk.map.allocated():
            _mark(pool, f.DATA, row.grain, slab, slot)
    replay(pool, commit, degraded)


def _mark(pool: Pool, use: int, grain: int, number: int, slot: int) -> None:
    slab = pool.engine.slab(number)
    fits = slab is not None and slab.use == use and slab.grain == grain and slot < slab.slots
    if slab is None or not fits or not slab.mark_slot(slot):
        raise PoolError(f"pool {pool.name} is damaged: slab {number}, slot {slot} is claimed twice or does not exist")
