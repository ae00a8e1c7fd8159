"""Making a pool of members, and opening one: which commit record is the newest, and what the log adds to it.

Knows: superblocks, rings, replay (the crash story in storvirt/pool/__init__). Refuses to know: files; members are
given.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from storvirt.backing.errors import MemberError
from storvirt.backing.member import Member
from storvirt.pool import format as f
from storvirt.pool.pool import SKIP, Pool, PoolError
from storvirt.pool.record import BLOCK, BLOCKS, FLUSHED, HEAD, SWITCH, ZERO, Entry, claimed_length, parse
from storvirt.pool.slab import Slab

MIN_EXTENTS = 6  # per member: reserve, log, metadata and some data
DEFAULT_EXTENT = 4 << 20
MOST_EXTENTS = 8192  # in a whole pool, so that its table fits into a commit record


def extent_for(total: int) -> int:
    """The extent size for a pool of `total` bytes: 4 MiB, and more where there would be too many."""
    extent = DEFAULT_EXTENT
    while total // extent > MOST_EXTENTS and extent < f.MAX_EXTENT:
        extent *= 2
    return extent


def format_pool(
    members: Sequence[Member], *, name: str, pool_id: bytes, member_ids: Sequence[bytes], extent: int | None = None
) -> Pool:
    """Write a new, empty pool onto members (what they held is gone) and open it. Raises PoolError, MemberError."""
    if not 1 <= len(members) <= f.MAX_MEMBERS:
        raise PoolError(f"a pool has 1 to {f.MAX_MEMBERS} members, not {len(members)}")
    size = extent or extent_for(sum(member.size for member in members))
    least = f.EXTENTS_AT + MIN_EXTENTS * size
    for member in members:
        if member.size < least:
            raise PoolError(f"member {member.name} has {member.size} bytes; with extents of {size} it needs {least}")
    rows = tuple(f.MemberRow(ident, f.IN, member.size, 1) for ident, member in zip(member_ids, members, strict=True))
    supers = [
        f.Superblock(pool_id, ident, number, member.size, size, name)
        for number, (ident, member) in enumerate(zip(member_ids, members, strict=True))
    ]
    for member, super_ in zip(members, supers, strict=True):
        member.write(f.RING_AT, bytes(f.RING_PLACES * f.RING_PLACE_SIZE))
        member.write(0, f.pack_superblock(super_) * 2)
    empty = f.Commit(0, bytes(32), SKIP, 1, 1, rows, (), (), ())
    pool = Pool(supers[0], list(members), empty, bytes(32))
    pool.engine.sequence = SKIP
    pool.checkpoint()
    return pool


class Found(NamedTuple):
    """A member that was given, and the newest whole commit record in its ring."""

    member: Member
    super_: f.Superblock
    commit: f.Commit
    record: bytes


def open_pool(members: Sequence[Member], *, degraded: bool = False) -> Pool:
    """Assemble a pool and replay its log. Raises PoolError with one sentence.

    degraded: go on although members are missing that the newest record calls in (as far as redundancy reaches).
    """
    found = [look(member) for member in members]
    _same_pool(found)
    newest = max(found, key=lambda one: one.commit.number)
    _one_history(found, newest)
    places: list[Member | None] = [None] * len(newest.commit.members)
    for one in found:
        number = one.super_.number
        row = newest.commit.members[number] if number < len(places) else None
        if row is None or row.member != one.super_.member:
            raise PoolError(f"member {one.member.name} is not in the member table of pool {newest.super_.name}")
        twin = places[number]
        if twin is not None:
            raise PoolError(f"{one.member.name} and {twin.name} are the same member twice; leave out the copy")
        if row.state == f.IN and one.commit.number < newest.commit.number - f.RING_PLACES:
            raise PoolError(f"member {one.member.name} is older than the pool by more than its ring can show")
        if row.state == f.IN:
            places[number] = one.member
    missing = [n for n, row in enumerate(newest.commit.members) if row.state == f.IN and places[n] is None]
    if missing and not degraded:
        raise PoolError(
            f"pool {newest.super_.name} lacks {len(missing)} of {len(places)} members (number "
            f"{', '.join(map(str, missing))}), which its newest record calls in; bring them back, or open it degraded"
        )
    pool = Pool(newest.super_, places, newest.commit, f.commit_hash(newest.record))
    _resume(pool, newest.commit, missing)
    return pool


def look(member: Member) -> Found:
    """What a member says of itself. Raises PoolError."""
    super_ = _superblock(member)
    if member.size < super_.size:
        raise PoolError(f"member {member.name} is cut short: it has {member.size} bytes of {super_.size}")
    best: tuple[f.Commit, bytes] | None = None
    for place in range(f.RING_PLACES):
        try:
            data = member.read(f.RING_AT + place * f.RING_PLACE_SIZE, f.COMMIT_HEAD)
            length = f.record_length(data)
            if not length:
                continue
            data = member.read(f.RING_AT + place * f.RING_PLACE_SIZE, length)
            commit = f.unpack_commit(data)
        except (f.FormatError, MemberError):
            continue  # a torn record, or one that never was: the others decide
        if commit.number % f.RING_PLACES == place and (best is None or commit.number > best[0].number):
            best = (commit, data)
    if best is None:
        raise PoolError(
            f"member {member.name} holds no whole commit record; it was never finished, or is badly damaged"
        )
    return Found(member, super_, *best)


def _superblock(member: Member) -> f.Superblock:
    problem = ""
    for at in (0, f.SUPER_SIZE):
        try:
            super_ = f.unpack_superblock(member.read(at, f.SUPER_SIZE))
        except f.FormatError as error:
            problem = problem or str(error)
            continue
        except MemberError as error:
            raise PoolError(str(error)) from None
        if not f.writable(super_):
            raise PoolError(f"{member.name}: it uses features that this program may not write; a newer virtfab can")
        return super_
    raise PoolError(f"{member.name}: {problem}")


def _same_pool(found: Sequence[Found]) -> None:
    first = found[0]
    for one in found:
        if one.super_.pool != first.super_.pool:
            raise PoolError(
                f"{one.member.name} belongs to pool {one.super_.name}, {first.member.name} to pool {first.super_.name} "
                "(their identities differ); open them apart"
            )


def _one_history(found: Sequence[Found], newest: Found) -> None:
    """Two records of one number and different content are two histories: somebody wrote to both halves apart."""
    for one in found:
        if one.commit.number == newest.commit.number and one.record != newest.record:
            raise PoolError(
                f"pool {newest.super_.name} has two histories: commit {newest.commit.number} differs between "
                f"{newest.member.name} and {one.member.name}; leave out the members of the one that is not wanted"
            )


# --- replay


def _resume(pool: Pool, commit: f.Commit, missing: Sequence[int]) -> None:
    for row in commit.volumes:
        disk = pool.add_volume_map(row)
        for pointer in disk.map.pages():
            _mark(pool, pointer.slab, pointer.slot)
        for _grain, slab, slot in disk.map.allocated():
            _mark(pool, slab, slot)
    pool.engine.sequence = replay(pool, commit)
    for number in missing:
        pool.rows[number] = pool.rows[number]._replace(state=f.OUT, since=pool.number + 1)
        pool.events.append(f"member number {number} was missing at opening and is out")
    pool.checkpoint()


def _mark(pool: Pool, slab_number: int, slot: int) -> None:
    slab = pool.engine.slab(slab_number)
    if slab is None or slot >= slab.slots or not slab.mark_slot(slot):
        raise PoolError(
            f"pool {pool.name} is damaged: slab {slab_number}, slot {slot} is claimed twice or does not exist"
        )


class Logged(NamedTuple):
    """One record of the log: the number of its first entry, where its payload begins in the segment."""

    first: int
    entries: list[Entry]
    segment: Slab
    payload: int
    end: int


def replay(pool: Pool, commit: f.Commit) -> int:
    """Apply what the log has beyond the map; returns the first sequence number to be used from now on."""
    records = list(_records(pool, commit))
    flushes = (entry.where for record in records for entry in record.entries if entry.kind == FLUSHED)
    durable = max(flushes, default=0)
    last = commit.sequence
    ends: dict[int, int] = {}
    for record in records:
        last = max(last, record.first + len(record.entries))
        ends[record.segment.number] = record.end
        _apply(pool, record, commit.sequence, durable)
    pool.segments = [row._replace(end=row.end or ends.get(row.slab, 1)) for row in pool.segments]
    return last + SKIP


def _apply(pool: Pool, record: Logged, checkpointed: int, durable: int) -> None:
    engine, segment = pool.engine, record.segment.number
    for sequence, (kind, volume, where, arg, crc, crcs) in enumerate(record.entries, record.first):
        disk = engine.disks.get(volume)
        if disk is None:
            continue
        if kind == BLOCKS:
            engine.replay_block(disk, where, sequence, segment, record.payload + arg * BLOCK, crc)
        elif kind == ZERO:
            engine.apply_zero(disk, where, arg, sequence, segment)
        elif kind == SWITCH and sequence >= checkpointed:
            done = engine.replay_switch(disk, where, sequence, arg >> 32, arg & 0xFFFFFFFF, crcs, True)
            if not done and sequence < durable:
                pool.events.append(
                    f"volume {disk.row.name}: grain {where} was durable and is damaged; scrub tells more"
                )
                engine.replay_switch(disk, where, sequence, arg >> 32, arg & 0xFFFFFFFF, crcs, False)


def _records(pool: Pool, commit: f.Commit) -> Iterator[Logged]:
    """Every whole record in order, up to the end of the log."""
    for row in commit.segments:
        slab = pool.engine.slab(row.slab)
        if slab is None:
            raise PoolError(f"pool {pool.name} is damaged: the log's segment {row.slab} is not in its table of slabs")
        at, expected = 0, row.first
        while at < (row.end or pool.extent):
            record = _record_at(pool, slab, at, expected)
            if record is None:
                break
            at = record.end
            expected += len(record.entries)
            yield record
        if row.end > 1 and at < row.end:
            pool.events.append(f"the log's segment {row.slab} is damaged at byte {at}: what it held beyond is lost")


def _record_at(pool: Pool, slab: Slab, at: int, expected: int) -> Logged | None:
    """The whole record that begins here on any copy; None at the end of the log."""
    for copy in range(slab.width if at + HEAD.size <= pool.extent else 0):
        head = slab.piece(copy, at, HEAD.size)
        length = claimed_length(head, pool.pool_id, slab.number, expected) if head is not None else 0
        if not length or length > pool.extent - at:
            continue
        data = slab.piece(copy, at, length)
        parsed = parse(data) if data is not None else None
        if parsed is not None:
            return Logged(expected, parsed[0], slab, at + parsed[1], at + length)
    return None
