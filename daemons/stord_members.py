"""Members that come, go and come back: what people ask for, and what is done without being asked.

Knows: how a member is named, when a spare takes a lost member's place, that a file which was away is there again.
Refuses to know: how any of it is done (storvirt.pool), when a job has its turn (stord_keeper).
"""

from __future__ import annotations

import os.path
from collections.abc import Container

from daemons import stord_search
from daemons.errors import UserError
from daemons.stord_away import Away
from daemons.stord_jobs import Replacing, find, nothing_runs, path_of
from daemons.stord_keeper import Keeper, Task
from storvirt.backing import identity
from storvirt.backing.errors import MemberError
from storvirt.backing.files import create_all, open_one, remove_all, sizes_of
from storvirt.backing.member import Member
from storvirt.backing.places import is_elsewhere
from storvirt.block import BlockError
from storvirt.pool import format as f
from storvirt.pool.evacuate import Evacuate
from storvirt.pool.membership import add_member, best_spare, call_in, retire, unfinished
from storvirt.pool.pool import PoolError, Suspended
from storvirt.pool.rejoin import Rejoin
from storvirt.pool.repair import Replace
from storvirt.pool.widen import Add, Rebalance, grow_members

GRACE_SECONDS = 10.0  # for which a member that was called out may come back before a spare takes its place
_TROUBLE = (PoolError, MemberError, BlockError, Suspended)


def add(
    keeper: Keeper, path: str, size: int = 0, spare: bool = False, opened: Member | None = None
) -> Task | None:  # fmt: skip
    """path: absolute, of a file that is made here; size: bytes, 0: as the largest member; opened: what is there, where
    that was looked at already. None: there is nothing more to do for a spare. Raises UserError."""
    if not spare:
        nothing_runs(keeper)
    if not os.path.isabs(path) and not is_elsewhere(path):
        raise UserError(f"{path!r} is no absolute path")
    pool = keeper.pool
    try:
        largest = max(row.size for row in pool.rows if row.state != f.REMOVED)
        if opened is not None and any(opened.read(0, f.RING_AT)):
            raise UserError(f"{path} has become a member meanwhile")  # of whoever looked at it at the same time
        made = [opened] if opened is not None else create_all([path], size or largest)
    except MemberError as error:
        raise UserError(str(error)) from None
    try:
        if spare:
            number = add_member(pool, made[0], identity.fresh(), spare=True)
        else:
            job = Add(pool, made[0], identity.fresh())
            number = job.new
    except _TROUBLE as error:
        remove_all(made)
        raise UserError(str(error)) from None
    keeper.paths[number] = path
    return None if spare else Task("add", path, job, path)


def remove(keeper: Keeper, member: str) -> Task | None:
    """None: it was a spare, and is none any more. Raises UserError."""
    nothing_runs(keeper)
    pool = keeper.pool
    try:
        for number in (n for n, row in enumerate(pool.rows) if row.state == f.SPARE):
            if member in (path_of(keeper, number), os.path.basename(path_of(keeper, number)), str(number)):
                retire(pool, number, f.NOBODY)
                return None
        number = find(keeper, member)
        return Task("remove", path_of(keeper, number), Evacuate(pool, number))
    except (PoolError, Suspended) as error:
        raise UserError(str(error)) from None


def place_of(keeper: Keeper, member: str) -> str:
    """Where a member is that is in or out. Raises UserError."""
    return path_of(keeper, find(keeper, member))


def rejoining(keeper: Keeper, path: str) -> Task | None:
    """The job under way, if it does that. Raises UserError if it does something else."""
    task = keeper.task
    if task is not None and task.state == "running" and (task.kind, task.path) == ("rejoin", path):
        return task
    nothing_runs(keeper)
    return None


def rejoin(keeper: Keeper, path: str, opened: Member | None = None) -> Task:
    """path: where it is now; opened: what is there. Raises UserError."""
    task = rejoining(keeper, path)
    if task is not None:
        if opened is not None:
            opened.close()
        return task
    try:
        return _rejoin(keeper, path, opened or open_one(path))
    except _TROUBLE as error:
        raise UserError(str(error)) from None


def _rejoin(keeper: Keeper, path: str, member: Member) -> Task:
    try:
        job = Rejoin(keeper.pool, member)
    except BaseException:
        member.close()
        raise
    keeper.paths[job.new] = path
    return Task("rejoin", path, job, path)


def rebalance(keeper: Keeper) -> Task:
    """Raises UserError."""
    nothing_runs(keeper)
    try:
        with keeper.pool.here():
            return Task("rebalance", f"pool {keeper.pool.name}", Rebalance(keeper.pool))
    except (PoolError, Suspended) as error:
        raise UserError(str(error)) from None


