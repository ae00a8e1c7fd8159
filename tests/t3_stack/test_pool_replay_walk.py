"""The log's records at opening: the compiled walk finds what record.parse() finds, whatever is on the copies, and that
is applied as it stands there."""

from __future__ import annotations

import errno
import struct
from functools import cache
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storvirt.backing.member import PythonMember
from storvirt.backing.memory import MemoryMember
from storvirt.pool import format as f
from storvirt.pool import record as r
from storvirt.pool.assemble import format_pool
from storvirt.pool.logwalk import LogWalk, from_number
from storvirt.pool.pool import Pool
from storvirt.pool.replay import Logged, records_of
from storvirt.pool.slab import Slab
from storvirt.raid.kernels import crc32c
from tests.support.poolrig import POOL_ID, volume

MIB = 1 << 20
LARGE = 2 * MIB  # bytes of an extent: more than is read at once
COPIES = 3
FIRST = 1 << 40
BLOCKS_OF_VOLUME = 4 * MIB // 4096


class Sore:
    """Bytes of which some can't be read; what is read is noted."""

    def __init__(self, size: int) -> None:
        self.size, self._inner = size, MemoryMember(size)
        self.sore = range(0)
        self.reads: list[tuple[int, int]] = []

    def read(self, offset: int, length: int) -> bytes:
        self.reads.append((offset, length))
        if self.sore and offset < self.sore.stop and self.sore.start < offset + length:
            raise OSError(errno.EIO, "sore")
        return self._inner.read(offset, length)

    def write(self, offset: int, data: bytes) -> None:
        self._inner.write(offset, data)


class Rig(NamedTuple):
    pool: Pool
    slab: Slab
    inners: list[Sore]

    def put(self, copies: list[bytes]) -> None:
        """Each copy of the segment has these bytes, then zeros; all can be read."""
        for inner in self.inners:
            inner.sore, inner.reads = range(0), []
        for copy, data in enumerate(copies):
            assert self.slab.put_piece(copy, 0, data + bytes(LARGE - len(data))) == 0

    def place(self, copy: int, at: int) -> tuple[Sore, int]:
        number, extent = self.slab.places[copy]
        return self.inners[number], f.EXTENTS_AT + extent * LARGE + at

    def found(self, end: int = 0, first: int = FIRST) -> list[Logged]:
        return records_of(self.pool, self.slab, f.SegmentRow(self.slab.number, first, end))


@cache
def rig() -> Rig:
    """A pool with one segment of its log, on three members."""
    inners = [Sore(8 * MIB + 8 * LARGE) for _ in range(4)]
    members = [PythonMember(inner, f"m{number}") for number, inner in enumerate(inners)]
    ids = [bytes([number]) * 16 for number in range(4)]
    pool = format_pool(members, name="rig", pool_id=POOL_ID, member_ids=ids, extent=LARGE)
    pool.create_volume("v", BLOCKS_OF_VOLUME * 4096, "raid6", 32768)
    volume(pool, "v").write(0, bytes(4096))
    slab = pool.engine.slab(pool.segments[-1].slab)
    assert slab is not None and slab.width == COPIES
    return Rig(pool, slab, inners)


def entry(kind: int, volume: int, where: int, arg: int, crcs: tuple[int, ...] = ()) -> bytes:
    data = r.ENTRY.pack(kind, volume, where, arg, where * 77 & 0xFFFFFFFF, len(crcs))
    return data + struct.pack(f"<{len(crcs)}I", *crcs) + bytes(4 * (len(crcs) & 1))


def record(first: int, entries: list[bytes], blocks: int) -> bytes:
    payload = b"".join(bytes([(first + n) & 0xFF]) * 4096 for n in range(blocks))
    built = r.build(POOL_ID, rig().slab.number, first, len(entries), b"".join(entries), memoryview(payload))
    return bytes(built)


def sealed(data: bytearray, at: int) -> None:
    """The record at `at` has the crc of the length that it claims, as a hostile hand would see to."""
    (length,) = struct.unpack_from("<I", data, at + 4)
    data[at + 20 : at + 24] = bytes(4)
    struct.pack_into("<I", data, at + 20, crc32c(0, bytes(data[at : at + length])))


