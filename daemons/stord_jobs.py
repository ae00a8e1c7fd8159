"""Beginning the jobs that people ask for: replacing a member, scrubbing.

Knows: how a member is named, that a new member is a new file. Refuses to know: how a job works (storvirt.pool.repair).
"""

from __future__ import annotations

import os.path
from collections.abc import Sequence

from daemons.errors import UserError
from daemons.stord_keeper import Keeper, Task
from storvirt.backing import identity
from storvirt.backing.errors import MemberError
from storvirt.backing.files import create_all, remove_all
from storvirt.block import BlockError
from storvirt.pool import format as f
from storvirt.pool.pool import Pool, PoolError, Suspended
from storvirt.pool.repair import Replace, Scrub


def begin_replace(keeper: Keeper, listed: Sequence[str], member: str, path: str) -> Task:
    """member: its path, the last part of it, or its number; path: absolute, or a bare name beside the old member, of a
    file that is not there yet, or of a member that such a job had begun to fill: one that is not `listed`.

    Raises UserError.
    """
    _nothing_runs(keeper)
    pool = keeper.pool
    number = find(keeper, member)
    if path and "/" not in path and number in keeper.paths:
        path = os.path.join(os.path.dirname(keeper.paths[number]), path)
    if not os.path.isabs(path):
        raise UserError(f"{path!r} is no absolute path")
    what = f"{keeper.paths.get(number, member)} by {path}"
    begun = [n for n, known in keeper.paths.items() if known == path and pool.rows[n].state == f.IN]
    job = _go_on(pool, number, begun[0]) if begun and path not in listed else _begin(pool, number, path)
    keeper.paths[job.new] = path
    return Task("replace", what, job, path)


def _begin(pool: Pool, number: int, path: str) -> Replace:
    try:
        # At least as large as the largest: so that it can take whatever the old one held.
        made = create_all([path], max(row.size for row in pool.rows))
    except MemberError as error:
        raise UserError(str(error)) from None
    try:
        return Replace(pool, number, made[0], identity.fresh())
    except (PoolError, MemberError, BlockError, Suspended) as error:
        if made[0] not in pool.members:
            remove_all(made)
        raise UserError(str(error)) from None


def _go_on(pool: Pool, number: int, new: int) -> Replace:
    """The new file is a member already: this process, or one before it, was killed in the middle."""
    try:
        return Replace(pool, number, new)
    except PoolError as error:
        raise UserError(str(error)) from None


def begin_scrub(keeper: Keeper) -> Task:
    """Raises UserError."""
    _nothing_runs(keeper)
    return Task("scrub", f"pool {keeper.pool.name}", Scrub(keeper.pool))


def find(keeper: Keeper, member: str) -> int:
    """The number of a member that is in or out. Raises UserError."""
    numbers = [n for n, row in enumerate(keeper.pool.rows) if row.state in (f.IN, f.OUT)]
    named = {n: keeper.paths.get(n, keeper.pool.member_name(n)) for n in numbers}
    for matches in (
        [n for n in numbers if named[n] == member],
        [n for n in numbers if os.path.basename(named[n]) == member],
        [n for n in numbers if str(n) == member],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise UserError(f"several members are called {member!r}; give the whole path")
    raise UserError(f"pool {keeper.pool.name} has no member {member!r}; its members are: {', '.join(named.values())}")


def _nothing_runs(keeper: Keeper) -> None:
    if keeper.task is not None and keeper.task.state == "running":
        raise UserError(f"{keeper.task.kind} {keeper.task.what} is under way; wait for its end")
