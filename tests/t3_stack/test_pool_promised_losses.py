"""What `vfab pool plan` says of a level, what an opening accepts unasked, and what can be read: the same."""

from __future__ import annotations

import itertools

import pytest

from daemons.stord_open import _Members, _within_tolerance
from storvirt.backing.member import PythonMember
from storvirt.block import BlockError
from storvirt.pool import format as f
from storvirt.pool.assemble import look
from storvirt.pool.plan import plan
from storvirt.pool.pool import PoolError
from tests.support.crashdisk import CrashDisk
from tests.support.poolrig import EXTENT, MEMBER, MIB, Kind, contents, formatted, reopen, volume

LEVELS = [("linear", 2), ("raid0", 3), ("raid1", 2), ("raid1c3", 4), ("raid10", 6), ("raid4", 4), ("raid5", 3),
          ("raid6", 5), ("raid7", 6), ("raid50", 6), ("raid60", 8)]  # fmt: skip


def accepted(commit: f.Commit, left: list[PythonMember]) -> bool:
    members = _Members()
    members.found = {member.name: look(member) for member in left}
    try:
        _within_tolerance(commit, members)
    except PoolError as error:
        assert "bring them back" in str(error) or "bring it back" in str(error)
        return False
    return True


def readable(left: list[PythonMember], found: dict[str, bytes]) -> bool:
    try:
        return contents(reopen({member.name: member for member in left}, degraded=True)) == found
    except (PoolError, BlockError):
        return False


@pytest.mark.parametrize(("raid", "count"), LEVELS, ids=[raid for raid, _ in LEVELS])
def test_what_is_promised_is_accepted_and_nothing_else(raid: str, count: int) -> None:
    """Of the losses of one more, those that the plan counts can be read as well, when somebody says --degraded."""
    disk = CrashDisk(formatted(count, (Kind(raid, 2 * MIB),)))
    pool = reopen(disk.members)
    volume(pool, f"{raid}-0").write(0, bytes(range(256)) * 8192)
    commit, found = pool.commit_value(), contents(pool)
    pool.close()
    one = plan([MEMBER] * count, raid, 32768, EXTENT)
    survived = 0
    for lost in range(1, one.tolerance + 2):
        for gone in itertools.combinations(disk.files, lost):
            left = [PythonMember(file.copy(), name) for name, file in disk.files.items() if name not in gone]
            assert accepted(commit, left) == (lost <= one.tolerance), gone
            read = bool(left) and readable(left, found)
            assert read or lost > one.tolerance, gone
            survived += read and lost > one.tolerance
    assert one.survived is not None and survived >= one.survived[0]
