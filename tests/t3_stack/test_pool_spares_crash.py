"""Spares that take a lost member's place, and a replacement that is called off; crashed at any moment."""

from __future__ import annotations

import random

import pytest

from storvirt.pool import format as f
from storvirt.pool.membership import add_member, best_spare, call_in, retire, unfinished
from storvirt.pool.pool import PoolError
from storvirt.pool.repair import Replace
from tests.support.crashdisk import CrashDisk
from tests.support.poolrig import MEMBER, MIB, Kind, Story, audit, contents, formatted, reopen, volume
from tests.support.simfile import SimFile
from tests.t3_stack.test_pool_evacuate_crash import moments
from tests.t3_stack.test_pool_repair_crash import IDENT, LONG, begin, opened, some_writes

pytestmark = [pytest.mark.long] if LONG else []  # then they may take long
KINDS = (Kind("raid5", MIB), Kind("raid1", MIB, 4096))


@pytest.mark.parametrize("seed", range(6) if LONG else range(2))
def test_a_spare_takes_the_place_of_a_lost_member(seed: int) -> None:
    disk, dice = CrashDisk({**formatted(3, KINDS), "new": MEMBER}, seed), random.Random(seed)
    story = Story(disk, KINDS)
    pool = reopen({name: disk.members[name] for name in ("m0", "m1", "m2")})
    for name in story.kinds:
        story.write(volume(pool, name), name, 0, dice.randbytes(5 * 65536))
    spare = add_member(pool, disk.members["new"], IDENT, spare=True)
    assert pool.rows[spare].state == f.SPARE and pool.member_name(spare) == "new" and len(pool.present()) == 3
    some_writes(pool, story, dice)
    pool.checkpoint()
    assert all(place[0] != spare for slab in pool.engine.all_slabs() for place in slab.places)
    pool.lose(1, "pulled out")
    assert best_spare(pool, 1) == spare
    call_in(pool, spare, 1)
    job = Replace(pool, 1, spare)
    while job.step():
        some_writes(pool, story, dice)
    assert pool.rows[1].state == f.REMOVED and not pool.spares and best_spare(pool, 0) is None
    audit(pool)
    for crash in moments(disk, seed, 20):
        with crash:
            pool = opened(crash)
            found = contents(pool)
            assert not story.allowed(crash.kind, crash.marks).differences(found)
            if pool.spares and pool.rows[1].state == f.OUT:
                call_in(pool, spare, 1)
            for old, new in unfinished(pool):
                again = Replace(pool, old, new)
                while again.step():
                    pass
            assert contents(pool) == found
            audit(pool)


def test_the_spare_that_fits_best() -> None:
    files: dict[str, int | SimFile] = {
        **formatted(3, KINDS),
        "small": MEMBER - MIB,
        "fits": MEMBER,
        "large": MEMBER + MIB,
    }
    disk = CrashDisk(files, 1)
    pool = reopen({name: disk.members[name] for name in ("m0", "m1", "m2")})
    numbers = {
        name: add_member(pool, disk.members[name], name.ljust(16).encode(), spare=True)
        for name in ("large", "small", "fits")
    }
    for name in ("fits", "large", "small"):
        assert best_spare(pool, 1) == numbers[name]
        retire(pool, numbers[name], f.NOBODY)
    assert best_spare(pool, 1) is None and not pool.spares
    pool.close()
    again = CrashDisk({name: disk.files[name] for name in ("m0", "m1", "m2")}, 1)
    assert len(reopen(again.members).present()) == 3


@pytest.mark.parametrize("far", [0, 1, 2])
@pytest.mark.parametrize("gone", [True, False], ids=["lost", "readable"])
def test_a_replacement_is_called_off(far: int, gone: bool) -> None:
    """Back to the old member if it is there; else the new one stays, as one more."""
    disk, story, pool, dice = begin(far, False)
    if gone:
        pool.lose(1, "pulled out")

    def held() -> bool:
        return any(place[0] == 4 for slab in pool.engine.all_slabs() for place in slab.places)

    job = Replace(pool, 1, disk.members["new"], IDENT)
    if far:
        assert job.step()
    while far == 2 and not held():
        some_writes(pool, story, dice)
        assert job.step()
    found, has = contents(pool), held()
    back = job.cancel()
    assert (back is not None) == (has and not gone)
    assert contents(pool) == found
    if back is None:
        assert unfinished(pool) == [] and pool.rows[1].state == (f.OUT if gone else f.IN)
        assert pool.rows[4].state == (f.IN if has else f.REMOVED)
    else:
        assert not gone and unfinished(pool) == [(4, 1)]
        while back.step():
            some_writes(pool, story, dice)
        assert pool.rows[1].state == f.IN and pool.rows[4].state == f.REMOVED
    audit(pool)
    for crash in moments(disk, far, 15):
        with crash:
            try:
                pool = opened(crash)
            except PoolError:
                raise AssertionError(crash.story) from None
            assert not story.allowed(crash.kind, crash.marks).differences(contents(pool))
