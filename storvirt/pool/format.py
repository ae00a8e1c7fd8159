"""The bytes of the pool on its members: superblock and commit record. `storvirt/pool/__init__.py` says why.

Knows: where things lie in a member, how they are packed, what is refused. Refuses to know: files, what happens next.

A member, little-endian throughout:

| offset | size | what |
|---|---|---|
| 0 | 4 KiB | superblock |
| 4 KiB | 4 KiB | the same superblock again |
| 64 KiB | 16 x 256 KiB | commit ring: record number n lies in place n % 16 |
| 8 MiB | | extents, one after the other |

Superblock, 512 bytes of 4096: magic `VFABPOOL`, u32 format, u32 crc (of the 512 bytes with this field 0), then see
`_SUPER`. Features follow the rule of ext4 and ZFS: a *compatible* one may be ignored, a *read-only compatible* one
that is unknown allows reading only, an *incompatible* one that is unknown is refused.

Commit record: magic `VFCOMMIT`, u32 length, u32 crc (of the length, with this field 0), u64 number, 32 bytes SHA-256
of the parent record, u64 number of the newest record known to be durable on all members that are in, u64 sequence, u32
next volume, u32 flags (bits that may be ignored: who does not know them keeps them, or writes 0; the upper 24 are how
far a scrub is, see SCRUBBED), then members, slabs, volumes and the log's segments as tables, each a u32 count and its
rows. A member's row is followed by its hint, a path of up to 1024 bytes.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Any, NamedTuple

from storvirt.raid.kernels import crc32c

MAGIC = b"VFABPOOL"
COMMIT_MAGIC = b"VFCOMMIT"
FORMAT = 1
SUPER_SIZE = 4096
RING_AT = 64 << 10
RING_PLACES = 16
RING_PLACE_SIZE = 256 << 10
EXTENTS_AT = 8 << 20
SECTOR = 512
MIN_EXTENT, MAX_EXTENT = 1 << 20, 2 << 30
MAX_MEMBERS = 64

# Feature bits known here: none yet.
COMPATIBLE = READ_ONLY_COMPATIBLE = INCOMPATIBLE = 0


class FormatError(ValueError):
    """What lies in a member is not what this program can read; the sentence says what and where."""


class Superblock(NamedTuple):
    """pool and member: 16 bytes each, random at creation; number: the member's place in the pool's tables."""

    pool: bytes
    member: bytes
    number: int
    size: int  # bytes of the member
    extent: int  # bytes of an extent, the same in the whole pool
    name: str  # of the pool
    compatible: int = 0
    read_only_compatible: int = 0
    incompatible: int = 0


_SUPER = struct.Struct("<8sII16s16sIQIQQQ64s")  # 8+4+4+16+16+4+8+4+24+64 = 152 bytes


def pack_superblock(super_: Superblock) -> bytes:
    """The 4096 bytes."""
    name = super_.name.encode()
    if len(name) > 64:
        raise FormatError(f"the pool's name {super_.name!r} is longer than 64 bytes")

    def packed(crc: int) -> bytes:
        return _SUPER.pack(
            MAGIC, FORMAT, crc, super_.pool, super_.member, super_.number, super_.size, super_.extent,
            super_.compatible, super_.read_only_compatible, super_.incompatible, name,
        ).ljust(SECTOR, b"\0")  # fmt: skip

    return packed(crc32c(0, packed(0))).ljust(SUPER_SIZE, b"\0")


def unpack_superblock(data: bytes) -> Superblock:
    """Raises FormatError. Unknown compatible features are kept as they are."""
    if len(data) < SECTOR:
        raise FormatError(f"{len(data)} bytes are too few for a superblock; the file is cut short")
    magic, version, crc, *fields, name = _SUPER.unpack_from(data)
    if magic != MAGIC:
        raise FormatError("it does not begin with a virtfab superblock; it is no member of a pool")
    if version != FORMAT:
        raise FormatError(f"its format is version {version}, this program knows version {FORMAT}")
    if crc32c(0, data[:12] + bytes(4) + data[16:SECTOR]) != crc:
        raise FormatError("its superblock is damaged (the checksum does not fit)")
    pool, member, number, size, extent, compatible, read_only, incompatible = fields
    if incompatible & ~INCOMPATIBLE:
        raise FormatError(
            f"it uses features that this program does not know (incompatible bits {incompatible & ~INCOMPATIBLE:#x}); "
            "a newer virtfab can open it"
        )
    if not MIN_EXTENT <= extent <= MAX_EXTENT or extent & (extent - 1) or number >= MAX_MEMBERS:
        raise FormatError("its superblock names sizes that can't be")
    text = name.rstrip(b"\0").decode("utf-8", "replace")
    return Superblock(pool, member, number, size, extent, text, compatible, read_only, incompatible)


def writable(super_: Superblock) -> bool:
    """Whether every feature that writing must respect is known here."""
    return not super_.read_only_compatible & ~READ_ONLY_COMPATIBLE


# Member states
IN, OUT, SPARE, REMOVED = 1, 2, 3, 4


# Who takes a member's place, where it is no member's number. Programs that don't know the last two refuse the pool.
NOBODY = -1
LEAVING = 254  # all others: what it holds moves to wherever there is room, and then it is removed
ENDED = 253  # nobody yet; and an fsync of it failed: it does not come back by itself
WORDS = frozenset({NOBODY, LEAVING, ENDED})
LONGEST_HINT = 1024  # bytes; of 64 members they fit into a record beside its other tables


class MemberRow(NamedTuple):
    """member: the id in its superblock; since: number of the commit record that gave it this state; successor: number
    of the member that takes its place, or took it, or one of WORDS; hint: where it was last seen, "" = not known. A
    hint is for whoever looks for a member that is missing: what lies there is believed for its own superblock only."""

    member: bytes
    state: int
    size: int
    since: int
    successor: int = NOBODY
    hint: str = ""


def hint_for(name: str) -> str:
    """A member's name as a hint: none if it is too long for one."""
    return name if len(name.encode("utf-8", "surrogateescape")) <= LONGEST_HINT else ""


