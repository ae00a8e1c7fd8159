"""A scrub that is cut short goes on where it was; what it finds beside grains."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from storvirt import Pool, PoolError
from storvirt.pool import format as f
from storvirt.pool import repair
from storvirt.pool.repair import Scrub

MIB = 1 << 20
SIZE = 64 * MIB
GRAINS = 2048  # of each volume, 4 KiB each
UNIT = 64


@pytest.fixture(autouse=True)
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f, "SCRUB_UNIT", UNIT)
    monkeypatch.setattr(repair, "GRAINS_A_RECORD", 4 * UNIT)


@pytest.fixture
def files(folder: Path) -> list[str]:
    return [f"{folder}/{name}.img" for name in "abcd"]


@pytest.fixture
def pool(files: list[str]) -> Iterator[Pool]:
    with Pool.create(files, size=SIZE, name="p0") as pool:
        for name in ("v0", "v1"):
            fill(pool, name)
        yield pool


def fill(pool: Pool, name: str) -> None:
    pool.create_volume(name, GRAINS * 4096, grain=4096).pwrite(random.Random(name).randbytes(GRAINS * 4096), 0)
    pool.core.checkpoint()


def damage(pool: Pool, name: str, grain: int) -> None:
    """A byte of it is another one on a member."""
    core = pool.core
    disk = next(disk for disk in core.engine.disks.values() if disk.row.name == name)
    found = core.engine.slot_content(disk, grain)
    assert found is not None
    slab, slot, _content = found
    number, extent = slab.places[0]
    at = f.EXTENTS_AT + extent * core.extent + slot * slab.column
    with open(core.member_name(number), "r+b", buffering=0) as file:
        byte = os.pread(file.fileno(), 1, at)
        os.pwrite(file.fileno(), bytes([byte[0] ^ 1]), at)


def scrubbed_to(pool: Pool, done: int) -> None:
    job = pool.scrub()
    while job.progress.done < done:
        assert job.step()


def resumed(pool: Pool) -> Scrub:
    job = pool.resume()
    assert isinstance(job, Scrub)
    job.run()
    assert pool.core.flags == 0 and pool.resume() is None
    return job


@pytest.mark.parametrize("how", ["closed", "killed"])
def test_it_goes_on_where_it_was(pool: Pool, files: list[str], how: str) -> None:
    scrubbed_to(pool, GRAINS * 3 // 2)
    pool.close() if how == "closed" else pool.core.abandon()
    with Pool.open(files) as again:
        damage(again, "v0", 5)  # seen already: the next scrub finds it
        damage(again, "v1", GRAINS - 5)
        job = resumed(again)
        assert job.moved < GRAINS * 4096 and job.progress.done == job.progress.total
        assert (job.healed, job.lost) == (1, 0) and f"grain {GRAINS - 5} of volume v1" in job.found[0]
        job = again.scrub()
        job.run()
        assert (job.healed, job.lost) == (1, 0) and "grain 5 of volume v0" in job.found[0]


def test_what_is_new_since_is_seen(pool: Pool, files: list[str]) -> None:
    scrubbed_to(pool, GRAINS * 3 // 2)
    pool.close()
    with Pool.open(files) as again:
        fill(again, "v2")
        again.grow_volume("v0", 2 * GRAINS * 4096)
        damage(again, "v2", 0)
        damage(again, "v1", GRAINS - 1)
        assert resumed(again).healed == 2


def test_one_that_is_called_off_or_begun_anew_has_no_place(pool: Pool) -> None:
    scrubbed_to(pool, GRAINS)
    assert pool.core.flags >> f.SCRUBBED
    job = pool.resume()
    assert job is not None
    job.cancel()
    assert pool.core.flags == 0
    scrubbed_to(pool, GRAINS)
    pool.core.abandon()


def test_superblocks_are_mended(pool: Pool, files: list[str]) -> None:
    before = Path(files[1]).read_bytes()[: 2 * f.SUPER_SIZE]
    for at, length in ((0, 100), (f.SUPER_SIZE + 8, 100), (0, 2 * f.SUPER_SIZE), (f.SUPER_SIZE, f.SUPER_SIZE)):
        with open(files[1], "r+b") as file:
            file.seek(at)
            file.write(os.urandom(length))
        job = pool.scrub()
        job.run()
        assert job.healed == 1 + (length > f.SUPER_SIZE) and f"a superblock of member {files[1]}" in job.found[0]
        assert Path(files[1]).read_bytes()[: 2 * f.SUPER_SIZE] == before
    job = pool.scrub()
    job.run()
    assert job.healed == 0


def test_after_a_replacement_that_died_the_old_member_takes_new_content_again(pool: Pool, folder: Path) -> None:
    job = pool.replace("b.img", folder / "new.img")
    assert job.step() and pool.core.space.leaving == {1}
    pool.core.lose(4, "it was removed")
    with pytest.raises(PoolError, match="put another one in its place"):
        job.run()
    before = {slab.number for slab in pool.core.engine.all_slabs()}
    fill(pool, "v2")
    new = [slab for slab in pool.core.engine.all_slabs() if slab.number not in before]
    assert any(place[0] == 1 for slab in new for place in slab.places)
    assert pool.core.space.free(1) < pool.core.space.free(1) + 1