def grow(keeper: Keeper, size: int = 0) -> list[str]:
    """Members whose files are larger than they were are used as far as they reach; size: bytes that all of them are
    made to have, 0: as they are. The files of those that have grown. Raises UserError."""
    nothing_runs(keeper)
    sizes = sizes_of({number: path_of(keeper, number) for number in keeper.pool.present()}, size)
    try:
        with keeper.pool.here():
            return [path_of(keeper, number) for number in grow_members(keeper.pool, sizes)]
    except _TROUBLE as error:
        raise UserError(str(error)) from None


def cancel(keeper: Keeper) -> Task | None:
    """The job under way is called off; the job that brings back what it moved, if there is something. Raises
    UserError."""
    task, pool = keeper.task, keeper.pool
    try:
        with pool.here():
            if task is not None and task.state == "running":
                back = task.job.cancel()
                task.state, task.problem = "cancelled", ""
            else:
                waiting = unfinished(pool)
                if not waiting:
                    raise UserError(f"nothing is under way in pool {pool.name}")
                number, new = waiting[0]
                back = (Evacuate(pool, number) if new == f.LEAVING else Replace(pool, number, new)).cancel()
                keeper.task = None
    except _TROUBLE as error:
        raise UserError(str(error)) from None
    return Replacing(keeper, back, False) if isinstance(back, Replace) else None


class Watch:
    """What is begun without being asked: a member that was away and is there again is brought up to date, a spare takes
    the place of one that stays away. grace: seconds. Whoever was out when the pool was opened may be back already, but
    for those that were looked at and left out: `wrong`, paths. away: who is not heard of, and not a file."""

    def __init__(self, keeper: Keeper, wrong: Container[str]) -> None:
        self.grace = GRACE_SECONDS
        self._keeper = keeper
        self._since: dict[int, int] = {}
        out = {number for number, row in enumerate(keeper.pool.rows) if row.state == f.OUT}
        self._away = {number for number in out if path_of(keeper, number) not in wrong}
        self.away = Away(keeper, wrong)

    def look(self, now: int) -> Task | None:
        """A job that is to begin. now: ns. Once a second while no job runs."""
        keeper, rows = self._keeper, self._keeper.pool.rows
        out = [n for n, row in enumerate(rows) if row.state == f.OUT and row.successor in (f.NOBODY, f.ENDED)]
        self._since = {number: self._since.get(number, now) for number in out}
        self._away = (self._away | keeper.vanished) & set(out)
        keeper.vanished.clear()
        if keeper.suspended:
            return None
        for number in out:
            task = self._back(number) or self._replaced(number, now)
            if task is not None:
                return task
        return self.away.look(now)

    def _back(self, number: int) -> Task | None:
        keeper, row = self._keeper, self._keeper.pool.rows[number]
        path = path_of(keeper, number)
        if stord_search.identity(path, keeper.pool.pool_id) != row.member:
            self._away.add(number)
            return None
        if number not in self._away or row.successor == f.ENDED:
            return None
        self._away.discard(number)  # once for each time that it comes
        try:
            with keeper.pool.here():
                return _rejoin(keeper, path, open_one(path))
        except _TROUBLE as error:
            keeper.pool.events.append(f"member {path} is there again and stays out: {error}")
            return None

    def _replaced(self, number: int, now: int) -> Task | None:
        keeper, pool = self._keeper, self._keeper.pool
        grace = 0 if pool.rows[number].successor == f.ENDED else self.grace
        spare = best_spare(pool, number) if now - self._since[number] >= grace * 1e9 else None
        if spare is None:
            return None
        pool.events.append(f"spare {path_of(keeper, spare)} takes the place of {path_of(keeper, number)}")
        try:
            with pool.here():
                call_in(pool, spare, number)
                return Replacing(keeper, Replace(pool, number, spare), False)
        except _TROUBLE as error:
            pool.events.append(f"it can't for now: {error}")
            return None


def keep_spares(keeper: Keeper, paths: tuple[str, ...], size: int) -> list[str]:
    """Every file of these is a spare, or a member: made where it is not there. What is wrong, in sentences."""
    rows, wrong = keeper.pool.rows, []
    known = {path_of(keeper, n) for n, row in enumerate(rows) if row.state != f.REMOVED}
    for path in paths:
        if path not in known:
            try:
                with keeper.pool.here():
                    add(keeper, path, size, spare=True)
            except UserError as error:
                wrong.append(f"spare {path}: {error}")
    return wrong
