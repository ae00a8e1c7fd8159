"""The control operations about members and jobs: add, remove, rejoin, rebalance, grow, cancel, set.

Knows: what an operation's arguments may be, what it answers. Refuses to know: what is done then (stord_members).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from daemons import stord_members
from daemons.control import Handler, Reply
from daemons.errors import UserError
from daemons.stord_keeper import Keeper, Task

LARGEST = 1 << 50


class MemberOps:
    """opened: the pool's keeper; raises UserError while it is not open. An answer is the job as it is now, None where
    there is none; `status` tells how far it is."""

    def __init__(self, opened: Callable[[], Keeper]) -> None:
        self._opened = opened

    @property
    def handlers(self) -> dict[str, Handler]:
        names = ("add", "remove", "rejoin", "rebalance", "grow", "cancel", "set")
        return {name: getattr(self, name) for name in names}

    def add(self, args: dict[str, Any], reply: Reply) -> None:
        """`{path, size, spare}`: one member more, made here; size: bytes, 0 = as the largest."""
        keeper = self._opened()
        size, spare = _number(args, "size"), args.get("spare") is True
        with keeper.pool.here():
            task = stord_members.add(keeper, str(args.get("path", "")), size, spare)
        self._begun(task, reply)

    def remove(self, args: dict[str, Any], reply: Reply) -> None:
        """`{member}`: what it holds moves to the others, then it is out for good."""
        keeper = self._opened()
        with keeper.pool.here():
            task = stord_members.remove(keeper, str(args.get("member", "")))
        self._begun(task, reply)

    def rejoin(self, args: dict[str, Any], reply: Reply) -> None:
        """`{member, path}`: one that was away is given what it missed; path: where it is now, "" = where it was."""
        keeper = self._opened()
        with keeper.pool.here():
            task = stord_members.rejoin(keeper, str(args.get("member", "")), str(args.get("path") or ""))
        self._begun(task, reply)

    def rebalance(self, args: dict[str, Any], reply: Reply) -> None:
        """What there is is spread over all members."""
        self._begun(stord_members.rebalance(self._opened()), reply)

    def grow(self, args: dict[str, Any], reply: Reply) -> None:
        """`{size}`: larger files are used; size: bytes that each is made to have, 0 = as they are. Answers which."""
        reply.done(stord_members.grow(self._opened(), _number(args, "size")))

    def cancel(self, args: dict[str, Any], reply: Reply) -> None:
        """The job under way is called off; answers with the one that goes back, if there is something to bring back."""
        self._begun(stord_members.cancel(self._opened()), reply)

    def set(self, args: dict[str, Any], reply: Reply) -> None:
        """`{repair_rate}`: bytes/s that jobs may deal with until this process ends; 0 = no limit."""
        keeper = self._opened()
        keeper.rate = _number(args, "repair_rate")
        reply.done({"repair_rate": keeper.rate})

    def _begun(self, task: Task | None, reply: Reply) -> None:
        if task is not None:
            self._opened().task = task
        reply.done(task.row() if task is not None else None)


def _number(args: dict[str, Any], key: str) -> int:
    value = args.get(key, 0)
    if type(value) is not int or not 0 <= value <= LARGEST:
        raise UserError(f"{key} is a number of bytes from 0 to {LARGEST}, not {value!r}")
    return value