# --- the same walk, plainly ------------------------------------------------------------------------------------------


class Plain(NamedTuple):
    first: int
    entries: list[r.Entry]
    copy: int
    start: int
    payload: int
    end: int


def plain_at(copies: list[bytes], at: int, expected: int) -> Plain | None:
    for number, data in enumerate(copies):
        length = r.claimed_length(data[at : at + r.HEAD.size], POOL_ID, rig().slab.number, expected)
        parsed = r.parse(data[at : at + length]) if 0 < length <= LARGE - at else None
        if parsed is not None:
            return Plain(expected, parsed[0], number, at, at + parsed[1], at + length)
    return None


def plainly(copies: list[bytes], end: int) -> list[Plain]:
    full = [data + bytes(LARGE - len(data)) for data in copies]
    found: list[Plain] = []
    at, expected = 0, FIRST
    while at < end:
        one = plain_at(full, at, expected)
        if one is None or one.end > end:
            break
        found.append(one)
        at, expected = one.end, expected + len(one.entries)
    return found


def agree(copies: list[bytes], end: int = 0) -> list[Plain]:
    """What both find."""
    plain = plainly(copies, end or LARGE)
    left = list(plain)
    for run in rig().found(end):
        mine = [one for one in left if one.start < run.end]
        left = left[len(mine) :]
        assert {one.copy for one in mine} == {run.copy}
        assert (run.first, run.start, run.end) == (mine[0].first, mine[0].start, mine[-1].end)
        assert run.after == mine[-1].first + len(mine[-1].entries)
        assert run.parts == b"".join(copies[run.copy][one.start : one.payload] for one in mine)
        flushed = [one.where for record in mine for one in record.entries if one.kind == r.FLUSHED]
        assert run.durable == max(flushed, default=0)
        for number in (0, run.first, run.first + 1, run.after - 1, run.after):
            later = [one.start for one in mine if one.first + len(one.entries) > number]
            assert from_number(run.parts, run.start, number) == (later[0] if later else run.end)
    assert not left
    return plain


# --- any log, any damage ---------------------------------------------------------------------------------------------

WHERES = st.one_of(st.integers(0, 40), st.sampled_from([BLOCKS_OF_VOLUME - 1, BLOCKS_OF_VOLUME, 1 << 63, FIRST + 3]))


@st.composite
def logs(draw: st.DrawFn) -> tuple[bytes, list[int]]:
    """Records that follow each other, and where each begins."""
    data, starts, first = b"", [], FIRST
    for _ in range(draw(st.integers(1, 9))):
        blocks = draw(st.sampled_from([0, 1, 2, 3, 15, 60]))
        entries = []
        for _ in range(draw(st.integers(0, 6))):
            kind, where, known = draw(st.sampled_from(r.KINDS)), draw(WHERES), draw(st.sampled_from([1, 1, 1, 9]))
            arg = draw(st.integers(0, 3 if draw(st.integers(0, 9)) == 0 else max(blocks - 1, 0)))
            kind = r.ZERO if kind == r.BLOCKS and not blocks else kind
            entries.append(entry(kind, known, where, arg, tuple(range(draw(st.integers(0, 5))))))
        starts.append(len(data))
        data += record(first, entries, blocks)
        first += len(entries)
    return data, starts


FIELDS = {"length": 4, "first": 8, "count": 16, "segment": 40, "payload": 44, "crcs of an entry": 64 + 28, "kind": 64}
VALUES = [0, 1, 2, 5, 257, 512, 1024, 4608, 8712, MIB, MIB + 512, LARGE, LARGE + 512, 1 << 31, 0xFFFFFE00, 0xFFFFFFFF]


