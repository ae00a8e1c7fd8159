"""Beginning the jobs that people ask for, replacing a member and scrubbing; and going on with one that was cut short.

Knows: how a member is named, that a new member is a new file. Refuses to know: how a job works (storvirt.pool.repair).
"""

from __future__ import annotations

import os.path
from collections.abc import Callable
from typing import Any

from daemons.errors import UserError
from daemons.stord_keeper import Keeper, Task
from storvirt.backing import identity
from storvirt.backing.errors import MemberError
from storvirt.backing.files import create_all, remove_all
from storvirt.backing.member import Member
from storvirt.backing.places import is_elsewhere
from storvirt.block import BlockError
from storvirt.pool import format as f
from storvirt.pool.assemble import look
from storvirt.pool.evacuate import Evacuate
from storvirt.pool.membership import unfinished
from storvirt.pool.pool import Pool, PoolError, Suspended
from storvirt.pool.repair import Replace, Scrub
from storvirt.pool.unfinished import at_opening, going_on
from storvirt.pool.widen import Rebalance


class Replacing(Task):
    """A rebuild as people see it. resumed: it was under way when the pool was opened."""

    def __init__(self, keeper: Keeper, job: Replace, resumed: bool) -> None:
        self.old = path_of(keeper, job.old)
        self.resumed = resumed
        self._keeper = keeper
        path = path_of(keeper, job.new)
        super().__init__("replace", f"{self.old} by {path}", job, path)

    def row(self) -> dict[str, Any]:
        row = super().row()
        more = {"old": self.old, "resumed": self.resumed}
        return {**row, **more, "sentence": self._sentence(row["done"], row["total"], row["sentence"])}

    def _sentence(self, done: int, total: int, pace: str) -> str:
        if self.state == "done":
            return f"{self.path} has taken the place of {self.old}"
        if self.state == "failed":
            return f"{self.path} did not take the place of {self.old}: {self.problem}"
        far = f"{100 * done // total if total else 100} % of {total} slots, {pace}"
        again = "; it went on by itself when the pool was opened again" if self.resumed else ""
        waits = "; it waits as the pool does" if self._keeper.suspended else ""
        return f"{self.path} is taking the place of {self.old}: {far}{again}{waits}"


def place_for(keeper: Keeper, member: str, path: str) -> str:
    """Where a new member is to be. member: its path, the last part of it, or its number; path: absolute, or a bare name
    beside the old member. Raises UserError."""
    number = find(keeper, member)
    if path and "/" not in path and number in keeper.paths and not is_elsewhere(keeper.paths[number]):
        path = os.path.join(os.path.dirname(keeper.paths[number]), path)
    if not os.path.isabs(path) and not is_elsewhere(path):
        raise UserError(f"{path!r} is no absolute path")
    return path


def goes_on(keeper: Keeper, member: str, path: str) -> Task | None:
    """The replacement that was begun already, if it was: the one under way, or one that failed or was cut short. Raises
    UserError."""
    number, task = find(keeper, member), keeper.task
    if isinstance(task, Replacing) and task.state == "running" and (task.old, task.path) == (
        path_of(keeper, number), path,
    ):  # fmt: skip
        return task
    nothing_runs(keeper)
    begun = [new for old, new in unfinished(keeper.pool) if old == number and keeper.paths.get(new) == path]
    return Replacing(keeper, _go_on(keeper.pool, number, begun[0]), False) if begun else None


def begin_replace(keeper: Keeper, member: str, path: str, opened: Member | None = None) -> Task:
    """path: as place_for() says, of a file that is not there yet; opened: what is there, if that was looked at already.
    Raises UserError."""
    task = goes_on(keeper, member, path)
    if task is not None:
        if opened is not None:
            opened.close()
        return task
    job = _begin(keeper.pool, find(keeper, member), path, opened)
    keeper.paths[job.new] = path
    return Replacing(keeper, job, False)


def resume(keeper: Keeper, opening: bool = False) -> Task | None:
    """What was under way when an earlier process ended; None when there is nothing, or not now."""
    pool = keeper.pool
    try:
        with pool.here():
            job = at_opening(pool) if opening else going_on(pool)
    except Suspended:
        return None  # the pool's own problems have a sentence for it
    if isinstance(job, Replace):
        return Replacing(keeper, job, True)
    if isinstance(job, Evacuate):
        return Task("remove", path_of(keeper, job.old), job)
    if isinstance(job, Rebalance | Scrub):
        return Task("rebalance" if isinstance(job, Rebalance) else "scrub", f"pool {pool.name}", job)
    return Task("strengthen", f"log and map of pool {pool.name}", job) if job is not None else None


def path_of(keeper: Keeper, number: int) -> str:
    """A member's file as far as it is known, or another name for it."""
    return keeper.paths.get(number) or keeper.pool.rows[number].hint or keeper.pool.member_name(number)


def _begin(pool: Pool, number: int, path: str, opened: Member | None) -> Replace:
    try:
        # At least as large as the largest: so that it can take whatever the old one held.
        largest = max(row.size for row in pool.rows)
        made = [opened] if opened is not None else create_all([path], largest, former_of(pool))
    except MemberError as error:
        raise UserError(str(error)) from None
    try:
        return Replace(pool, number, made[0], identity.fresh())
    except (PoolError, MemberError, BlockError, Suspended) as error:
        if made[0] not in pool.members:
            remove_all(made)
        raise UserError(str(error)) from None


def former_of(pool: Pool) -> Callable[[Member], bool]:
    """Whether a device or an export was a member of this pool and is out: it may come back, as a new one. What is given
    back may be called from another thread."""
    inside = {row.member for row in pool.rows if row.state not in (f.OUT, f.REMOVED)}
    ident = pool.pool_id

    def is_former(member: Member) -> bool:
        try:
            super_ = look(member).super_
        except PoolError:
            return False
        return super_.pool == ident and super_.member not in inside

    return is_former


def _go_on(pool: Pool, number: int, new: int) -> Replace:
    """The new file is a member already: the job failed, or was cut short."""
    try:
        return Replace(pool, number, new)
    except (PoolError, Suspended) as error:
        raise UserError(str(error)) from None


def begin_scrub(keeper: Keeper) -> Task:
    """Raises UserError."""
    nothing_runs(keeper)
    try:
        with keeper.pool.here():
            return Task("scrub", f"pool {keeper.pool.name}", Scrub(keeper.pool))
    except Suspended as error:
        raise UserError(str(error)) from None


def find(keeper: Keeper, member: str) -> int:
    """The number of a member that is in or out. Raises UserError."""
    numbers = [n for n, row in enumerate(keeper.pool.rows) if row.state in (f.IN, f.OUT)]
    named = {n: path_of(keeper, n) for n in numbers}
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


def nothing_runs(keeper: Keeper) -> None:
    if keeper.task is not None and keeper.task.state == "running":
        raise UserError(f"{keeper.task.kind} {keeper.task.what} is under way; wait for its end")
