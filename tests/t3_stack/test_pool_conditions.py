"""A pool in the middle of something says so in plain words, whoever asks: status, inspect, fsck."""

from __future__ import annotations

import errno

import pytest

from storvirt.pool import format as f
from storvirt.pool import states
from storvirt.pool.evacuate import Evacuate
from storvirt.pool.fsck import fsck
from storvirt.pool.inspection import inspect
from storvirt.pool.pool import Pool
from storvirt.pool.repair import Replace, Scrub
from storvirt.pool.widen import Add, Rebalance
from tests.support.crashdisk import CrashDisk
from tests.support.poolrig import MEMBER, MIB, Kind, formatted, reopen, volume
from tests.t3_stack.test_pool_repair_crash import IDENT
from tools.storage import conditions, member_table, state

KINDS = (Kind("raid5", 2 * MIB),)


def begun(count: int = 4) -> tuple[CrashDisk, Pool]:
    disk = CrashDisk({**formatted(count, KINDS), "new": MEMBER})
    pool = reopen({name: member for name, member in disk.members.items() if name != "new"})
    volume(pool, "raid5-0").write(0, b"content" * 200_000)
    pool.flush()
    return disk, pool


def said(disk: CrashDisk, pool: Pool) -> tuple[str, ...]:
    """What fsck notes of these files; status and inspect have the same words."""
    told = [row for row in pool.status()["members"] if row["state"] != "removed"]
    looked = inspect(pool, "raid5-0", 0)["members"]
    assert [row["condition"] for row in told] == [row["condition"] for row in looked]
    rows = [{**row, "path": row["name"]} for row in told]
    assert all(sentence in member_table({"pool": {"members": rows}}) for sentence in conditions(rows))
    return fsck([disk.members[name] for name in disk.files if name != "new" or len(pool.rows) > 4]).notes


def test_nothing_is_said_of_a_pool_that_is_well() -> None:
    disk, pool = begun()
    assert said(disk, pool) == () and conditions(pool.status()["members"]) == []


def test_one_that_leaves() -> None:
    disk, pool = begun()
    job = Evacuate(pool, 2)
    assert job.step()
    assert said(disk, pool) == (f"m2 is leaving: {states.MEANING[states.LEAVING]}",)
    while job.step():
        pass
    assert said(disk, pool) == () and conditions(pool.status()["members"]) == []


def test_one_that_is_being_replaced() -> None:
    disk, pool = begun()
    assert Replace(pool, 1, disk.members["new"], IDENT).step()
    assert said(disk, pool) == (f"m1 is being replaced: {states.MEANING[states.REPLACED]}",)


def test_one_whose_fsync_failed() -> None:
    disk, pool = begun()
    disk.fail(errno.EIO, "m3", "sync", times=1)
    volume(pool, "raid5-0").write(0, b"more")
    pool.flush()
    assert pool.rows[3].successor == f.ENDED
    assert states.said("m3", states.ENDED) in said(disk, pool)


def test_data_that_is_being_spread() -> None:
    disk, pool = begun()
    Add(pool, disk.members["new"], IDENT).run()
    job = Rebalance(pool)
    assert job.step()
    assert said(disk, pool) == ("what there is is being spread over all members: the next opening goes on with that",)
    job.run()
    assert said(disk, pool) == ()
    scrub = Scrub(pool)
    assert scrub.step() and said(disk, pool) == ("a scrub was cut short: the next opening begins it again",)
    scrub.cancel()
    assert said(disk, pool) == ()


@pytest.mark.parametrize("kind", ["replace", "rejoin", "strengthen", "scrub", "add", "rebalance", "remove"])
def test_a_pool_at_work_has_a_word_for_it(kind: str) -> None:
    value = {"pool": {"suspended": "", "members": []}, "task": {"kind": kind, "state": "running"}}
    assert state(value).endswith("ing") and state({**value, "task": None}) == "up"