@st.composite
def damaged(draw: st.DrawFn) -> tuple[list[bytes], int]:
    """Copies of a log with damage on some or all of them, and where the segment ends (0: it is open)."""
    data, starts = draw(logs())
    copies = [bytearray(data) for _ in range(COPIES)]
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.sampled_from(starts))
        place = min(start + draw(st.one_of(st.integers(0, 200), st.integers(0, 70000))), len(data) - 1)
        what = draw(st.sampled_from(["flip", "cut", "sector", "hostile", "number", "pool"]))
        field, value = draw(st.sampled_from(sorted(FIELDS.values()))), draw(st.sampled_from(VALUES))
        for copy in draw(st.lists(st.sampled_from(range(COPIES)), min_size=1, max_size=COPIES, unique=True)):
            one = copies[copy]
            if what == "flip":
                one[place] ^= 1 << place % 8
            elif what == "cut":
                one[place:] = bytes(len(one) - place)
            elif what == "sector":
                one[place & ~511 : (place & ~511) + 512] = bytes(512)
            elif what == "hostile" and start + field + 4 <= len(one):
                struct.pack_into("<I", one, start + field, value)
                sealed(one, start)
            elif what == "number":
                struct.pack_into("<Q", one, start + 8, FIRST + value)
                sealed(one, start)
            elif what == "pool":
                one[start + 24 : start + 40] = b"another pool's!!"
                sealed(one, start)
    end = draw(st.one_of(st.just(0), st.just(len(data)), st.just(1), st.integers(1, LARGE), st.sampled_from(starts)))
    return [bytes(one) for one in copies], end


@settings(max_examples=300, deadline=None)
@given(damaged())
def test_both_walks_find_the_same(case: tuple[list[bytes], int]) -> None:
    copies, end = case
    rig().put(copies)
    agree(copies, end)


@pytest.mark.parametrize("field", sorted(FIELDS))
@pytest.mark.parametrize("copies", [1, COPIES])
def test_a_hostile_field_whose_crc_fits(field: str, copies: int) -> None:
    """In the second of three records, of two entries and two blocks."""
    flushed, blocks = entry(r.FLUSHED, 0, FIRST, 0), [entry(r.BLOCKS, 1, n, n) for n in range(2)]
    good = record(FIRST, [flushed], 0) + record(FIRST + 1, blocks, 2) + record(FIRST + 3, [flushed], 0)
    for value in VALUES:
        bad = bytearray(good)
        struct.pack_into("<I", bad, 512 + FIELDS[field], value)
        sealed(bad, 512)
        both = [bytes(bad)] * copies + [good] * (COPIES - copies)
        rig().put(both)
        assert agree(both)[0].end == 512


@settings(max_examples=60, deadline=None)
@given(damaged(), st.integers(0, 90000), st.integers(1, 90000), st.sampled_from(range(COPIES)))
def test_where_one_copy_cannot_be_read(case: tuple[list[bytes], int], at: int, size: int, copy: int) -> None:
    copies, _ = case
    rig().put(copies)
    inner, place = rig().place(copy, at)
    inner.sore = range(place, place + size)
    plain = plainly([data for number, data in enumerate(copies) if number != copy], LARGE)
    found = rig().found()
    assert (found[-1].end if found else 0) >= (plain[-1].end if plain else 0), "the others have it"


@settings(max_examples=60, deadline=None)
@given(logs())
def test_it_is_applied_as_it_stands_there(log: tuple[bytes, list[int]]) -> None:
    engine, segment = rig().pool.engine, rig().slab.number
    rig().put([log[0]] * COPIES)
    logged: dict[int, tuple[int, int, int]] = {}
    others, heard = [], []
    for one in agree([log[0]] * COPIES):
        for number, (kind, known, where, arg, crc, crcs) in enumerate(one.entries, one.first):
            if kind == r.BLOCKS and known == 1 and where < BLOCKS_OF_VOLUME:
                logged[1 << 44 | where] = number, one.payload + arg * 4096, crc
            elif kind in (r.SWITCH, r.ZERO):
                others.append((number, kind, known, where, arg, list(crcs)))
    for key in list(logged):
        engine.index.forget(key)
    for run in rig().found():
        engine.replay_entries(run.parts, run.start, segment, lambda *what: heard.append(what))
    assert heard == others
    for key, (number, place, crc) in logged.items():
        assert engine.index.entry(key) == (number, segment, place, crc, 0)


# --- what needs a log of its own -------------------------------------------------------------------------------------


def long_log(count: int) -> bytes:
    return b"".join(record(FIRST + n, [entry(r.BLOCKS, 1, n, 0)], 1) for n in range(count))


