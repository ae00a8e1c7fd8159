"""A copy of the log that went bad while the pool is open: a scrub finds it, and no member's loss costs anything."""

from __future__ import annotations

import random

import pytest

from storvirt.backing.member import PythonMember
from storvirt.pool import format as f
from storvirt.pool.pool import Pool
from storvirt.pool.repair import Scrub
from tests.support.crashdisk import CrashDisk
from tests.support.poolrig import EXTENT, MEMBER, Kind, audit, contents, make, reopen, volume

KINDS = (Kind("raid5"), Kind("raid6"))  # so that there are three copies


def scrubbed(pool: Pool) -> Scrub:
    job = Scrub(pool)
    while job.step():
        pass
    audit(pool)
    return job


def logged(pool: Pool, dice: random.Random, blocks: int) -> None:
    """Small writes: they are in the log and nowhere else."""
    for name in ("raid5-0", "raid6-1"):
        for _ in range(blocks):
            volume(pool, name).write(dice.randrange(0, 100 * 4096, 512), dice.randbytes(512))


def damage(disk: CrashDisk, pool: Pool, segment: int, copy: int, at: int) -> None:
    """A byte of one copy of a segment is another one."""
    slab = pool.engine.slab(segment)
    assert slab is not None
    member, extent = slab.places[copy]
    offset = f.EXTENTS_AT + extent * EXTENT + at
    file = disk.files[f"m{member}"]
    file.write(offset, bytes([file.read(offset, 1)[0] ^ 1]))


@pytest.mark.parametrize("copy", [0, 1, 2])
@pytest.mark.parametrize("older", [False, True], ids=["open", "closed"])
def test_a_scrub_finds_it(copy: int, older: bool) -> None:
    dice = random.Random(f"{copy} {older}")
    disk = CrashDisk({f"m{number}": MEMBER for number in range(4)})
    pool = make(list(disk.members.values()), KINDS)
    logged(pool, dice, 20)
    segment = pool.segments[-1].slab
    if older:
        pool.new_segment()
        logged(pool, dice, 5)
    damage(disk, pool, segment, copy, 4096)
    before = contents(pool)
    job = scrubbed(pool)
    assert (job.healed, job.lost) == (1, 0) and f"segment {segment} of the log was bad on m" in job.found[0]
    assert segment not in {row.slab for row in pool.segments}, "it was given up"
    assert sum(count for (_, what), count in pool.member_counts.items() if what == "healed") == 1
    again = scrubbed(pool)
    assert (again.healed, again.lost) == (0, 0) and contents(pool) == before
    for lost in disk.files:  # and the process is killed
        left = {name: PythonMember(file.copy(), name) for name, file in disk.files.items() if name != lost}
        assert contents(reopen(left, degraded=True)) == before
