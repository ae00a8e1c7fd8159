"""What members are called that are not there: so that nobody is told to replace the wrong one."""

from __future__ import annotations

from daemons.stord_search import name_absent
from storvirt.pool import format as f
from storvirt.pool.pool import Pool
from tests.support.crashdisk import CrashDisk
from tests.support.poolrig import MEMBER, Kind, make


def pool_of(hints: list[str]) -> Pool:
    disk = CrashDisk({f"m{number}": MEMBER for number in range(len(hints))})
    pool = make(list(disk.members.values()), [Kind("raid5")])
    pool.rows[:] = [row._replace(hint=hint) for row, hint in zip(pool.rows, hints, strict=True)]
    return pool


def named(pool: Pool, numbers: dict[int, str], listed: list[str], left_out: set[str]) -> dict[int, str]:
    found = dict(numbers)
    name_absent(found, listed, pool, left_out)
    return {number: path for number, path in found.items() if number not in numbers}


def test_where_it_was_last_seen_and_else_what_the_list_has_at_its_place() -> None:
    pool = pool_of(["/p/a", "/p/b", "/p/c"])
    assert named(pool, {0: "/p/a"}, ["/p/a", "/p/b", "/p/c"], {"/p/b", "/p/c"}) == {1: "/p/b", 2: "/p/c"}
    assert named(pool, {0: "/q/a"}, ["/q/a", "/q/b", "/q/c"], {"/q/b", "/q/c"}) == {1: "/q/b", 2: "/q/c"}
    assert named(pool, {0: "/q/a", 2: "/q/c"}, ["/q/c", "/q/a", "/q/b"], {"/q/b"}) == {1: "/q/b"}


def test_it_is_not_called_what_one_was_called_that_is_removed() -> None:
    """The lab file lists b, whose place d has taken; d is not in the lab file, and not there."""
    pool = pool_of(["/p/a", "/p/b", "/p/c", "/q/d"])
    pool.rows[1] = pool.rows[1]._replace(state=f.REMOVED, successor=3)
    assert named(pool, {0: "/p/a", 2: "/p/c"}, ["/p/a", "/p/b", "/p/c"], {"/p/b"}) == {3: "/q/d"}


def test_one_that_came_later_is_not_called_what_the_list_has() -> None:
    """d has the number of b, which was removed, and b is still in the list."""
    pool = pool_of(["/p/a", "/p/d", "/p/c"])
    assert named(pool, {0: "/p/a", 2: "/p/c"}, ["/p/a", "/p/b", "/p/c"], {"/p/b"}) == {1: "/p/d"}
