"""A member takes the place of another one although it has been a member like others before.

It happens when the one that was meant to take the place is lost, and another takes its place: between the two, slabs
are cut from both the old member and the new one.
"""

from __future__ import annotations

import random

import pytest

from storvirt.backing.member import PythonMember
from storvirt.pool import format as f
from storvirt.pool.membership import add_member
from storvirt.pool.pool import Pool
from storvirt.pool.repair import Replace, Scrub
from tests.support.crashdisk import CrashDisk
from tests.support.poolrig import MEMBER, MIB, Kind, audit, contents, formatted, reopen, volume

KINDS = (Kind("raid5", 4 * MIB), Kind("raid1", 2 * MIB, 4096))
IDENT = b"the new one's id"


def scribble(pool: Pool, dice: random.Random, writes: int) -> None:
    for row in pool.volume_rows.values():
        for _ in range(writes):
            length = dice.choice((512, 4096, row.grain, 4 * row.grain, 300_032))
            volume(pool, row.name).write(dice.randrange(0, row.size - length, 512), dice.randbytes(length))


@pytest.mark.parametrize("gone", [True, False], ids=["lost", "readable"])
@pytest.mark.parametrize("checkpointed", [True, False])
def test_no_slab_has_two_columns_on_it(gone: bool, checkpointed: bool) -> None:
    dice = random.Random(3)
    disk = CrashDisk({**formatted(4, KINDS), "new": MEMBER})
    pool = reopen({name: disk.members[name] for name in ("m0", "m1", "m2", "m3")})
    scribble(pool, dice, 10)
    new = add_member(pool, disk.members["new"], IDENT)
    scribble(pool, dice, 30)
    if checkpointed:
        pool.checkpoint()
    numbers = [{place[0] for place in slab.places} for slab in pool.engine.all_slabs()]
    assert any({1, new} <= places for places in numbers), "this tests nothing"
    if gone:
        pool.lose(1, "pulled out")
    before = contents(pool)
    job = Replace(pool, 1, new)
    while job.step():
        assert contents(pool) == before
    assert pool.rows[1].state == f.REMOVED and contents(pool) == before
    audit(pool)
    for slab in pool.engine.all_slabs():
        assert len({place[0] for place in slab.places}) == slab.width
    scrub = Scrub(pool)
    while scrub.step():
        pass
    assert (scrub.healed, scrub.lost) == (0, 0)
    for lost in ("m0", "m2", "m3", "new"):
        files = {name: disk.files[name].copy() for name in ("m0", "m2", "m3", "new") if name != lost}
        again = reopen({name: PythonMember(file, name) for name, file in files.items()}, degraded=True)
        assert contents(again) == before
