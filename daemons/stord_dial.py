"""Members elsewhere are opened in a thread of their own, because a server that hangs holds up whoever dials it.

Knows: a name that is opened, what is looked at before it is of use. Refuses to know: pools, what becomes of a member.
"""

from __future__ import annotations

from collections.abc import Callable

from daemons.loop import Loop
from daemons.worker import Worker
from storvirt.backing.errors import MemberError
from storvirt.backing.member import Member
from storvirt.backing.places import open_any
from storvirt.pool.errors import PoolError

Judge = Callable[[Member], object]
Done = Callable[[Member | str], None]


class Dialer:
    """One call after the other."""

    def __init__(self, loop: Loop) -> None:
        self._worker = Worker(loop)
        self._under_way = 0

    def dial(self, path: str, judge: Judge, done: Done) -> None:
        """Open what is there; `done` is called from the loop, with the member, or with a sentence.

        judge(member) runs in the thread and may read; it raises PoolError or MemberError for what is not to be had.
        """

        def over(answer: Member | str) -> None:
            self._under_way -= 1
            done(answer)

        self._under_way += 1
        self._worker.run(lambda: _opened(path, judge), over)

    def close(self) -> None:
        """Nobody waits for a server that does not answer: only at the end of the process."""
        if self._under_way:
            self._worker.abandon()
        else:
            self._worker.close()


def _opened(path: str, judge: Judge) -> Member | str:
    try:
        member = open_any(path)
    except MemberError as error:
        return str(error)
    try:
        judge(member)
    except (PoolError, MemberError) as error:
        member.close()
        return str(error)
    return member