def test_many_small_records_come_in_few_reads_and_runs() -> None:
    data = long_log(400)
    rig().put([data] * COPIES)
    agree([data] * COPIES)
    assert sum(len(inner.reads) for inner in rig().inners) < 10
    assert len(rig().found()) == 2 and max(run.end - run.start for run in rig().found()) <= MIB


def test_a_record_of_more_than_a_mib_among_small_ones() -> None:
    large = record(FIRST + 10, [entry(r.BLOCKS, 1, n, n) for n in range(300)], 300)
    assert len(large) > MIB
    data = long_log(10) + large + record(FIRST + 310, [entry(r.FLUSHED, 0, FIRST + 310, 0)], 0)
    rig().put([data] * COPIES)
    assert [one.end for one in agree([data] * COPIES)][-2:] == [len(data) - 512, len(data)]


@pytest.mark.parametrize(("crcs", "records"), [(256, 2), (257, 0)])
def test_as_many_crcs_as_an_entry_may_have(crcs: int, records: int) -> None:
    data = b"".join(record(FIRST + n, [entry(r.SWITCH, 9, n, 0, tuple(range(crcs)))], 0) for n in range(2))
    rig().put([data] * COPIES)
    assert len(agree([data] * COPIES)) == records


@pytest.mark.parametrize(("blocks", "end"), [(300, 0), (2, 8192)])
def test_the_first_copy_counts_where_two_are_whole(blocks: int, end: int) -> None:
    """A record longer than a MiB, and one that goes beyond the segment's end."""
    copies = [record(FIRST, [entry(r.BLOCKS, 1, 0, 0)] * 3, blocks), long_log(1), long_log(1)]
    rig().put(copies)
    assert [one.copy for one in agree(copies, end)] == ([] if end else [0])


def test_copies_that_take_turns_are_not_read_again_for_each_record() -> None:
    data = long_log(400)
    copies = [bytearray(data), bytearray(data)]
    for n in range(400):
        copies[n % 2][n * (len(data) // 400) + 2000] ^= 1
    both = [bytes(one) for one in copies] + [b""]
    rig().put(both)
    assert len(agree(both)) == 400
    assert sum(len(inner.reads) for inner in rig().inners) < 20


def test_a_bad_sector_costs_one_read_ahead_and_the_record_that_has_it() -> None:
    data = long_log(300)
    rig().put([data] * COPIES)
    inner, place = rig().place(0, 150 * (len(data) // 300) + 1000)
    inner.sore = range(place, place + 512)
    found = rig().found()
    assert found[-1].end == len(data)
    (other,) = [run for run in found if run.copy == 1]
    assert (other.start, other.end) == (150 * len(data) // 300, 151 * len(data) // 300)
    assert sum(place in range(at, at + size) for at, size in inner.reads) == 2
    assert sum(size == MIB for _, size in inner.reads) <= 2


def test_numbers_that_end_a_walk() -> None:
    walk = LogWalk(rig().slab, POOL_ID, LARGE)
    rig().put([long_log(2)] * COPIES)
    run = walk.run(0, FIRST)
    assert run is not None and run[1] == FIRST + 2
    for at, expected in ((0, FIRST + 1), (0, 1 << 64), (512, FIRST), (LARGE, FIRST), (LARGE - 8, FIRST)):
        assert walk.run(at, expected) is None
    rig().put([record((1 << 64) - 1, [entry(r.ZERO, 1, 0, 1)] * 2, 0)] * COPIES)
    assert LogWalk(rig().slab, POOL_ID, LARGE).run(0, (1 << 64) - 1) is None


def test_parts_that_are_none() -> None:
    parts = rig_parts()
    with pytest.raises(ValueError, match="16 bytes"):
        LogWalk(rig().slab, b"short", LARGE)
    for cut in (1, 40, 63, 64, 100, len(parts) - 1):
        with pytest.raises(ValueError, match="not heads and entries"):
            from_number(parts[:cut], 0, 1 << 63)
        with pytest.raises(ValueError, match="not heads and entries"):
            rig().pool.engine.replay_entries(parts[:cut], 0, rig().slab.number, lambda *_: None)


def rig_parts() -> bytes:
    return record(FIRST, [entry(r.SWITCH, 9, 0, 0, (1, 2, 3))], 0)[: 64 + 40 + 16]
