"""A member that leaves gives its columns to others where slabs stay as wide: little is written, and no crash hurts."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from storvirt.pool import format as f
from storvirt.pool.evacuate import Evacuate
from storvirt.pool.pool import Pool
from storvirt.pool.repair import Scrub
from storvirt.pool.widen import Add
from tests.support.crashdisk import CrashDisk
from tests.support.poolrig import (
    EXTENT,
    MEMBER,
    MIB,
    Begun,
    Kind,
    Story,
    audit,
    contents,
    formatted,
    reopen,
    settled,
    volume,
    volumes_of,
)
from tests.t3_stack.test_pool_evacuate_crash import finish, moments
from tests.t3_stack.test_pool_repair_crash import IDENT, LONG, some_writes


def begin(seed: int, kinds: Sequence[Kind], count: int = 3) -> tuple[CrashDisk, Story, Pool, random.Random]:
    """Full slabs, as wide as the members were many; and then there is a member more."""
    made, dice = CrashDisk({**formatted(count, kinds), "new": MEMBER}), random.Random(seed)
    pool = reopen({name: member for name, member in made.members.items() if name != "new"})
    content = {name: dice.randbytes(kind.size) for name, kind in volumes_of(kinds).items()}
    for name, data in content.items():
        volume(pool, name).write(0, data)
    Add(pool, made.members["new"], IDENT).run()
    pool.close()
    disk = CrashDisk({name: settled(file) for name, file in made.files.items()}, seed)
    story = Story(disk, kinds)
    for number, (name, data) in enumerate(content.items()):
        story.begun.append(Begun(name, 0, data))
        for what in (("begun", number), ("acknowledged", number), ("flushed", number + 1)):
            disk.mark(what)
    return disk, story, reopen(disk.members), dice


def written(disk: CrashDisk, since: int) -> int:
    """Bytes in extents."""
    writes = [event.args for event in disk.events[since:] if event.call == "write"]
    return sum(len(data) for offset, data in writes if offset >= f.EXTENTS_AT)


@pytest.mark.parametrize("gone", [True, False], ids=["out", "readable"])
@pytest.mark.parametrize("seed", range(8) if LONG else range(2))
def test_crashed_anywhere(seed: int, gone: bool) -> None:
    """Full slabs lose a column to the new member, others are emptied: both in one job."""
    disk, story, pool, dice = begin(seed, (Kind("raid5", 3 * MIB), Kind("raid1", MIB, 4096)))
    if gone:
        pool.lose(1, "pulled out")
    slabs = {slab.number for slab in pool.engine.all_slabs() if slab.use == f.DATA}
    job = Evacuate(pool, 1)
    while job.step():
        some_writes(pool, story, dice)
    assert pool.rows[1].state == f.REMOVED
    assert any(slab.number in slabs and slab.places[0][0] != 1 for slab in pool.engine.all_slabs())
    audit(pool)
    scrub = Scrub(pool)
    scrub.run()
    assert not scrub.found
    for crash in moments(disk, seed, 12):
        with crash:
            finish(crash, story)


@pytest.mark.parametrize(
    ("raid", "most"), [("raid5", 1.2), ("raid6", 1.2), ("raid1", 1.2), ("raid1c3", 1.2), ("linear", 1.2)]
)
def test_only_what_the_member_had_is_written(raid: str, most: float) -> None:
    """most: of the bytes that it held; all columns of everything would be 2 (raid1) to 4 (raid6) times as many."""
    kind = Kind(raid, 12 * MIB)
    disk, _story, pool, _dice = begin(1, (kind,), 4)
    pool.checkpoint()
    found = contents(pool)
    held = sum(
        slab.used * slab.column
        for slab in pool.engine.all_slabs()
        if slab.use == f.DATA and any(place[0] == 1 for place in slab.places)
    )
    before = len(disk.events)
    Evacuate(pool, 1).run()
    assert contents(pool) == found
    audit(pool)

    assert written(disk, before) <= most * held + 2 * EXTENT


@pytest.mark.parametrize("raid", ["raid4", "raid10", "raid50"])
def test_levels_with_a_place_for_everybody_are_cut_anew(raid: str) -> None:
    """Parity on one member, the same groups everywhere: as before."""
    _disk, _story, pool, _dice = begin(1, (Kind(raid, 4 * MIB),), 6)
    found = contents(pool)
    Evacuate(pool, 5).run()
    assert contents(pool) == found
    keepers = {slab.places[-1][0] for slab in pool.engine.all_slabs() if slab.profile == f.RAID4}
    assert len(keepers) <= 1
    audit(pool)
