"""Reads of many grains: those that lie side by side are read with one call for each column, and nothing of what a
single grain is promised is given up for it."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import pytest

from storvirt.backing.file import FileMember
from storvirt.backing.member import PythonMember
from storvirt.block import BlockError
from storvirt.pool import format as f
from storvirt.pool.errors import Suspended
from storvirt.pool.pool import Pool
from storvirt.raid.layout import PROFILES
from storvirt.volume.volume import Volume
from tests.support.coldmember import ColdFile
from tests.support.poolrig import EXTENT, MEMBER, MIB, Kind, make, volume

BLOCK = 4096
TOGETHER = 1 << 20


class Counted(ColdFile):
    """`reads`: (offset, length) of each; those that touch a byte of `bad` fail."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.reads: list[tuple[int, int]] = []
        self.bad = range(0)

    def read(self, offset: int, length: int) -> bytes:
        self.reads.append((offset, length))
        if offset < self.bad.stop and self.bad.start < offset + length:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().read(offset, length)


class Rig:
    """A volume of 2 MiB whose first `amount` bytes were written once, in order, and nothing else."""

    def __init__(self, raid: str, count: int, grain: int = 32768, amount: int = MIB) -> None:
        self.files = [Counted(MEMBER) for _ in range(count)]
        members = [PythonMember(file, f"m{number}") for number, file in enumerate(self.files)]
        self.pool: Pool = make(members, [Kind(raid, 2 * MIB, grain)])
        self.volume: Volume = volume(self.pool, f"{raid}-0")
        self.data = random.Random(count).randbytes(amount)
        self.volume.write(0, self.data)
        self.pool.checkpoint()
        for file in self.files:
            file.reads.clear()

    def place(self, block: int) -> tuple[Counted, int]:
        """Where the first byte of a block lies."""
        disk = self.volume._disk
        found = disk.map.entry(block * BLOCK // disk.grain)
        assert found is not None
        slab = self.pool.engine.slab(found[0])
        assert slab is not None
        column, inside = divmod(block * BLOCK % disk.grain, slab.column)
        place = slab.places[column]
        return self.files[place.member], f.EXTENTS_AT + place.extent * EXTENT + found[1] * slab.column + inside

    @property
    def reads(self) -> list[tuple[int, int]]:
        return [read for file in self.files for read in file.reads]


@pytest.mark.parametrize(
    ("raid", "count", "data"),
    [("linear", 1, 1), ("raid0", 3, 3), ("raid1", 2, 1), ("raid10", 4, 2), ("raid5", 4, 3), ("raid6", 5, 3)],
)
def test_one_call_for_each_column(raid: str, count: int, data: int) -> None:
    """Of up to a mebibyte: what is behind a member may be far away."""
    rig = Rig(raid, count, amount=TOGETHER)
    assert rig.volume.read(0, TOGETHER) == rig.data
    assert len(rig.reads) == data
    assert sum(length for _, length in rig.reads) <= TOGETHER * 1.05


@pytest.mark.parametrize("grain", [4096, 32768, 262144])
@pytest.mark.parametrize("raid", PROFILES)
def test_what_is_read_at_once_is_what_its_blocks_hold(raid: str, grain: int) -> None:
    """Holes, grains that were rewritten into other slots, and blocks that are still in the log lie among the others."""
    count = PROFILES[raid].members + 1 if PROFILES[raid].wide else PROFILES[raid].members
    rig, dice = Rig(raid, count, grain), random.Random(raid)
    model = bytearray(rig.data.ljust(2 * MIB, b"\0"))
    for grains, size in ((12, grain), (40, BLOCK)):
        for _ in range(grains):
            at, data = dice.randrange(2 * MIB // size) * size, dice.randbytes(size)
            rig.volume.write(at, data)
            model[at : at + size] = data
        for _ in range(6):
            at = dice.randrange(2 * MIB)
            length = dice.randrange(2 * MIB - at)
            assert rig.volume.read(at, length) == model[at : at + length]
        assert rig.volume.read(0, 2 * MIB) == model
        rig.pool.checkpoint()
    assert rig.pool.engine.counts["healed"] == rig.pool.engine.counts["unhealed"] == 0


def test_one_damaged_block_among_others_is_healed_and_no_other_is_named() -> None:
    rig = Rig("raid5", 4)
    file, at = rig.place(77)
    file.bytes[at] ^= 1
    assert rig.volume.read(0, MIB) == rig.data
    assert rig.pool.engine.counts["healed"] == 1
    assert rig.pool.engine.to_heal == {(rig.volume._disk.number, 77 * BLOCK // 32768)}


@pytest.mark.parametrize("column", range(3))
def test_a_member_that_is_out_costs_its_redundancy_and_nothing_else(column: int) -> None:
    rig = Rig("raid5", 4)
    slab = next(slab for slab in rig.pool.engine.all_slabs() if slab.use == f.DATA and slab.used)
    rig.pool.lose(slab.places[column].member, "test")
    assert rig.volume.read(0, MIB) == rig.data
    assert rig.pool.engine.counts["degraded-reads"] and not rig.pool.engine.counts["healed"]


def test_an_unreadable_place_is_tried_again_with_its_grain_only() -> None:
    """A disk may take half a minute to give up on one sector."""
    rig = Rig("raid0", 2)
    file, at = rig.place(40)
    file.bad = range(at, at + 512)
    with pytest.raises(BlockError) as caught:
        rig.volume.read(0, MIB)
    assert caught.value.errno == errno.EIO
    tries = len([None for offset, length in file.reads if offset <= at < offset + length])
    once = len(file.reads)
    assert rig.volume.read(0, 40 * BLOCK) + rig.volume.read(41 * BLOCK, MIB - 41 * BLOCK) == (
        rig.data[: 40 * BLOCK] + rig.data[41 * BLOCK :]
    )
    file.reads.clear()
    with pytest.raises(BlockError):
        rig.volume.read(40 * BLOCK, BLOCK)
    alone = len([None for offset, length in file.reads if offset <= at < offset + length])
    assert tries <= alone + 1
    assert once <= MIB // 32768


def test_an_inner_member_that_gives_too_little_is_an_error_and_no_wrong_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig("raid1", 2)
    monkeypatch.setattr(rig.place(0)[0], "read", lambda offset, length: bytes(length - 1))
    assert rig.volume.read(0, MIB) == rig.data


def test_a_file_that_was_cut_short_gives_what_it_has(tmp_path: Path) -> None:
    member = FileMember.create(tmp_path / "m", MEMBER)
    pool = make([member], [Kind("linear", 2 * MIB)])
    disk, data = volume(pool, "linear-0"), random.Random(1).randbytes(MIB)
    disk.write(0, data)
    pool.checkpoint()
    found = disk._disk.map.entry(16)
    assert found is not None
    slab = pool.engine.slab(found[0])
    assert slab is not None
    os.truncate(tmp_path / "m", f.EXTENTS_AT + slab.places[0].extent * EXTENT + found[1] * 32768 + 100)
    assert disk.read(0, MIB // 2) == data[: MIB // 2]
    for at in (0, MIB // 2):
        with pytest.raises((BlockError, Suspended)):
            disk.read(at, MIB - at)