# Flags of a commit record
# These say what is going on: whoever opens the pool goes on with it.
REBALANCING = 1  # what there is is being spread over all members
SCRUBBING = 2
# From this bit on: grains that a scrub has seen, in units of so many, of all volumes in the order of their numbers.
SCRUBBED = 8
SCRUB_UNIT = 4096

# What a slab is for
DATA, META, LOG = 1, 2, 3
# RAID profiles: numbers of storvirt/raid/layout.py, which has all of them (64 + n: raid1 with n copies). Programs that
# know the first four only refuse a pool with others, as they would with an unknown incompatible feature.
LINEAR, RAID0, RAID1, RAID5 = 1, 2, 3, 4
RAID6, RAID7, RAID10, RAID4, RAID50, RAID60 = 5, 6, 7, 8, 9, 10


class Column(NamedTuple):
    member: int  # number in the member table
    extent: int


class SlabRow(NamedTuple):
    """One slab. `grain`: bytes of data in a slot; columns: data first, then copies or parity."""

    slab: int
    use: int
    profile: int
    data: int  # k
    grain: int
    columns: tuple[Column, ...]


class PagePointer(NamedTuple):
    """Where a page of the map lies, and what it must hash to. slab 0 = no page: all below it is a hole."""

    slab: int
    slot: int
    crc: int
    birth: int


NO_PAGE = PagePointer(0, 0, 0, 0)


class VolumeRow(NamedTuple):
    """One volume: its tree has `levels` levels above the leaves."""

    volume: int
    name: str
    size: int
    grain: int
    profile: int
    levels: int
    root: PagePointer


class SegmentRow(NamedTuple):
    """One segment of the log: its slab, the number of its first entry, and where it ends (0: it is still written)."""

    slab: int
    first: int
    end: int


class Commit(NamedTuple):
    """All that a pool is at one moment, but for what the log adds. `sequence`: all entries below it are in the map."""

    number: int
    parent: bytes  # SHA-256 of the parent record
    durable: int  # records up to this one are durable on every member that is in: who lacks them is of another time
    sequence: int
    next_volume: int
    members: tuple[MemberRow, ...]
    slabs: tuple[SlabRow, ...]
    volumes: tuple[VolumeRow, ...]
    segments: tuple[SegmentRow, ...]  # of the log, oldest first
    flags: int = 0


_COMMIT = struct.Struct("<8sIIQ32sQQII")
COMMIT_HEAD = _COMMIT.size  # enough to tell how long a record is
_MEMBER = struct.Struct("<16sBBHQQ")  # id, state, successor + 1, bytes of the hint that follows, size, since
_SLAB = struct.Struct("<IBBBBI")
_COLUMN = struct.Struct("<BI")
_VOLUME = struct.Struct("<I64sQIBBIIIQ")
_SEGMENT = struct.Struct("<IQI")
_U32 = struct.Struct("<I")


