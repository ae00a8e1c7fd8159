"""The library's door: storvirt.Pool on real files, without any daemon."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

import storvirt
from storvirt import Pool, PoolError
from storvirt.backing.errors import MemberError
from storvirt.backing.files import create_all
from storvirt.backing.memory import MemoryMember
from storvirt.backing.overlay import Overlay
from storvirt.block import BlockError
from storvirt.pool.files import OpenVolume
from tests.support.contracts_block import check_block, check_reopening

MIB = 1 << 20


@pytest.fixture
def files(folder: Path) -> list[str]:
    return [f"{folder}/{name}.img" for name in "abc"]


def make(files: list[str], size: int = 20 * MIB, raid: str = "raid5") -> Pool:
    pool = Pool.create(files, size=64 * MIB, name="p0")
    pool.create_volume("v0", size, raid=raid)
    return pool


def test_a_life(files: list[str]) -> None:
    with make(files) as pool:
        disk = pool.volume("v0")
        disk.pwrite(b"at any byte", 12345)
        disk.flush()
        assert disk.pread(13, 12344) == b"\0at any byte\0"
        (found,) = [extent for extent in disk.extents(0, disk.size) if extent.data]
        assert (found.offset, found.length) == (12288, 4096)
        disk.trim(0, disk.size)
        assert disk.pread(11, 12345) == bytes(11)
    with Pool.open(files[::-1]) as pool:
        assert (pool.name, pool.volumes) == ("p0", ["v0"])
        assert pool.volume("v0").pread(11, 12345) == bytes(11)
    assert [Path(file).stat().st_mode & 0o777 for file in files] == [0o600] * 3


@pytest.mark.parametrize("raid", ["linear", "raid0", "raid1", "raid4", "raid5"])
def test_a_volume_is_a_block(files: list[str], raid: str) -> None:
    made = [0]

    def fresh() -> OpenVolume:
        made[0] += 1
        return pool.create_volume(f"w{made[0]}", 4 * MIB, raid=raid)

    with Pool.create(files, size=256 * MIB) as pool:
        check_block(fresh)

    with Pool.open(files) as pool:
        check_reopening(lambda: pool.create_volume("again", 4 * MIB, raid=raid), lambda block: pool.volume("again"))


def test_one_opener_at_a_time_said_clearly(files: list[str]) -> None:
    with make(files):
        with pytest.raises(MemberError, match=rf"a\.img is open in process {os.getpid()}"):
            Pool.open(files)
        with pytest.raises(MemberError, match=r"a\.img is open in process"):
            Pool.open(files, read_only=True)
    Pool.open(files).close()


def test_many_may_look_at_once_and_nothing_changes(files: list[str]) -> None:
    with make(files) as pool:
        pool.volume("v0").pwrite(b"content", 0)
        pool.core.abandon()  # as if it had been killed: the log must be replayed by whoever opens it
    before = [Path(file).read_bytes() for file in files]
    with Pool.open(files, read_only=True) as one, Pool.open(files, read_only=True) as other:
        assert one.volume("v0").pread(7, 0) == other.volume("v0").pread(7, 0) == b"content"
        with pytest.raises(BlockError, match="read-only") as caught:
            one.volume("v0").pwrite(b"x", 0)
        assert caught.value.errno == errno.EPERM
        with pytest.raises(PoolError, match="open for reading only"):
            one.create_volume("v1", MIB)
        with pytest.raises(MemberError, match="is open in process"):
            Pool.open(files)
    assert [Path(file).read_bytes() for file in files] == before


def test_degraded_is_asked_for(files: list[str]) -> None:
    with make(files) as pool:
        pool.volume("v0").pwrite(b"content", 0)
    os.unlink(files[1])
    with pytest.raises(MemberError, match=r"b\.img: there is no such file"):
        Pool.open(files)
    with pytest.raises(PoolError, match="lacks 1 of 3 members"):
        Pool.open([files[0], files[2]])
    with Pool.open(files, degraded=True) as pool:
        assert pool.volume("v0").pread(7, 0) == b"content"
        assert [row["state"] for row in pool.status()["members"]] == ["in", "out", "in"]


@pytest.mark.parametrize("read_only", [False, True])
def test_a_closed_pool_says_so_and_nothing_else(files: list[str], read_only: bool) -> None:
    """Its members are not damaged, and it does not answer from memory."""
    make(files).close()
    pool = Pool.open(files, read_only=read_only)
    disk = pool.volume("v0")
    pool.close()
    pool.close()
    for call in (
        lambda: disk.pread(7, 0),
        lambda: disk.pwrite(b"x", 0),
        lambda: disk.trim(0, 4096),
        lambda: disk.extents(0, 4096),
        disk.flush,
    ):
        with pytest.raises(BlockError, match="pool p0 is closed") as caught:
            call()
        assert caught.value.errno == errno.ESHUTDOWN
    for ask in (lambda: pool.volume("v0"), lambda: pool.create_volume("v1", MIB)):
        with pytest.raises(PoolError, match="is closed"):
            ask()


def test_what_cannot_be_made_leaves_nothing(files: list[str]) -> None:
    Path(files[2]).write_text("mine")
    with pytest.raises(MemberError, match=r"c\.img exists already: a member is never made over a file"):
        Pool.create(files, size=64 * MIB)
    assert Path(files[2]).read_text() == "mine" and not os.path.exists(files[0])
    os.unlink(files[2])
    with pytest.raises(PoolError, match="bytes; with extents of"):
        Pool.create(files, size=MIB)
    with pytest.raises(PoolError, match="of a pool are a list, and"):
        Pool.create(files[0], size=64 * MIB)
    nowhere = os.path.join(os.path.dirname(files[0]), "none")
    with pytest.raises(MemberError, match=f"there is no folder {nowhere}; make it first"):
        Pool.create([files[0], f"{nowhere}/b.img"], size=64 * MIB)
    with pytest.raises(PoolError, match="1 to 64 members, not 0"):
        Pool.create([], size=64 * MIB)
    assert not any(map(os.path.exists, files))
    with pytest.raises(PoolError, match="none of the pool's files is there"):
        Pool.open(files, degraded=True)


def test_sentences_for_volumes(files: list[str]) -> None:
    with make(files) as pool:
        for call, sentence in (
            (lambda: pool.volume("v9"), "no volume 'v9'; its volumes are: v0"),
            (lambda: pool.create_volume("v0", MIB), "has a volume 'v0' already"),
            (lambda: pool.create_volume("v1", MIB, raid="raid9"), "no RAID level 'raid9'"),
            (lambda: pool.create_volume("v1", 1000), "a multiple of 4096 bytes"),
            (lambda: pool.grow_volume("v0", MIB), "can't shrink"),
            (lambda: pool.grow_volume("v0", 21 * MIB + 1), "a multiple of 4096 bytes"),
        ):
            with pytest.raises(PoolError, match=sentence):
                call()
        with pytest.raises(BlockError, match="passes the end"):
            pool.volume("v0").pread(1, 20 * MIB)


@pytest.mark.parametrize("sizes", [(20, 21), (1, 10_000), (1, 400_000)])
def test_a_volume_grows_and_keeps_what_it_has(files: list[str], sizes: tuple[int, int]) -> None:
    """Also where its tree becomes one or two levels higher, and when it is killed right behind."""
    small, large = (size * MIB for size in sizes)
    chance = random.Random(large)
    written = {}
    with make(files, small) as pool:
        for size in (small, large):
            disk = pool.grow_volume("v0", size)
            assert disk.size == size
            for offset in {0, size - 4096, chance.randrange(0, size - 4096)}:
                written[offset] = chance.randbytes(4096)
                disk.pwrite(written[offset], offset)
        pool.core.abandon()
    with Pool.open(files) as pool:
        disk = pool.volume("v0")
        assert disk.size == large
        assert {offset: disk.pread(4096, offset) for offset in written if offset % 4096 == 0} == {
            offset: data for offset, data in written.items() if offset % 4096 == 0
        }


def test_the_log_of_a_long_run_stays_small(files: list[str]) -> None:
    chance = random.Random(1)
    with make(files) as pool:
        disk = pool.volume("v0")
        for _ in range(3000):
            disk.pwrite(chance.randbytes(4096), chance.randrange(0, disk.size // 4096) * 4096)
        assert pool.status()["log"]["segments"] <= 4


# --- what it stands on


def test_an_overlay_reads_as_if_written_and_writes_nothing() -> None:
    below = MemoryMember(100_000)
    below.write(0, b"x" * 100_000)
    overlay = Overlay(below)
    image = bytearray(b"x" * 100_000)
    chance = random.Random(3)
    for _ in range(200):
        offset = chance.randrange(0, 100_000)
        data = chance.randbytes(chance.randrange(0, min(20_000, 100_000 - offset) + 1))
        overlay.write(offset, data)
        image[offset : offset + len(data)] = data
    assert overlay.read(0, 100_000) == image and overlay.read(99_999, 1) == image[-1:]
    assert below.read(0, 100_000) == b"x" * 100_000


def test_all_files_are_made_or_none(folder: Path) -> None:
    with pytest.raises(MemberError):
        create_all([f"{folder}/a", f"{folder}/none/b"], MIB)
    assert os.listdir(folder) == []


def test_importing_the_library_loads_nothing_that_is_not_asked_for() -> None:
    program = "import storvirt, sys; assert not [name for name in sys.modules if name.startswith('storvirt.')]; "
    program += "storvirt.Pool; assert 'asyncio' not in sys.modules and 'logging' not in sys.modules"
    subprocess.run([sys.executable, "-P", "-c", program], timeout=60, check=True)
    assert storvirt.PoolError is PoolError and storvirt.Suspended.__name__ == "Suspended"
    with pytest.raises(AttributeError, match="no attribute 'Puul'"):
        _ = storvirt.Puul
