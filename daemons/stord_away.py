"""Members elsewhere that are not heard any more: they are asked for again and again, and brought up to date when they
are there.

Knows: who was lost because nothing was heard of it, when it is asked for the next time, what its server said. Refuses
to know: how it is reached (stord_dial), how it is brought up to date (storvirt.pool.rejoin).

It ends when the member is in again, when another takes its place, or when it is removed. One that answered with an
error was heard: it stays out until somebody says otherwise, because it would fail again.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from daemons.stord_dial import Dialer
from daemons.stord_jobs import path_of
from daemons.stord_keeper import Keeper, Task
from storvirt.backing.errors import MemberError
from storvirt.backing.member import Member
from storvirt.backing.nbd import unheard
from storvirt.backing.places import is_elsewhere
from storvirt.block import BlockError
from storvirt.pool import format as f
from storvirt.pool.assemble import look
from storvirt.pool.pool import Pool, PoolError, Suspended
from storvirt.pool.rejoin import Rejoin

PAUSES = (1, 2, 4, 8, 16, 30)  # seconds between one try and the next
STEADY_SECONDS = 60.0  # after which one that came back is trusted to stay: its next pause is the first again
_NS = 1_000_000_000


def is_cut_off(pool: Pool) -> bool:
    """Whether so many members are not heard any more that the pool can't go on. Their connections are never made again,
    so it has to be opened anew, when they are there."""
    present = pool.present()
    lost = {number for number, member in present.items() if unheard(member)}
    return bool(lost) and (lost == present.keys() or not pool.bearable(lost))


class _Call:
    """One member. at: ns, when it is asked for next; member: it has answered, and waits to be brought up to date."""

    def __init__(self, why: str, at: int) -> None:
        self.why, self.at = why, at
        self.tries = 0
        self.asking = False
        self.member: Member | None = None
        self.back: int | None = None  # when it was in again

    def failed(self, why: str, now: int) -> None:
        self.why, self.back = why, None
        self.at = now + PAUSES[min(self.tries, len(PAUSES) - 1)] * _NS
        self.tries += 1


class Away:
    """One per pool. wrong: paths that were looked at when it was opened, and left out because of what they hold."""

    def __init__(self, keeper: Keeper, wrong: Container[str]) -> None:
        self._keeper = keeper
        self._dialer = Dialer(keeper.loop)
        keeper.at_end(self._dialer.close)
        rows = keeper.pool.rows
        self._stays = {n for n, row in enumerate(rows) if row.state == f.OUT and path_of(keeper, n) in wrong}
        self._held: dict[int, Member] = {}  # those that were in when they were seen last
        self._joining: dict[int, Member] = {}
        self._calls: dict[int, _Call] = {}
        self.see()

    # --- who is away

    def see(self) -> None:
        """Once a second, and before anybody asks."""
        pool, now = self._keeper.pool, self._keeper.loop.now()
        present = pool.present()
        for number in present:
            self._is_in(number, now)
        for number in self._held.keys() - present.keys():
            self._is_lost(number, self._held[number], "", now)
        for number in self._joining.keys() - pool.joining - present.keys():
            task = self._keeper.task
            self._is_lost(number, self._joining.pop(number), task.problem if task is not None else "", now)
        self._held = dict(present)
        rows = enumerate(pool.rows)
        out = {n for n, row in rows if row.state == f.OUT and row.successor == f.NOBODY} - self._stays
        for number in out - self._calls.keys():
            if is_elsewhere(path_of(self._keeper, number)):
                self._calls[number] = _Call("it was not there", now)
        for number in self._calls.keys() - out - present.keys():
            self._drop(number)

    def _is_in(self, number: int, now: int) -> None:
        self._stays.discard(number)
        self._joining.pop(number, None)
        call = self._calls.get(number)
        if call is not None:
            if call.member is not None:
                call.member.close()
            call.member, call.back = None, now if call.back is None else call.back
            if now - call.back > STEADY_SECONDS * _NS:
                self._drop(number)

    def _is_lost(self, number: int, member: Member, problem: str, now: int) -> None:
        why = unheard(member)
        if not why:
            self._stays.add(number)
            return
        call = self._calls.setdefault(number, _Call("", now))
        call.failed(problem or why, now)

    def _drop(self, number: int) -> None:
        call = self._calls.pop(number)
        if call.member is not None:
            call.member.close()

    # --- asking

    def look(self, now: int) -> Task | None:
        """The job that brings one up to date; or one is asked. now: ns. Once a second while no job runs."""
        for number, call in self._calls.items():
            if call.back is not None:
                continue
            if call.member is not None:
                task = self._begin(number, call, now)
                if task is not None:
                    return task
            elif not call.asking and now >= call.at:
                self._ask(number, call)
        return None

    def _ask(self, number: int, call: _Call) -> None:
        path = path_of(self._keeper, number)
        pool_id, ident = self._keeper.pool.pool_id, self._keeper.pool.rows[number].member

        def judge(member: Member) -> None:
            super_ = look(member).super_
            if (super_.pool, super_.member) != (pool_id, ident):
                raise PoolError("what is offered there is another member")

        def answered(answer: Member | str) -> None:
            call.asking = False
            if isinstance(answer, str):
                call.failed(answer.removeprefix(f"member {path}: "), self._keeper.loop.now())
            elif self._calls.get(number) is call:
                call.member = answer
            else:
                answer.close()

        call.asking = True
        self._dialer.dial(path, judge, answered)

    def _begin(self, number: int, call: _Call, now: int) -> Task | None:
        keeper, member = self._keeper, call.member
        assert member is not None
        call.member = None
        path = path_of(keeper, number)
        try:
            with keeper.pool.here():
                job = Rejoin(keeper.pool, member)
        except (PoolError, MemberError, BlockError, Suspended) as error:
            member.close()
            call.failed(str(error), now)
            return None
        keeper.paths[number] = path
        self._joining[number] = member
        return Task("rejoin", path, job, path)

    # --- said

    def row(self, number: int) -> dict[str, Any] | None:
        """why; tries so far; asking: one is under way; next_s: seconds until the next one, None while a job runs, which
        is not disturbed. None for a member that is not waited for."""
        call, task = self._calls.get(number), self._keeper.task
        if call is None or call.back is not None:
            return None
        left: float | None = round(max(call.at - self._keeper.loop.now(), 0) / _NS, 1)
        if call.asking or call.member is not None:
            left = 0
        elif task is not None and task.state == "running":
            left = None
        return {"why": call.why, "tries": call.tries, "asking": call.asking, "next_s": left}