def pack_commit(commit: Commit) -> bytes:
    """The record's bytes. Raises FormatError if it does not fit into its place."""
    parts = [_U32.pack(len(commit.members))]
    parts += [_pack_member(row) for row in commit.members]
    parts.append(_U32.pack(len(commit.slabs)))
    for slab in commit.slabs:
        parts.append(_SLAB.pack(slab.slab, slab.use, slab.profile, slab.data, len(slab.columns), slab.grain))
        parts += [_COLUMN.pack(*column) for column in slab.columns]
    parts.append(_U32.pack(len(commit.volumes)))
    for volume in commit.volumes:
        head = (volume.volume, volume.name.encode(), volume.size, volume.grain, volume.profile, volume.levels)
        parts.append(_VOLUME.pack(*head, *volume.root))
    parts.append(_U32.pack(len(commit.segments)))
    parts += [_SEGMENT.pack(*row) for row in commit.segments]
    body = b"".join(parts)
    length = _COMMIT.size + len(body)
    if length > RING_PLACE_SIZE:
        raise FormatError(
            f"a commit record of {length} bytes; its place has {RING_PLACE_SIZE}: the pool has too many slabs"
        )

    def packed(crc: int) -> bytes:
        head = (COMMIT_MAGIC, length, crc, commit.number, commit.parent, commit.durable, commit.sequence)
        return _COMMIT.pack(*head, commit.next_volume, commit.flags) + body

    return packed(crc32c(0, packed(0)))


def _pack_member(row: MemberRow) -> bytes:
    hint = row.hint.encode("utf-8", "surrogateescape")
    return _MEMBER.pack(row.member, row.state, row.successor + 1, len(hint), row.size, row.since) + hint


def commit_hash(record: bytes) -> bytes:
    """What the next record names as its parent."""
    return hashlib.sha256(record).digest()


def record_length(data: bytes) -> int:
    """How long the record that begins here says it is; 0 when none begins here."""
    if len(data) < _COMMIT.size or data[:8] != COMMIT_MAGIC:
        return 0
    length = int(_U32.unpack_from(data, 8)[0])
    return length if _COMMIT.size <= length <= RING_PLACE_SIZE else 0


class _Reader:
    """Takes structs off a buffer and cannot overrun it."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at

    def take(self, layout: struct.Struct) -> tuple[Any, ...]:
        end = self._at + layout.size
        if end > len(self._data):
            raise FormatError("a commit record ends in the middle of a table")
        values = layout.unpack_from(self._data, self._at)
        self._at = end
        return values

    def text(self, length: int) -> str:
        end = self._at + length
        if length > LONGEST_HINT or end > len(self._data):
            raise FormatError("a commit record holds a text that is longer than it can be")
        data, self._at = self._data[self._at : end], end
        return data.decode("utf-8", "surrogateescape")

    def count(self, most: int) -> int:
        (number,) = self.take(_U32)
        assert isinstance(number, int)
        if number > most:
            raise FormatError(f"a commit record announces {number} rows where {most} are possible")
        return number


def unpack_commit(data: bytes) -> Commit:
    """Raises FormatError for what is no whole, undamaged commit record."""
    length = record_length(data)
    if not length or length > len(data):
        raise FormatError("no commit record begins here")
    data = data[:length]
    _magic, _length, crc, number, parent, durable, sequence, next_volume, flags = _COMMIT.unpack_from(data)
    if crc32c(0, data[:12] + bytes(4) + data[16:]) != crc:
        raise FormatError(f"commit record {number} is torn (its checksum does not fit)")
    reader = _Reader(data, _COMMIT.size)
    members = tuple(_unpack_member(reader) for _ in range(reader.count(MAX_MEMBERS)))
    slabs = tuple(_unpack_slab(reader) for _ in range(reader.count(RING_PLACE_SIZE)))
    volumes = tuple(_unpack_volume(reader) for _ in range(reader.count(RING_PLACE_SIZE)))
    rows = (reader.take(_SEGMENT) for _ in range(reader.count(RING_PLACE_SIZE)))
    segments = tuple(SegmentRow(*row) for row in rows)
    return Commit(number, parent, durable, sequence, next_volume, members, slabs, volumes, segments, flags)


def _unpack_member(reader: _Reader) -> MemberRow:
    member, state, successor, hint, size, since = reader.take(_MEMBER)
    return MemberRow(member, state, size, since, successor - 1, reader.text(hint))


def _unpack_slab(reader: _Reader) -> SlabRow:
    slab, use, profile, data, count, grain = reader.take(_SLAB)
    columns = tuple(Column(*reader.take(_COLUMN)) for _ in range(count))
    return SlabRow(slab, use, profile, data, grain, columns)


def _unpack_volume(reader: _Reader) -> VolumeRow:
    volume, name, size, grain, profile, levels, *root = reader.take(_VOLUME)
    text = name.rstrip(b"\0").decode("utf-8", "replace")
    return VolumeRow(volume, text, size, grain, profile, levels, PagePointer(*root))
