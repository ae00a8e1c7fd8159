"""fsck: every structure that is damaged is named with its place, what a crash leaves is not damage, repair mends what
can be mended and nothing else, and junk raises one type of error."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

import pytest

from storvirt.backing.member import PythonMember
from storvirt.block import BlockError
from storvirt.pool import format as f
from storvirt.pool.fsck import Report, fsck
from storvirt.pool.heads import halves
from storvirt.pool.pool import Pool, PoolError
from storvirt.pool.record import HEAD
from storvirt.pool.survey import survey
from storvirt.pool.view import View
from storvirt.raid.kernels import crc32c
from tests.support.crashdisk import CrashDisk
from tests.support.poolrig import EXTENT, MEMBER, MIB, Kind, contents, formatted, reopen, volume
from tests.support.simfile import SimFile
from tests.t3_stack import test_pool_crash as crashes

LONG = bool(os.environ.get("VFAB_LONG"))
pytestmark = [pytest.mark.long] if LONG else []  # then they may take long
POOLS = {
    "raid5": (4, (Kind("raid5"),)),
    "raid1": (2, (Kind("raid1", MIB, 4096),)),
    "raid6 and raid1": (5, (Kind("raid6"), Kind("raid1", MIB, 16384))),
    "raid7": (6, (Kind("raid7"),)),
    "raid10": (4, (Kind("raid10", MIB),)),
    "raid50": (6, (Kind("raid50"), Kind("raid4", MIB))),
    "raid60": (8, (Kind("raid60", MIB),)),
    "raid0": (3, (Kind("raid0"),)),
}
Files = dict[str, SimFile]


def members(files: Mapping[str, SimFile]) -> list[PythonMember]:
    return [PythonMember(file, name) for name, file in files.items()]


def copies(files: Mapping[str, SimFile]) -> Files:
    return {name: file.copy() for name, file in files.items()}


def checked(files: Mapping[str, SimFile], repair: bool = False) -> Report:
    return fsck(members(files), data=True, repair=repair)


@cache
def _lived(name: str) -> Files:
    """A pool with grains in its map, and both flushed and unflushed records in its log."""
    count, kinds = POOLS[name]
    disk, dice = CrashDisk(formatted(count, kinds)), random.Random(name)
    pool = reopen(disk.members)
    for row in list(pool.volume_rows.values()):
        one = volume(pool, row.name)
        one.write(0, dice.randbytes(8 * row.grain))
        one.write(20 * row.grain + 4096, dice.randbytes(5000))
    for _ in range(18):
        pool.checkpoint()
    for row in list(pool.volume_rows.values()):
        one = volume(pool, row.name)
        one.write(512, dice.randbytes(1024))
        one.write(3 * row.grain, dice.randbytes(row.grain))
        one.write(9 * row.grain + 512, dice.randbytes(4096))
        pool.flush()
        one.write(9 * row.grain, dice.randbytes(512))
    return dict(disk.files)


def lived(name: str) -> Files:
    return copies(_lived(name))


def view(files: Mapping[str, SimFile]) -> View:
    (half,) = halves(survey(member) for member in members(files))
    return View(half)


class Spot(NamedTuple):
    """Bytes of a member that belong to one structure. kind: what fsck calls damage there."""

    kind: str
    member: str
    offset: int
    length: int


def spots(files: Mapping[str, SimFile]) -> Iterator[Spot]:
    """Of every kind some; found apart from what fsck does, by what an open pool says."""
    head = view(files).commit
    for name in files:
        for at in (0, f.SUPER_SIZE):
            yield Spot("superblock", name, at, f.SECTOR)
        yield ring_spot(files, name, head.durable)
    pool = reopen({name: PythonMember(file.copy(), name) for name, file in files.items()})
    then = view(files)
    for row in head.volumes:
        disk = pool.engine.disks[row.volume]
        slab = then.slabs[row.root.slab]
        for member, extent in slab.places:
            yield Spot("copy", f"m{member}", _at(extent) + row.root.slot * slab.column, slab.column)
        for grain in (1, 20):
            entry = disk.map.entry(grain)
            assert entry is not None
            if entry[0] not in then.slabs:
                continue  # written by the opening: not in these files
            slab = then.slabs[entry[0]]
            for member, extent in slab.places:
                yield Spot("column", f"m{member}", _at(extent) + entry[1] * slab.column, slab.column)
    segment = head.segments[-1]
    for member, extent in then.slabs[segment.slab].places:
        length = int.from_bytes(files[f"m{member}"].read(_at(extent) + 4, 4), "little")
        yield Spot("copy", f"m{member}", _at(extent) + HEAD.size, length - HEAD.size)


def ring_spot(files: Mapping[str, SimFile], name: str, number: int) -> Spot:
    at = f.RING_AT + number % f.RING_PLACES * f.RING_PLACE_SIZE
    return Spot("ring", name, at, f.record_length(files[name].read(at, f.COMMIT_HEAD)))


def _at(extent: int) -> int:
    return f.EXTENTS_AT + extent * EXTENT


def flip(file: SimFile, at: int, bits: int) -> None:
    file.write(at, bytes([file.read(at, 1)[0] ^ bits]))


def names(report: Report, spot: Spot) -> bool:
    return any(
        one.kind == spot.kind and one.member == spot.member and spot.offset - 64 <= one.offset < spot.offset +
        spot.length and spot.member in one.sentence and str(one.offset) in one.sentence
        for one in report.findings
    )  # fmt: skip


# --- damage


@pytest.mark.parametrize("name", POOLS)
def test_a_pool_that_was_killed_is_clean(name: str) -> None:
    files = lived(name)
    before = {one: dict(file.pages) for one, file in files.items()}
    report = checked(files)
    assert report.clean, report.findings
    assert {"superblocks", "commit records", "pages", "grains", "log records", "grains read"} <= report.counts.keys()
    assert report.counts["grains"] and report.counts["log records"]
    assert {one: file.pages for one, file in files.items()} == before, "nothing was written"
    expected = contents(reopen({one: PythonMember(file, one) for one, file in files.items()}))
    assert checked(files).clean
    assert contents(reopen({one: PythonMember(file, one) for one, file in files.items()})) == expected


@pytest.mark.parametrize("name", [name for name in POOLS if name != "raid0"])
def test_a_flipped_bit_anywhere_is_named_and_mended(name: str) -> None:
    """One at a time, in every structure; then as many at once as redundancy bears, one member's."""
    files, dice = lived(name), random.Random(name)
    expected = contents(reopen({one: PythonMember(file.copy(), one) for one, file in files.items()}))
    found = list(spots(files))
    assert {spot.kind for spot in found} == {"superblock", "ring", "copy", "column"}
    for spot in found if LONG else dice.sample(found, min(len(found), 24)):
        bad = copies(files)
        flip(bad[spot.member], spot.offset + dice.randrange(spot.length), 1 << dice.randrange(8))
        report = checked(bad)
        assert names(report, spot), (spot, report.findings)
        assert {one.member for one in report.findings} == {spot.member}
        mended = checked(bad, repair=True)
        assert all(one.mended for one in mended.findings) and len(mended.findings) == len(report.findings)
        again = checked(bad)
        assert again.clean, again.findings
        assert contents(reopen({one: PythonMember(file, one) for one, file in bad.items()})) == expected
    victim = dice.choice([spot.member for spot in found])
    for spot in found:
        if spot.member == victim and (spot.kind != "superblock" or spot.offset):
            flip(files[victim], spot.offset + dice.randrange(spot.length), 1 << dice.randrange(8))
    mended = checked(files, repair=True)
    assert mended.findings and all(one.mended for one in mended.findings)
    assert checked(files).clean
    assert contents(reopen({one: PythonMember(file, one) for one, file in files.items()})) == expected


