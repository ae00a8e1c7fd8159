"""The records of the log: how they are laid out, built and read back.

Knows: bytes. Refuses to know: segments' members, what an entry does.

A record: head of 64 bytes (magic `VFLR`, u32 length, u64 number of its first entry, u32 entries, u32 crc, 16 bytes
pool, u32 segment, u32 payload blocks), entries of 40 bytes (u8 kind, 3 bytes 0, u32 volume, u64 block or grain, u64
argument, u32 crc, u32 number of CRCs, u64 0) each followed by its CRCs padded to 8 bytes, then the payload, blocks of
4 KiB; padded to 512. The crc is CRC-32C of the whole record with its own field 0.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from storvirt.raid.kernels import crc32c

HEAD = struct.Struct("<4sIQII16sII16x")
ENTRY = struct.Struct("<B3xIQQII8x")
MAGIC = b"VFLR"
ALIGN = 512
BLOCK = 4096
_CRC_AT = 20

Read = Callable[[int, int], bytes | None]  # of a copy of a segment: (at, length) -> bytes, None where they can't be had

# Kinds of entries
KINDS = BLOCKS, SWITCH, ZERO, FLUSHED = 1, 2, 3, 4


class Entry(NamedTuple):
    """BLOCKS: block `where` is payload block `arg` with `crc`. SWITCH: grain `where` is at slab << 32 | slot = `arg`
    with `crcs`. ZERO: `arg` blocks from `where` on. FLUSHED: all entries below number `where` had been made
    durable."""

    kind: int
    volume: int
    where: int
    arg: int
    crc: int
    crcs: tuple[int, ...]


def length_of(entries: int, payload: int) -> int:
    """Bytes of a record with so many bytes of entries and blocks of payload."""
    return -(-(HEAD.size + entries + payload * BLOCK) // ALIGN) * ALIGN


def build(
    pool: bytes, segment: int, first: int, count: int, entries: bytes | bytearray, payload: memoryview
) -> bytearray:
    """One record."""
    record = bytearray(length_of(len(entries), len(payload) // BLOCK))
    at = HEAD.size + len(entries)
    record[HEAD.size : at] = entries
    record[at : at + len(payload)] = payload
    HEAD.pack_into(record, 0, MAGIC, len(record), first, count, 0, pool, segment, len(payload) // BLOCK)
    struct.pack_into("<I", record, _CRC_AT, crc32c(0, record))
    return record


def claimed_length(head: bytes, pool: bytes, segment: int, first: int | None) -> int:
    """How long the record is that this head begins; 0 if it is not the one that is expected here (first: the number
    of its first entry, None = any)."""
    if len(head) < HEAD.size:
        return 0
    magic, length, number, _count, _crc, pool_id, slab, _payload = HEAD.unpack_from(head)
    expected = magic == MAGIC and pool_id == pool and slab == segment and first in (None, number)
    return int(length) if expected and length % ALIGN == 0 and length > HEAD.size else 0


def parse(record: bytes) -> tuple[list[Entry], int] | None:
    """(entries, where the payload begins) of a whole record; None for a torn or damaged one."""
    if len(record) < HEAD.size:
        return None
    _magic, length, _number, count, crc, _pool, _slab, payload = HEAD.unpack_from(record)
    if length != len(record):
        return None
    zeroed = bytearray(record)
    zeroed[_CRC_AT : _CRC_AT + 4] = bytes(4)
    if crc32c(0, zeroed) != crc:
        return None
    entries: list[Entry] = []
    at = HEAD.size
    for _ in range(count):
        if at + ENTRY.size > len(record):
            return None
        kind, volume, where, arg, block_crc, crc_count = ENTRY.unpack_from(record, at)
        at += ENTRY.size
        if crc_count > 256 or at + 4 * crc_count > len(record):
            return None
        crcs = struct.unpack_from(f"<{crc_count}I", record, at)
        at += -(-4 * crc_count // 8) * 8
        if kind not in KINDS or (kind == BLOCKS and arg >= payload):
            return None
        entries.append(Entry(kind, volume, where, arg, block_crc, crcs))
    return (entries, at) if at + payload * BLOCK <= len(record) else None


def is_log(read: Read, end: int, pool: bytes, segment: int, first: int) -> bool:
    """Whether there is nothing but whole records, one behind the other, up to `end`. first: number of the first one's
    first entry."""
    at = 0
    while at < end:
        length = claimed_length(read(at, HEAD.size) or b"", pool, segment, first)
        parsed = parse(read(at, length) or b"") if 0 < length <= end - at else None
        if parsed is None:
            return False
        at, first = at + length, first + len(parsed[0])
    return True
