"""What a file says of itself, all of it, also where it is damaged: both superblocks, every place of the ring.

Knows: where things lie in a member, what makes each of them whole. Refuses to know: other members, which record is the
newest, what is to be done about damage. Nothing here raises: what is wrong is a value.
"""

from __future__ import annotations

from typing import NamedTuple

from storvirt.backing.errors import MemberError
from storvirt.backing.member import Member
from storvirt.pool import format as f
from storvirt.pool.assemble import Found


class Place(NamedTuple):
    """A place of the ring. number: what its head says, -1 where nothing begins with a record's magic; record: its
    bytes, b"" where none is whole; data: what lies there of it, for comparing; problem: "" where it is whole or
    empty."""

    place: int
    number: int
    record: bytes
    data: bytes
    problem: str

    @property
    def offset(self) -> int:
        return f.RING_AT + self.place * f.RING_PLACE_SIZE


class Survey(NamedTuple):
    """copies: each superblock, or why it is none; super_: the first that is whole; problem: why the file can't be a
    member, "" if it can; ring: whole records by number, of those that lie where their number belongs."""

    member: Member
    copies: tuple[f.Superblock | str, f.Superblock | str]
    super_: f.Superblock | None
    problem: str
    ring: dict[int, bytes]
    places: tuple[Place, ...]

    @property
    def name(self) -> str:
        return self.member.name

    @property
    def newest(self) -> int:
        return max(self.ring, default=-1)

    @property
    def found(self) -> Found:
        """As the assembly has it."""
        assert self.super_ is not None
        return Found(self.member, self.super_, self.ring)


def survey(member: Member) -> Survey:
    """Everything that a file says of itself."""
    copies = (_superblock(member, 0), _superblock(member, f.SUPER_SIZE))
    super_ = next((copy for copy in copies if isinstance(copy, f.Superblock)), None)
    places = tuple(_place(member, number) for number in range(f.RING_PLACES))
    ring = {place.number: place.record for place in places if place.record}
    return Survey(member, copies, super_, _problem(member, copies, super_, ring), ring, places)


def _superblock(member: Member, at: int) -> f.Superblock | str:
    if member.size < at + f.SUPER_SIZE:
        return f"it has {member.size} bytes: it is no member of a pool, or it was emptied"
    try:
        return f.unpack_superblock(member.read(at, f.SUPER_SIZE))
    except (f.FormatError, MemberError) as error:
        return str(error)


def _problem(
    member: Member, copies: tuple[f.Superblock | str, ...], super_: f.Superblock | None, ring: dict[int, bytes]
) -> str:
    if super_ is None:
        if ring:
            return f"both its superblocks are gone ({copies[0]}), and only its commit records are left"
        return str(copies[0])
    if member.size < super_.size:
        return f"it is cut short: it has {member.size} bytes of {super_.size}"
    return ""


def _place(member: Member, place: int) -> Place:
    at = f.RING_AT + place * f.RING_PLACE_SIZE
    if member.size < at + f.RING_PLACE_SIZE:
        return Place(place, -1, b"", b"", "the file ends before it")
    try:
        head = member.read(at, f.COMMIT_HEAD)
        length = f.record_length(head)
        data = member.read(at, length) if length else head
    except MemberError as error:
        return Place(place, -1, b"", b"", str(error))
    if not any(head):
        return Place(place, -1, b"", data, "")
    if head[:8] != f.COMMIT_MAGIC:
        return Place(place, -1, b"", data, "it does not begin like a commit record")
    number = int.from_bytes(head[16:24], "little")
    try:
        f.unpack_commit(data)
    except f.FormatError as error:
        return Place(place, number, b"", data, str(error))
    if number % f.RING_PLACES != place:
        return Place(place, number, b"", data, f"record {number} does not belong here")
    return Place(place, number, data, data, "")