def test_of_a_commit_record_that_nothing_needs_a_note_is_made() -> None:
    """A crash tears such records: nobody can say that it was not one."""
    files, dice = lived("raid5"), random.Random(3)
    head = view(files).commit
    assert head.number > f.RING_PLACES
    for number in range(head.number - f.RING_PLACES + 1, head.number + 1):
        if number == head.durable:
            continue
        bad = copies(files)
        spot = ring_spot(bad, "m2", number)
        flip(bad["m2"], spot.offset + dice.randrange(spot.length), 1 << dice.randrange(8))
        report = checked(bad)
        assert report.clean and len(report.notes) == 1, report
        assert report.notes[0].startswith("m2: commit record ") and f"at {spot.offset}," in report.notes[0]
        assert "it is there now" in checked(bad, repair=True).notes[0]
        assert not checked(bad).notes
        assert bad["m2"].read(spot.offset, spot.length) == files["m2"].read(spot.offset, spot.length)


def test_what_redundancy_does_not_bear_is_said_and_left_alone() -> None:
    files = lived("raid0")
    spot = next(spot for spot in spots(files) if spot.kind == "column")
    flip(files[spot.member], spot.offset + 100, 4)
    before = dict(files[spot.member].pages)
    report = checked(files, repair=True)
    assert [one.kind for one in report.findings] == ["grain"] and not report.findings[0].mended
    assert "block" in report.findings[0].sentence and "lost" in report.findings[0].sentence
    assert files[spot.member].pages == before
    files = lived("raid5")
    for spot in [spot for spot in spots(files) if spot.kind == "copy" and spot.length > MIB // 80][:2]:
        flip(files[spot.member], spot.offset + 200, 1)
    report = checked(files)
    assert [one.kind for one in report.findings] == ["map", "map"], report.findings
    assert "bytes 0 to 2097151 can't be read" in report.findings[0].sentence


def test_a_flushed_record_that_is_damaged_on_all_copies() -> None:
    files = lived("raid5")
    log = [spot for spot in spots(files) if spot.kind == "copy"][-2:]
    for spot in log:
        flip(files[spot.member], spot.offset + 50, 1)
    report = checked(files, repair=True)
    assert {(one.kind, one.member) for one in report.findings} == {("log", spot.member) for spot in log}
    assert all("had been flushed: these writes are lost" in one.sentence for one in report.findings)
    assert not any(one.mended for one in report.findings)


def test_a_block_that_was_given_up_is_told_again() -> None:
    """What can't be read is carried along as an error; a check names it as long as nobody writes it anew."""
    files = lived("raid0")
    spot = next(spot for spot in spots(files) if spot.kind == "column")
    flip(files[spot.member], spot.offset + 100, 4)
    pool = reopen({one: PythonMember(file, one) for one, file in files.items()})
    disk = pool.disk("raid0-0")
    for grain in (1, 20):
        pool.engine.destage(disk, grain)
    pool.close()
    report = checked(files)
    assert [one.kind for one in report.findings] == ["grain"] and "was lost before" in report.findings[0].sentence
    block = int(report.findings[0].sentence.split()[1])
    pool = reopen({one: PythonMember(file, one) for one, file in files.items()})
    with pytest.raises(BlockError):
        volume(pool, "raid0-0").read(block * 4096, 4096)
    volume(pool, "raid0-0").write(block * 4096, bytes(range(256)) * 16)
    pool.engine.destage(disk := pool.disk("raid0-0"), block * 4096 // disk.grain)
    pool.close()
    assert checked(files).clean


# --- tables that can't be true


def _rewritten(files: Files, fields: Mapping[str, Any]) -> None:
    """The newest record says something else, on all members, with a checksum that fits."""
    for file in files.values():
        ring = {one.number: one for one in survey(PythonMember(file, "m")).places if one.record}
        newest = f.unpack_commit(ring[max(ring)].record)
        values = {name: change(newest) if callable(change) else change for name, change in fields.items()}
        file.write(ring[max(ring)].offset, f.pack_commit(newest._replace(**values)))


@pytest.mark.parametrize(
    ("fields", "kind", "words"),
    [
        ({"slabs": lambda c: (*c.slabs, c.slabs[0]._replace(slab=77))}, "tables", "some extent is in its table twice"),
        ({"slabs": lambda c: (c.slabs[0]._replace(columns=tuple(column._replace(extent=4000 + i) for i, column in
                                                                enumerate(c.slabs[0].columns))), *c.slabs[1:])},
         "tables", "behind the end of member"),
        ({"segments": lambda c: (f.SegmentRow(4000, 1, 0),)}, "tables", "segment 4000"),
        ({"sequence": 5}, "map", "is of entry"),
        ({"segments": ()}, "space", "is for the log, and no segment of it is there"),
        ({"durable": 1 << 40}, "history", "was durable before it"),
        ({"volumes": lambda c: tuple(row._replace(root=row.root._replace(slot=3000)) for row in c.volumes)}, "map",
         "where no page can be"),
        ({"volumes": lambda c: (*c.volumes, c.volumes[0]._replace(volume=9, name="twin")), "next_volume": 10}, "map",
         "which is used twice"),
        ({"volumes": lambda c: (*c.volumes, c.volumes[0]._replace(volume=9, name="twin")), "next_volume": 10}, "map",
         "holds something else"),
    ],
)  # fmt: skip
def test_a_record_that_can_not_be_true(fields: dict[str, Any], kind: str, words: str) -> None:
    files = lived("raid5")
    _rewritten(files, fields)
    report = checked(files)
    assert any(one.kind == kind and words in one.sentence for one in report.findings), report.findings


# --- members


def test_which_file_is_what() -> None:
    files = lived("raid6 and raid1")
    old = copies(files)["m2"]
    pool = reopen({one: PythonMember(file, one) for one, file in files.items()})
    for _ in range(3):
        volume(pool, "raid6-0").write(0, b"later" * 1000)
        pool.checkpoint()
    pool.close()
    other = formatted(3, (Kind("raid5"),))
    for number, file in enumerate(other.values()):
        super_ = f.unpack_superblock(file.read(0, 4096))._replace(pool=b"another pool....", name="other", number=number)
        file.write(0, f.pack_superblock(super_) * 2)
    given = {**files, "m2": old, "copy of m0": files["m0"].copy(), "m3": files["m3"].copy(), "other": other["m1"],
             "letter": SimFile(MEMBER), "empty": SimFile(100)}  # fmt: skip
    given["m3"].resize(MEMBER - 512)
    before = {name: dict(file.pages) for name, file in given.items()}
    report = checked(given, repair=True)
    said = {one.member: one.sentence for one in report.findings if one.kind == "member"}
    for name, words in {
        "m2": "m2 is an old copy of member 2", "copy of m0": "same member twice", "m3": "it is cut short",
        "other": "belongs to another pool, other", "letter": "no member of a pool", "empty": "has 100 bytes",
        "": "member number",
    }.items():  # fmt: skip
        assert words in said[name], said
    assert {name: file.pages for name, file in given.items()} == before, "where members are in doubt nothing is mended"


def test_swapped_names_are_no_matter() -> None:
    files = lived("raid5")
    files["m0"], files["m3"] = files["m3"], files["m0"]
    assert checked(files).clean


def test_without_a_member_all_else_is_checked() -> None:
    files = lived("raid6 and raid1")
    del files["m1"]
    report = checked(files)
    assert [one.kind for one in report.findings] == ["member"] and "m1" in report.findings[0].sentence
    assert report.counts["grains read"]


def test_two_histories_are_both_shown_and_nothing_is_written() -> None:
    files = lived("raid1")
    for name in ("m0", "m1"):
        pool = reopen({name: PythonMember(files[name], name)}, degraded=True)
        volume(pool, "raid1-0").write(0, name.encode() * 2048)
        pool.close()
    before = {name: dict(file.pages) for name, file in files.items()}
    report = checked(files, repair=True)
    (one,) = report.findings
    assert one.kind == "history" and "two histories" in one.sentence
    assert "on m0" in one.sentence and "on m1" in one.sentence
    assert {name: file.pages for name, file in files.items()} == before


def test_no_pool_at_all() -> None:
    for given in ({}, {"letter": SimFile(MEMBER)}, {"a": SimFile(0)}):
        with pytest.raises(PoolError):
            checked(given)


# --- crashes


def _after(pool_name: str, script: crashes.Script, seed: int) -> None:
    """What a crash leaves is no damage, before it is opened again and afterwards."""
    disk, _ = crashes.run(pool_name, script, seed)
    step = 1 if LONG else max(1, disk.boundaries // 3)
    for boundary in range(seed % step, disk.boundaries, step):
        for crash in disk.crashes(exhaustive_below=2, samples=4 if LONG else 1, at={boundary}):
            with crash:
                report = checked(crash.files)
                assert report.clean, report.findings[:3]
                opened = crash.disk()
                reopen(opened.members)
                report = checked(opened.files)
                assert report.clean, report.findings[:3]
                repaired = copies(crash.files)
                assert checked(repaired, repair=True).clean
                pool = reopen({name: PythonMember(file, name) for name, file in repaired.items()})
                assert contents(pool) == contents(_opened(crash.files))


def _opened(files: Files) -> Pool:
    return reopen({name: PythonMember(file.copy(), name) for name, file in files.items()})


@pytest.mark.parametrize("pool_name", crashes.EVERY if LONG else ("raid5", "mixed", "raid1", "raid0"))
@pytest.mark.parametrize("script", crashes.SCRIPTS, ids=lambda script: script.__name__)
def test_what_a_crash_leaves_is_clean(pool_name: str, script: crashes.Script) -> None:
    _after(pool_name, script, 1)


@pytest.mark.parametrize("pool_name", crashes.EVERY)
@pytest.mark.parametrize("seed", range(20) if LONG else range(1))
def test_what_a_crash_leaves_of_random_calls_is_clean(pool_name: str, seed: int) -> None:
    _after(pool_name, crashes.random_calls, seed)


# --- junk


@pytest.mark.parametrize("seed", range(200) if LONG else range(25))
def test_random_damage_raises_nothing(seed: int) -> None:
    """Runs of junk, swapped and cut files: findings, or PoolError where there is no pool left."""
    dice = random.Random(seed)
    files = lived(dice.choice(list(POOLS)))
    for _ in range(dice.randint(1, 12)):
        file = dice.choice(list(files.values()))
        at = dice.choice([0, 4096, f.RING_AT, f.EXTENTS_AT]) + dice.randrange(dice.choice([600, 70_000, 4 * MIB]))
        file.write(at, dice.randbytes(dice.choice([1, 8, 600, 5000])))
    if dice.random() < 0.3:
        dice.choice(list(files.values())).resize(dice.randrange(MEMBER))
    for repair in (False, True):
        try:
            report = checked(files, repair=repair)
        except PoolError:
            continue
        assert all(one.sentence and one.sentence.isprintable() for one in report.findings)


@pytest.mark.parametrize("seed", range(300) if LONG else range(30))
def test_tables_of_junk_with_fitting_checksums_raise_nothing(seed: int) -> None:
    """A record, a page, whose bytes are somebody's mistake and whose checksums are right."""
    dice = random.Random(seed)
    files = lived("raid5")
    newest = view(files).commit
    record = bytearray(f.pack_commit(newest))
    for _ in range(dice.randint(1, 6)):
        record[dice.randrange(24, len(record))] = dice.randrange(256)
    record[12:16] = bytes(4)
    record[12:16] = crc32c(0, bytes(record)).to_bytes(4, "little")
    for file in files.values():
        file.write(f.RING_AT + newest.number % f.RING_PLACES * f.RING_PLACE_SIZE, bytes(record))
    report = checked(files)
    assert all(one.sentence for one in report.findings)
