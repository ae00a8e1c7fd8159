"""The control operations about members and jobs: replace, add, remove, rejoin, rebalance, grow, cancel.

Knows: what an operation's arguments may be, what it answers. Refuses to know: what is done then (stord_members).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from daemons import stord_jobs, stord_members
from daemons.control import Handler, Reply
from daemons.errors import UserError
from daemons.stord_dial import Dialer, Judge
from daemons.stord_jobs import nothing_runs
from daemons.stord_keeper import Keeper, Task
from storvirt.backing.member import Member
from storvirt.backing.places import is_elsewhere, must_be_blank
from storvirt.pool.assemble import look

LARGEST = 1 << 50


class MemberOps:
    """opened: the pool's keeper; raises UserError while it is not open. An answer is the job as it is now, None where
    there is none; `status` tells how far it is."""

    def __init__(self, opened: Callable[[], Keeper]) -> None:
        self._opened = opened
        self._dialer: Dialer | None = None

    @property
    def handlers(self) -> dict[str, Handler]:
        names = ("replace", "add", "remove", "rejoin", "rebalance", "grow", "cancel")
        return {name: getattr(self, name) for name in names}

    def replace(self, args: dict[str, Any], reply: Reply) -> None:
        """`{member, path}`: begin to move what the member holds to a new file."""
        keeper, member = self._opened(), str(args.get("member", ""))
        path = stord_jobs.place_for(keeper, member, str(args.get("path", "")))
        task = stord_jobs.goes_on(keeper, member, path)
        if task is not None:
            self._begun(task, reply)
            return
        is_former = stord_jobs.former_of(keeper.pool)

        def judge(opened: Member) -> None:
            if not is_former(opened):
                must_be_blank(opened)

        self._with(path, judge, lambda opened: stord_jobs.begin_replace(keeper, member, path, opened), reply)

    def add(self, args: dict[str, Any], reply: Reply) -> None:
        """`{path, size, spare}`: one member more, made here; size: bytes, 0 = as the largest."""
        keeper = self._opened()
        path, size, spare = str(args.get("path", "")), _number(args, "size"), args.get("spare") is True
        if not spare:
            nothing_runs(keeper)
        self._with(path, must_be_blank, lambda opened: stord_members.add(keeper, path, size, spare, opened), reply)

    def remove(self, args: dict[str, Any], reply: Reply) -> None:
        """`{member}`: what it holds moves to the others, then it is out for good."""
        keeper = self._opened()
        with keeper.pool.here():
            task = stord_members.remove(keeper, str(args.get("member", "")))
        self._begun(task, reply)

    def rejoin(self, args: dict[str, Any], reply: Reply) -> None:
        """`{member, path}`: one that was away is given what it missed; path: where it is now, "" = where it was."""
        keeper = self._opened()
        path = str(args.get("path") or "") or stord_members.place_of(keeper, str(args.get("member", "")))
        task = stord_members.rejoining(keeper, path)
        if task is not None:
            self._begun(task, reply)
            return
        self._with(path, look, lambda opened: stord_members.rejoin(keeper, path, opened), reply)

    def rebalance(self, args: dict[str, Any], reply: Reply) -> None:
        """What there is is spread over all members."""
        self._begun(stord_members.rebalance(self._opened()), reply)

    def grow(self, args: dict[str, Any], reply: Reply) -> None:
        """`{size}`: larger files are used; size: bytes that each is made to have, 0 = as they are. Answers which."""
        reply.done(stord_members.grow(self._opened(), _number(args, "size")))

    def cancel(self, args: dict[str, Any], reply: Reply) -> None:
        """The job under way is called off; answers with the one that goes back, if there is something to bring back."""
        self._begun(stord_members.cancel(self._opened()), reply)

    def _with(self, path: str, judge: Judge, begin: Callable[[Member | None], Task | None], reply: Reply) -> None:
        """Begin with what is at a path: None for a file, which whoever begins opens or makes; else the member, which
        may have taken its time to answer."""

        def answered(answer: Member | str | None) -> None:
            if isinstance(answer, str):
                reply.fail(answer)
                return
            try:
                with self._opened().pool.here():
                    task = begin(answer)
            except UserError as error:
                if answer is not None:
                    answer.close()
                reply.fail(str(error))
            else:
                self._begun(task, reply)

        if not is_elsewhere(path):
            answered(None)
            return
        if self._dialer is None:
            keeper = self._opened()
            self._dialer = Dialer(keeper.loop)
            keeper.at_end(self._dialer.close)
        self._dialer.dial(path, judge, answered)

    def _begun(self, task: Task | None, reply: Reply) -> None:
        if task is not None:
            self._opened().task = task
        reply.done(task.row() if task is not None else None)


def _number(args: dict[str, Any], key: str) -> int:
    value = args.get(key, 0)
    if type(value) is not int or not 0 <= value <= LARGEST:
        raise UserError(f"{key} is a number of bytes from 0 to {LARGEST}, not {value!r}")
    return value
