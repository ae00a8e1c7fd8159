"""Members that come and go through the library's door, on real files: every job of storvirt.Pool."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from storvirt import Pool, PoolError
from storvirt.backing.errors import MemberError
from storvirt.pool import format as f
from storvirt.pool.job import Job

MIB = 1 << 20
CONTENT = random.Random(1).randbytes(12 * MIB)


@pytest.fixture
def files(folder: Path) -> list[str]:
    return [f"{folder}/{name}.img" for name in "abcd"]


@pytest.fixture
def pool(files: list[str]) -> Iterator[Pool]:
    with Pool.create(files, size=64 * MIB, name="p0") as pool:
        pool.create_volume("v0", 20 * MIB).pwrite(CONTENT, 0)
        yield pool


def states(pool: Pool) -> list[str]:
    return [row["state"] for row in pool.status()["members"]]


def whole(pool: Pool) -> bool:
    return pool.volume("v0").pread(len(CONTENT), 0) == CONTENT


def watched(pool: Pool, job: Job | None) -> None:
    """To the end, the volume being read and written in between; progress only grows."""
    assert job is not None and job.running
    before = job.progress.done
    while job.step():
        assert before <= job.progress.done <= job.progress.total
        before = job.progress.done
        pool.volume("v0").pwrite(b"meanwhile", 19 * MIB)
        assert pool.volume("v0").pread(4096, 4 * MIB) == CONTENT[4 * MIB : 4 * MIB + 4096]
    assert not job.running and not job.step() and whole(pool)


def test_one_comes_and_another_goes(pool: Pool, folder: Path) -> None:
    watched(pool, pool.add(folder / "e.img"))
    watched(pool, pool.rebalance())
    with pytest.raises(PoolError, match="pool p0 is balanced"):
        pool.rebalance()
    watched(pool, pool.remove("a.img"))
    watched(pool, pool.replace(1, folder / "f.img"))
    assert states(pool) == ["in", "removed", "in", "in", "in"], "a number that is free is taken again"
    job = pool.scrub()
    job.run()
    assert (job.found, job.lost, job.healed) == ([], 0, 0) and job.moved > len(CONTENT)
    watched(pool, pool.remove(4))
    with pytest.raises(PoolError, match="volume v0 of pool p0 does not allow it: raid5 needs at least 3 members"):
        pool.remove("c.img")
    assert whole(pool)


def test_one_at_a_time_and_called_off(pool: Pool, folder: Path) -> None:
    job = pool.replace("b.img", folder / "e.img")
    assert job.step()
    with pytest.raises(PoolError, match="a job is under way in pool p0: bring it to its end, or cancel it"):
        pool.scrub()
    assert pool.resume() is job
    back = job.cancel()
    assert not job.running
    if back is not None:
        back.run()
    assert states(pool)[:4] == ["in"] * 4 and whole(pool)
    pool.scrub().run()


def test_what_was_dropped_goes_on_in_the_next_opening(files: list[str], folder: Path) -> None:
    with Pool.create(files, size=64 * MIB, name="p0") as pool:
        pool.create_volume("v0", 20 * MIB).pwrite(CONTENT, 0)
        job = pool.remove("d.img")
        assert job is not None and job.step()
    with Pool.open(files) as pool:
        watched(pool, pool.resume())
        assert states(pool)[3] == "removed" and pool.resume() is None
        pool.add(folder / "e.img").run()
        spread = pool.rebalance()
        assert spread.step()
        pool.core.abandon()
    with Pool.open([*files[:3], folder / "e.img"]) as pool:
        watched(pool, pool.resume())
        assert not pool.core.flags & f.REBALANCING


def test_away_and_back(files: list[str], folder: Path) -> None:
    with Pool.create(files, size=64 * MIB) as pool:
        pool.create_volume("v0", 20 * MIB).pwrite(CONTENT, 0)
    os.rename(files[1], folder / "away.img")
    with Pool.open(files, degraded=True) as pool:
        pool.volume("v0").pwrite(b"x" * 4096, 15 * MIB)
        job = pool.rejoin(folder / "away.img")
        job.run()
        assert 0 < job.moved < MIB and states(pool) == ["in"] * 4
        os.truncate(files[0], 128 * MIB)
        assert pool.grow() == [files[0]]
        assert set(pool.grow(128 * MIB)) == {*files[2:], str(folder / "away.img")}
        assert whole(pool)


def test_a_spare_takes_a_place(pool: Pool, folder: Path) -> None:
    with pytest.raises(PoolError, match="pool p0 has no spare"):
        pool.replace("c.img")
    pool.add_spare(folder / "s.img")
    pool.add_spare(folder / "t.img")
    assert states(pool)[4:] == ["spare", "spare"] and pool.remove("t.img") is None
    watched(pool, pool.replace("c.img"))
    assert states(pool) == ["in", "in", "removed", "in", "in", "removed"]


def test_what_cannot_be_is_one_sentence_and_leaves_nothing(pool: Pool, files: list[str], folder: Path) -> None:
    for call, sentence in (
        (lambda: pool.remove("x.img"), "pool p0 has no one member 'x.img'; its members are: .*a.img"),
        (lambda: pool.remove(9), "has no one member '9'"),
        (lambda: pool.replace("a.img", files[1]), "exists already: a member is never made over a file"),
        (lambda: pool.add(folder / "none" / "e.img"), "there is no folder"),
        (lambda: pool.add(folder / "e.img", size=MIB), "it needs at least"),
        (lambda: pool.rejoin(files[0]), "is open in process"),
        (pool.grow, "no member of pool p0 has grown by an extent"),
    ):
        with pytest.raises((PoolError, MemberError), match=sentence):
            call()
    assert sorted(os.listdir(folder)) == ["a.img", "b.img", "c.img", "d.img"] and states(pool) == ["in"] * 4


def test_who_may_only_look_may_not_begin(files: list[str]) -> None:
    with Pool.create(files, size=64 * MIB):
        pass
    with Pool.open(files, read_only=True) as pool:
        for call in (pool.scrub, pool.rebalance, pool.resume, pool.grow, lambda: pool.remove(0)):
            with pytest.raises(PoolError, match="open for reading only"):
                call()
    with pytest.raises(PoolError, match="is closed"):
        pool.scrub()
