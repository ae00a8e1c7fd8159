"""Taking a member out of a pool, under writes, crashed at any moment: nothing is lost, and the job goes on or back."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import pytest

from storvirt.backing.member import PythonMember
from storvirt.pool import format as f
from storvirt.pool.evacuate import Evacuate
from storvirt.pool.membership import unfinished
from storvirt.pool.pool import Pool, PoolError
from tests.support.crashdisk import Crash, CrashDisk
from tests.support.poolrig import MIB, Kind, Story, audit, contents, formatted, reopen, volume
from tests.t3_stack.test_pool_repair_crash import LONG, some_writes

pytestmark = [pytest.mark.long] if LONG else []  # then they may take long
KINDS = (Kind("raid5", MIB), Kind("raid1", MIB, 4096), Kind("linear", MIB))


def begin(
    seed: int, count: int, gone: bool, kinds: Sequence[Kind] = KINDS
) -> tuple[CrashDisk, Story, Pool, random.Random]:
    """A pool with content in grains and in the log; its member 1 is out, or there."""
    if gone:
        kinds = [kind for kind in kinds if kind.raid != "linear"]
    disk, dice = CrashDisk({**formatted(count, kinds)}, seed), random.Random(seed)
    story = Story(disk, kinds)
    pool = reopen(disk.members)
    for name in story.kinds:
        story.write(volume(pool, name), name, 0, dice.randbytes(5 * 65536))
    for _ in range(4):
        some_writes(pool, story, dice)
    pool.checkpoint()
    if gone:
        pool.lose(1, "pulled out")
    some_writes(pool, story, dice)
    return disk, story, pool, dice


def moments(disk: CrashDisk, seed: int, most: int) -> Iterator[Crash]:
    """A crash at each of some boundaries; of eight times as many in the long run."""
    step = max(1, disk.boundaries // (8 * most if LONG else most))
    for boundary in range(seed % step, disk.boundaries, step):
        yield random.Random(boundary).choice(list(disk.crashes(exhaustive_below=2, samples=3, at={boundary})))


def opened(crash: Crash) -> Pool:
    """Without the one that is out, or none any more."""
    for without in ((), ("m1",)):
        try:
            return reopen(crash.members(without=without), degraded=bool(without))
        except PoolError:
            continue
    raise AssertionError("no set of the files makes a pool")


@pytest.mark.parametrize("gone", [True, False], ids=["out", "readable"])
@pytest.mark.parametrize("seed", range(8) if LONG else range(2))
def test_a_member_is_removed(seed: int, gone: bool) -> None:
    disk, story, pool, dice = begin(seed, 4, gone)
    job = Evacuate(pool, 1)
    assert unfinished(pool) == [(1, f.LEAVING)]
    while job.step():
        some_writes(pool, story, dice)
        if dice.random() < 0.1:
            pool.checkpoint()
    some_writes(pool, story, dice)
    assert pool.rows[1].state == f.REMOVED and 0 < job.progress.done <= job.progress.total
    assert all(place[0] != 1 for slab in pool.engine.all_slabs() for place in slab.places)
    audit(pool)
    for crash in moments(disk, seed, 16):
        with crash:
            finish(crash, story)


def finish(crash: Crash, story: Story) -> None:
    """Opened after a crash: the content is right; the job goes on, or is called off; then any may be lost."""
    pool = opened(crash)
    found = contents(pool)
    assert not story.allowed(crash.kind, crash.marks).differences(found)
    audit(pool)
    for number, who in unfinished(pool):
        assert (number, who) == (1, f.LEAVING)
        job = Evacuate(pool, 1)
        back = crash.boundary % 2 and pool.rows[1].state == f.IN and job.step()  # there may be one step left only
        if back:
            job.cancel()
        while not back and job.step():
            pass
        assert unfinished(pool) == [] and pool.rows[1].state == (f.IN if back else f.REMOVED)
        assert contents(pool) == found
        audit(pool)
        volume(pool, "raid5-0").write(0, found["raid5-0"][:100_000])
    if "linear-2" not in story.kinds and all(row.state != f.OUT for row in pool.rows):
        pool.lose(sorted(pool.present())[crash.boundary % 3], "pulled out")
        assert contents(pool) == found


@pytest.mark.parametrize("raid", ["raid4", "raid6", "raid7", "raid10", "raid1c3", "raid50"])
@pytest.mark.parametrize("leaves", [0, 6])
def test_every_level_goes_on_with_a_member_less(raid: str, leaves: int) -> None:
    disk, _story, pool, _dice = begin(3, 7, False, (Kind(raid, 2 * MIB),))
    found = contents(pool)
    job = Evacuate(pool, leaves)
    while job.step():
        assert contents(pool) == found
    audit(pool)
    pool.close()
    files = {name: file.copy() for name, file in disk.files.items() if name != f"m{leaves}"}
    for lost in files:
        pool = reopen({n: PythonMember(x.copy(), n) for n, x in files.items() if n != lost}, degraded=True)
        assert contents(pool) == found


def test_what_does_not_fit_is_refused() -> None:
    pool = begin(1, 3, False)[2]
    before = list(pool.rows)
    with pytest.raises(PoolError, match="volume raid5-0 of pool rig does not allow it: raid5 needs at least 3 members"):
        Evacuate(pool, 2)
    with pytest.raises(PoolError, match="no member number 9"):
        Evacuate(pool, 9)
    assert list(pool.rows) == before and unfinished(pool) == []


@pytest.mark.parametrize(("raid", "most", "holes"), [("raid5", 32, 0), ("raid1", 24, 0), ("raid1", 24, 3)])
def test_what_is_not_refused_fits(raid: str, most: int, holes: int) -> None:
    """Whatever there is in the pool: either the sentence before anything is done, or it comes to its end. holes: of so
    many grains one was trimmed."""
    refused, name = [], f"{raid}-0"
    for mib in range(8, most, 2):
        disk = CrashDisk({**formatted(4, (Kind(raid, 32 * MIB),))}, 1)
        content = bytearray(random.Random(mib).randbytes(mib << 20))
        pool = reopen(disk.members)
        volume(pool, name).write(0, bytes(content))
        for at in range(0, len(content) if holes else 0, holes * 32768 or 1):
            volume(pool, name).zero(at, 32768)
            content[at : at + 32768] = bytes(32768)
        try:
            job = Evacuate(pool, 3)
        except PoolError as error:
            assert "have no room for what m3 holds; add a member first" in str(error)
            refused.append(mib)
            continue
        while job.step():
            pass
        assert volume(pool, name).read(0, len(content)) == content
        audit(pool)
    assert 1 <= len(refused) <= 8 and refused == list(range(refused[0], most, 2))


def test_a_member_that_fails_while_it_leaves_leaves_all_the_same() -> None:
    _disk, _story, pool, _dice = begin(2, 4, False, KINDS[:2])
    job = Evacuate(pool, 1)
    assert job.step()
    pool.lose(1, "pulled out")
    found = contents(pool)
    while job.step():
        assert contents(pool) == found
    assert pool.rows[1].state == f.REMOVED and contents(pool) == found
    pool.lose(2, "pulled out")
    assert contents(pool) == found
    audit(pool)
