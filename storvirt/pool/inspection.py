"""vfab pool inspect as a library: where one byte of a volume is, and whether everything that should hold of it holds.

Knows: log index, map entry, columns, equations; as plain values, for JSON and for tables. Refuses to know: files'
locks, words for people.

It looks at an open pool: a running one, or one opened for looking (files.Pool, read_only). Columns and log blocks are
read from `members` if they are given: the files as they are, where the pool has put something over them in memory.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

from storvirt.backing.member import Member
from storvirt.pool import format as f
from storvirt.pool import states
from storvirt.pool.pool import Pool, PoolError
from storvirt.pool.reader import Disk
from storvirt.pool.slab import Slab
from storvirt.pool.space import layout_of
from storvirt.pool.stripes import (
    BLOCK,
    Judged,
    columns_of,
    equation,
    grain_seed,
    judge,
    label,
    must_hold,
)
from storvirt.pool.survey import survey
from storvirt.raid.kernels import crc32c
from storvirt.raid.layout import BY_NUMBER, Layout

Members = Sequence[Member | None]
_IN_SEGMENT, _PENDING, _ZEROED = 0, 1, 2  # logindex.pxd


def inspect(
    pool: Pool, volume: str, offset: int, without: Set[int] = frozenset(), members: Members | None = None
) -> dict[str, Any]:
    """What there is of the 4 KiB block that has byte `offset` of a volume. without: numbers of members to do without.

    Raises PoolError, BlockError if a page of the map is lost.
    """
    disk = pool.disk(volume)
    if not 0 <= offset < disk.row.size:
        raise PoolError(f"volume {volume} has {disk.row.size} bytes; there is no byte {offset}")
    for number in without:
        if number >= len(pool.rows) or pool.rows[number].state == f.REMOVED:
            raise PoolError(f"pool {pool.name} has no member number {number}")
    held = list(members) if members is not None else list(pool.members)
    grain, block = offset // disk.grain, offset % disk.grain // BLOCK
    rows = [_member(pool, n, held, members is None) for n, row in enumerate(pool.rows) if row.state != f.REMOVED]
    log = _logged(pool, disk, offset // BLOCK, held)
    slot = _slot(pool, disk, grain, block, without, held)
    return {
        "pool": pool.name,
        "commit": max(row["generation"] for row in rows),
        "volume": volume,
        "raid": BY_NUMBER[disk.row.profile].name,
        "offset": offset,
        "lba": offset // f.SECTOR,
        "grain": grain,
        "grain_size": disk.grain,
        "block": block,
        "newest": _newest(log, slot),
        "log": log,
        "slot": slot,
        "members": rows,
    }


def _newest(log: dict[str, Any] | None, slot: dict[str, Any] | None) -> str:
    """Where the content of the block is: log, memory (not answered yet), zeros (a trim in the log), slot, hole."""
    if log is not None:
        return str(log["where"])
    return "slot" if slot is not None else "hole"


def _member(pool: Pool, number: int, held: Members, runs: bool) -> dict[str, Any]:
    """generation: its newest commit record. A pool that runs knows it; of a member that is not there it is what it must
    have had last."""
    row, member = pool.rows[number], held[number]
    if member is None:
        generation = row.since - 1
    else:
        generation = pool.written if runs else survey(member).newest
    return {
        "number": number,
        "name": member.name if member is not None else row.hint,
        "state": states.state(row),
        "condition": states.condition(row, runs and number in pool.joining),
        "there": member is not None,
        "since": row.since,
        "generation": generation,
    }


# --- the log


def _logged(pool: Pool, disk: Disk, block: int, held: Members) -> dict[str, Any] | None:
    entry = pool.engine.index.entry(disk.number << 44 | block)
    if entry is None:
        return None
    sequence, number, place, crc, kind = entry
    value = {"where": {_PENDING: "memory", _ZEROED: "zeros"}.get(kind, "log"), "sequence": sequence}
    if kind != _IN_SEGMENT:
        return {**value, "segment": number, "crc": None, "copies": []}
    slab = pool.engine.slab(number)
    assert slab is not None
    copies = []
    for column, (member, extent) in enumerate(slab.places):
        data = _raw(pool, slab, held).piece(column, place, BLOCK)
        copies.append(
            {
                "column": column,
                **_place(pool, held, member, f.EXTENTS_AT + extent * pool.extent + place),
                "length": BLOCK,
                "computed": crc32c(0, data) if data is not None else None,
                "verifies": data is not None and crc32c(0, data) == crc,
            }
        )
    return {**value, "segment": number, "crc": crc, "copies": copies}


def _place(pool: Pool, held: Members, member: int, offset: int) -> dict[str, Any]:
    one = held[member]
    name = one.name if one is not None else pool.rows[member].hint
    return {"member": member, "name": name, "state": states.state(pool.rows[member]), "offset": offset}


def _raw(pool: Pool, slab: Slab, held: Members) -> Slab:
    """The slab over these members."""
    row = f.SlabRow(slab.number, slab.use, slab.profile, slab.data, slab.grain, tuple(slab.places))
    return Slab(row, pool.extent, held)


# --- the slot


def _slot(pool: Pool, disk: Disk, grain: int, block: int, without: Set[int], held: Members) -> dict[str, Any] | None:
    entry = disk.map.entry(grain)
    slab = pool.engine.slab(entry[0]) if entry is not None and entry[0] else None
    if entry is None or slab is None:
        return None
    number, slot, birth, crcs = entry
    raw = _raw(pool, slab, held)
    row = f.SlabRow(number, slab.use, slab.profile, slab.data, slab.grain, tuple(slab.places))
    layout = layout_of(row, pool.extent)
    columns, seed = columns_of(raw, slot), grain_seed(disk.number, grain, birth)
    judged = judge(raw, layout, columns, seed, crcs)
    return {
        "slab": number,
        "slot": slot,
        "birth": birth,
        "raid": layout.profile.name,
        "data": layout.k,
        "redundant": layout.m,
        "groups": layout.groups,
        "column_size": layout.column,
        "tolerance": raw.tolerance,
        "rebuilding": label(layout, slab.rebuilding) if slab.rebuilding >= 0 else None,
        "columns": _columns(pool, raw, layout, slot, columns, judged, held),
        "holds_block": [piece.column for piece in layout.pieces(slot, block * BLOCK, BLOCK)],
        "blocks": _blocks(layout, columns, seed, crcs, judged, pool, disk, grain),
        "equations": _equations(layout, columns),
        "without": _without(pool, raw, layout, slot, columns, without, seed, crcs) if without else None,
    }


def _columns(
    pool: Pool, raw: Slab, layout: Layout, slot: int, columns: Sequence[bytes | None], judged: Judged, held: Members
) -> list[dict[str, Any]]:
    found = []
    for column, (member, extent) in enumerate(raw.places):
        held_bytes = layout.held(column)
        found.append(
            {
                "column": column,
                "label": label(layout, column),
                "role": layout.role(column),
                "group": layout.group(column),
                **_place(pool, held, member, f.EXTENTS_AT + extent * pool.extent + slot * layout.column),
                "length": layout.column,
                "holds": [held_bytes.start, held_bytes.stop] if held_bytes else None,
                "content": _content(column, columns, raw, judged),
            }
        )
    return found


def _content(column: int, columns: Sequence[bytes | None], raw: Slab, judged: Judged) -> str:
    if raw.missing >> column & 1:
        return "missing"
    if columns[column] is None:
        return "unreadable"
    if judged.bad:
        return "unknown"
    return "wrong" if column in judged.wrong else "right"


def _blocks(
    layout: Layout, columns: Sequence[bytes | None], seed: int, crcs: Sequence[int], judged: Judged, pool: Pool,
    disk: Disk, grain: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """Each block with the CRC that the map has and the one of what lies in the data columns."""
    found = []
    for block, crc in enumerate(crcs):
        lies = _from_data(layout, columns, block * BLOCK)
        computed = crc32c(seed, lies) if lies is not None else None
        known = block not in judged.bad and block not in judged.given_up
        found.append(
            {
                "block": block,
                "stored": crc,
                "computed": computed,
                "verifies": computed == crc,
                "had": known,  # as it lies, or by redundancy
                "given_up": block in judged.given_up,
                "logged": pool.engine.index.entry(disk.number << 44 | grain * len(crcs) + block) is not None,
            }
        )
    return found


def _from_data(layout: Layout, columns: Sequence[bytes | None], offset: int) -> bytes | None:
    parts = []
    for piece in layout.pieces(0, offset, BLOCK):
        column = columns[piece.column]
        if column is None:
            return None
        parts.append(column[piece.at : piece.at + piece.length])
    return b"".join(parts)


def _equations(layout: Layout, columns: Sequence[bytes | None]) -> list[dict[str, Any]]:
    """What must hold of the columns; holds: None where one of them is not there."""
    return [
        {"column": one.column, "group": layout.group(one.column), "text": one.text, "holds": one.holds(columns)}
        for one in must_hold(layout)
    ]


# --- without some members


def _without(
    pool: Pool, raw: Slab, layout: Layout, slot: int, columns: Sequence[bytes | None], without: Set[int], seed: int,
    crcs: Sequence[int],
) -> dict[str, Any]:  # fmt: skip
    """The grain, had without these members and without those that are missing anyway."""
    gone = frozenset(i for i, place in enumerate(raw.places) if place.member in without or columns[i] is None)
    left = [None if i in gone else column for i, column in enumerate(columns)]
    found, read, whole = [], set(range(layout.k)) - gone, list(left)
    for column in sorted(gone):
        one = equation(layout, column, gone)
        computed = one.computed(left) if one is not None else None
        if one is not None and column < layout.k:
            read |= one.constants.keys()
        whole[column] = computed
        was = columns[column]
        found.append(
            {
                "column": column,
                "label": label(layout, column),
                "text": one.text if one is not None else None,
                "read": sorted(one.constants) if one is not None else [],
                "same": None if computed is None or was is None else computed == was,
            }
        )
    blocks = [_from_data(layout, whole, block * BLOCK) for block in range(len(crcs))]
    verify = [data is not None and crc32c(seed, data) == crc for data, crc in zip(blocks, crcs, strict=True)]
    return {
        "members": sorted(without),
        "lost": sorted(gone),
        "survives": layout.survives(gone),
        "read": sorted(read),
        "equations": found,
        "blocks": verify,
        "verifies": all(verify),
    }
