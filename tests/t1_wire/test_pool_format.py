"""The pool's bytes: superblock, commit record, log record; both ways, cut, flipped, hostile; what is refused."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from storvirt.backing.memory import MemoryMember
from storvirt.pool import format as f
from storvirt.pool import record as r
from storvirt.pool.assemble import format_pool, open_pool
from storvirt.pool.errors import PoolError
from storvirt.pool.tables import check
from storvirt.raid.kernels import crc32c
from storvirt.volume.map import PAGE

MIB = 1 << 20
POOL, MEMBER = b"0123456789abcdef", b"ABCDEFGHIJKLMNOP"
SUPER = f.Superblock(POOL, MEMBER, 3, 64 * MIB, MIB, "größe")
COMMIT = f.Commit(
    number=77,
    parent=bytes(range(32)),
    durable=70,
    sequence=(1 << 40) + 5,
    next_volume=4,
    members=(
        f.MemberRow(bytes(16), f.IN, 64 * MIB, 9, hint="/data/größe \udcff.img"),
        f.MemberRow(b"1" * 16, f.OUT, 64 * MIB, 9, 3, "/" + "x" * 1023),
        f.MemberRow(b"2" * 16, f.IN, 64 * MIB, 9),
        f.MemberRow(b"3" * 16, f.IN, 64 * MIB, 10, f.NOBODY, "d.img"),
    ),
    slabs=(
        f.SlabRow(1, f.LOG, f.RAID1, 1, MIB, (f.Column(0, 0), f.Column(2, 0))),
        f.SlabRow(2, f.META, f.LINEAR, 1, PAGE, (f.Column(3, 1),)),
        f.SlabRow(9, f.DATA, f.RAID5, 3, 32768, tuple(f.Column(n, 5 + n) for n in range(4))),
    ),
    volumes=(f.VolumeRow(3, "v0", 100 * MIB, 32768, f.RAID5, 1, f.PagePointer(2, 7, 0xDEADBEEF, 44)),),
    segments=(f.SegmentRow(1, (1 << 40) + 1, 4096),),
)


def sealed(data: bytes | bytearray, at: int, length: int) -> bytes:
    """With a checksum that fits: what a hostile hand would write."""
    data = bytearray(data)
    data[at : at + 4] = bytes(4)
    struct.pack_into("<I", data, at, crc32c(0, bytes(data[:length])))
    return bytes(data)


# --- superblock ------------------------------------------------------------------------------------------------------


def test_a_superblock_both_ways() -> None:
    data = f.pack_superblock(SUPER)
    assert len(data) == f.SUPER_SIZE and f.unpack_superblock(data) == SUPER
    assert f.unpack_superblock(data + b"more") == SUPER


def test_where_its_fields_lie() -> None:
    """Held by numbers, so that nobody moves them by accident."""
    data = f.pack_superblock(SUPER._replace(compatible=1, read_only_compatible=2, incompatible=0))
    assert data[:8] == b"VFABPOOL" and struct.unpack_from("<I", data, 8) == (1,)
    assert data[16:32] == POOL and data[32:48] == MEMBER
    assert struct.unpack_from("<IQIQQQ", data, 48) == (3, 64 * MIB, MIB, 1, 2, 0)
    assert data[88:152].rstrip(b"\0").decode() == "größe"
    assert struct.unpack_from("<I", data, 12)[0] == crc32c(0, data[:12] + bytes(4) + data[16:512])


def test_a_superblock_cut_anywhere_is_refused() -> None:
    data = f.pack_superblock(SUPER)
    for length in range(512):
        with pytest.raises(f.FormatError):
            f.unpack_superblock(data[:length])


def test_a_superblock_with_any_bit_flipped_is_refused() -> None:
    data = f.pack_superblock(SUPER)
    for bit in range(512 * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(f.FormatError):
            f.unpack_superblock(bytes(flipped))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: struct.pack_into("<I", data, 8, 2), "version 2"),
        (lambda data: struct.pack_into("<Q", data, 80, 5), "incompatible bits 0x5"),
        (lambda data: struct.pack_into("<I", data, 60, 12345), "sizes that can't be"),
        (lambda data: struct.pack_into("<I", data, 60, 0), "sizes that can't be"),
        (lambda data: struct.pack_into("<I", data, 48, 64), "sizes that can't be"),
    ],
)
def test_what_is_refused_says_why(change: Callable[[bytearray], None], words: str) -> None:
    data = bytearray(f.pack_superblock(SUPER))
    change(data)
    with pytest.raises(f.FormatError, match=words):
        f.unpack_superblock(sealed(data, 12, 512))


def test_the_longest_name() -> None:
    assert f.unpack_superblock(f.pack_superblock(SUPER._replace(name="n" * 64))).name == "n" * 64
    with pytest.raises(f.FormatError, match="longer than 64"):
        f.pack_superblock(SUPER._replace(name="ü" * 33))


def flagged(**flags: Any) -> list[MemoryMember]:
    """A pool of one member whose superblock, both copies of it, has these features."""
    member = MemoryMember(24 * MIB, "m0")
    format_pool([member], name="p", pool_id=POOL, member_ids=[MEMBER], extent=MIB)
    super_ = f.unpack_superblock(member.read(0, 4096))._replace(**flags)
    member.write(0, f.pack_superblock(super_) * 2)
    return [member]


def test_features_that_are_not_known() -> None:
    """Compatible: nothing. Read-only compatible: not for writing. Incompatible: not at all."""
    open_pool(flagged(compatible=1 << 63))
    members = flagged(read_only_compatible=1)
    with pytest.raises(PoolError, match="may not write; a newer virtfab can"):
        open_pool(members)
    assert open_pool(members, read_only=True).name == "p"
    with pytest.raises(PoolError, match="a newer virtfab can open it"):
        open_pool(flagged(incompatible=1 << 40), read_only=True)


def test_the_second_superblock_is_there_for_the_first() -> None:
    members = flagged()
    first = members[0].read(0, 4096)
    members[0].write(0, b"\xff" * 4096)
    assert open_pool(members).name == "p"
    assert members[0].read(0, 4096) == first, "it is written anew from its twin"
    members[0].write(0, b"\xff" * 8192)
    with pytest.raises(PoolError, match="no member of a pool"):
        open_pool(members)


# --- commit record ---------------------------------------------------------------------------------------------------


def test_a_commit_record_both_ways() -> None:
    data = f.pack_commit(COMMIT)
    assert f.record_length(data) == len(data) and f.unpack_commit(data) == COMMIT
    assert f.unpack_commit(data + b"what was there before") == COMMIT
    empty = COMMIT._replace(members=(), slabs=(), volumes=(), segments=())
    assert f.unpack_commit(f.pack_commit(empty)) == empty


def test_flags_lie_where_earlier_records_have_zeros() -> None:
    data = f.pack_commit(COMMIT)
    assert f.unpack_commit(data).flags == 0 and data[76:80] == bytes(4)
    newer = f.pack_commit(COMMIT._replace(flags=0x80000000 | f.REBALANCING))
    assert struct.unpack_from("<I", newer, 76) == (0x80000001,)
    assert f.unpack_commit(newer).flags == 0x80000001, "a bit that is not known here is kept"


def test_a_commit_record_cut_anywhere_is_refused() -> None:
    data = f.pack_commit(COMMIT)
    for length in range(len(data)):
        with pytest.raises(f.FormatError):
            f.unpack_commit(data[:length])


def test_a_commit_record_with_any_bit_flipped_is_refused() -> None:
    data = f.pack_commit(COMMIT)
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(f.FormatError):
            f.unpack_commit(bytes(flipped))


def test_a_commit_record_that_does_not_fit_is_refused_when_it_is_made() -> None:
    slab = COMMIT.slabs[2]
    with pytest.raises(f.FormatError, match="too many slabs"):
        f.pack_commit(COMMIT._replace(slabs=tuple(slab._replace(slab=n) for n in range(9000))))


@given(st.integers(0, 400), st.integers(0, 0xFFFFFFFF))
@example(80, 0xFFFFFFFF)
@settings(deadline=None)
def test_hostile_counts_with_a_fitting_checksum(at: int, value: int) -> None:
    """Whatever stands where a count may stand: one error, or a value; never more rows than there are bytes."""
    data = bytearray(f.pack_commit(COMMIT))
    at = min(at, len(data) - 4)
    struct.pack_into("<I", data, at, value)
    try:
        commit = f.unpack_commit(sealed(data, 12, len(data)))
        check(commit, MIB)
    except f.FormatError:
        return
    assert len(commit.slabs) <= 3


TABLES = [
    ({"members": ()}, "member table"),
    ({"members": (f.MemberRow(bytes(16), 9, MIB, 1),)}, "member table"),
    ({"members": (f.MemberRow(bytes(16), f.OUT, 64 * MIB, 1, 1),)}, "replaced by member 1, which can't be"),
    ({"members": (f.MemberRow(bytes(16), f.OUT, 64 * MIB, 1, 0),)}, "replaced by member 0, which can't be"),
    ({"slabs": (*COMMIT.slabs, COMMIT.slabs[0])}, "twice"),
    ({"slabs": (COMMIT.slabs[0], COMMIT.slabs[0]._replace(slab=5))}, "extent is in its table twice"),
    ({"volumes": (*COMMIT.volumes, COMMIT.volumes[0])}, "twice"),
    ({"next_volume": 3}, "volume 3 has a number"),
    ({"segments": (f.SegmentRow(9, 1, 0),)}, "segment 9"),
    ({"segments": (f.SegmentRow(1, 1, MIB + 1),)}, "segment 1"),
]
SLABS = [
    {"slab": 0},
    {"slab": 1 << 30},
    {"use": 7},
    {"profile": 99},
    {"data": 0},
    {"data": 4},
    {"grain": 0},
    {"grain": 12288},
    {"columns": ()},
    {"columns": tuple(f.Column(n, 5) for n in (0, 1, 2, 9))},
    {"columns": (*COMMIT.slabs[2].columns[:3], f.Column(2, 30))},
    {"columns": tuple(f.Column(n, 56) for n in range(4))},
    {"use": f.META},
]
VOLUMES = [
    {"volume": 0}, {"name": ""}, {"profile": 0}, {"grain": 0}, {"grain": 2048}, {"grain": 5000}, {"size": 0},
    {"size": 4095}, {"size": 1 << 60}, {"levels": 7},
]  # fmt: skip


def test_tables_that_can_be() -> None:
    check(COMMIT, MIB)


@pytest.mark.parametrize(("change", "words"), TABLES)
def test_tables_that_cannot_be(change: dict[str, Any], words: str) -> None:
    with pytest.raises(f.FormatError, match=words):
        check(COMMIT._replace(**change), MIB)


@pytest.mark.parametrize("change", SLABS, ids=str)
def test_slabs_that_cannot_be(change: dict[str, Any]) -> None:
    slabs = (*COMMIT.slabs[:2], COMMIT.slabs[2]._replace(**change))
    with pytest.raises(f.FormatError, match="slab"):
        check(COMMIT._replace(slabs=slabs), MIB)


@pytest.mark.parametrize("change", VOLUMES, ids=str)
def test_volumes_that_cannot_be(change: dict[str, Any]) -> None:
    volume = COMMIT.volumes[0]._replace(**change)
    with pytest.raises(f.FormatError, match="volume"):
        check(COMMIT._replace(volumes=(volume,)), MIB)


def test_a_record_that_lies_is_a_sentence_for_the_user() -> None:
    members = flagged()
    at = f.RING_AT + 2 * f.RING_PLACE_SIZE  # a new pool's first record and the checkpoint that opened it
    commit = f.unpack_commit(members[0].read(at, f.RING_PLACE_SIZE))
    members[0].write(at, f.pack_commit(commit._replace(segments=(f.SegmentRow(40, 1, 0),))))
    with pytest.raises(PoolError, match="pool p is damaged: segment 40"):
        open_pool(members)


# --- records of the log ----------------------------------------------------------------------------------------------


ENTRIES = [
    r.Entry(r.BLOCKS, 1, 7, 0, 0x1234, ()),
    r.Entry(r.SWITCH, 2, 9, 5 << 32 | 6, 0, tuple(range(100, 108))),
    r.Entry(r.SWITCH, 2, 10, 5 << 32 | 7, 0, (1,)),
    r.Entry(r.ZERO, 1, 100, 50, 0, ()),
    r.Entry(r.FLUSHED, 0, 55, 0, 0, ()),
]


def packed(entries: list[r.Entry]) -> bytes:
    out = b""
    for kind, volume, where, arg, crc, crcs in entries:
        out += r.ENTRY.pack(kind, volume, where, arg, crc, len(crcs)) + struct.pack(f"<{len(crcs)}I", *crcs)
        out += bytes(4 * (len(crcs) % 2))
    return out


def built(entries: list[r.Entry], payload: bytes = b"p" * 4096) -> bytes:
    return bytes(r.build(POOL, 8, 1000, len(entries), packed(entries), memoryview(payload)))


def test_a_log_record_both_ways() -> None:
    data = built(ENTRIES)
    assert len(data) % 512 == 0 == len(data) - r.length_of(len(packed(ENTRIES)), 1)
    assert r.claimed_length(data[: r.HEAD.size], POOL, 8, 1000) == len(data)
    parsed = r.parse(data)
    assert parsed is not None
    entries, payload = parsed
    assert entries == ENTRIES and data[payload : payload + 4096] == b"p" * 4096


@pytest.mark.parametrize(("pool", "segment", "first"), [(MEMBER, 8, 1000), (POOL, 9, 1000), (POOL, 8, 999)])
def test_a_log_record_of_elsewhere_is_not_expected_here(pool: bytes, segment: int, first: int) -> None:
    assert r.claimed_length(built(ENTRIES)[: r.HEAD.size], pool, segment, first) == 0


def test_a_log_record_cut_anywhere_is_refused() -> None:
    data = built(ENTRIES, b"")
    for length in range(len(data)):
        assert r.claimed_length(data[: min(length, r.HEAD.size)], POOL, 8, 1000) in (0, len(data))
        assert r.parse(data[:length]) is None


def test_a_log_record_with_any_bit_flipped_is_refused() -> None:
    data = built(ENTRIES, b"")
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        assert r.parse(bytes(flipped)) is None


@given(st.integers(0, 300), st.integers(0, 0xFFFFFFFF))
@settings(deadline=None)
def test_hostile_log_records_with_a_fitting_checksum(at: int, value: int) -> None:
    data = bytearray(built(ENTRIES))
    struct.pack_into("<I", data, at, value)
    parsed = r.parse(sealed(data, 20, len(data)))
    if parsed is not None:
        entries, payload = parsed
        assert payload <= len(data) and all(entry.kind in r.KINDS and len(entry.crcs) <= 256 for entry in entries)
        assert all(payload + (entry.arg + 1) * 4096 <= len(data) for entry in entries if entry.kind == r.BLOCKS)


@given(st.binary(max_size=600))
@example(b"")
@example(b"VFLR")
@example(b"VFCOMMIT" + b"\xff" * 100)
@example(b"VFABPOOL" + b"\xff" * 600)
@settings(deadline=None)
def test_junk_is_one_error(junk: bytes) -> None:
    assert r.parse(junk) is None
    for unpack in (f.unpack_superblock, f.unpack_commit):
        with pytest.raises(f.FormatError):
            unpack(junk)


def test_a_hint_is_never_longer_than_its_place() -> None:
    assert f.hint_for("x" * 1024) == "x" * 1024 and f.hint_for("x" * 1025) == "" == f.hint_for("ü" * 513)
    rows = tuple(f.MemberRow(bytes([n]) * 16, f.IN, 64 * MIB, 9, hint="h" * 1024) for n in range(f.MAX_MEMBERS))
    slabs = tuple(f.SlabRow(n + 1, f.DATA, f.LINEAR, 1, 32768, (f.Column(n % 64, n),)) for n in range(8192))
    assert len(f.pack_commit(COMMIT._replace(members=rows, slabs=slabs))) < f.RING_PLACE_SIZE


def test_a_hostile_hint_is_refused() -> None:
    row = f.MemberRow(bytes(16), f.IN, 64 * MIB, 9, hint="h" * 100)
    data = bytearray(f.pack_commit(COMMIT._replace(members=(row,), slabs=(), volumes=(), segments=())))
    at = data.index(b"h" * 100) - 18
    for length, words in (
        (1025, "longer than it can be"),
        (1024, "longer than it can be"),
        (104, "ends in the middle"),
    ):
        struct.pack_into("<H", data, at, length)
        with pytest.raises(f.FormatError, match=words):
            f.unpack_commit(sealed(data, 12, len(data)))
