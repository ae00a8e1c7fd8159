"""What fabricd is told of a pool so that it can bear witness later: the newest commit record that is durable.

Knows: who asks, what they know already, when it is time to answer. Refuses to know: what a witness is good for
(stord_open), commit records.

The operation `witness` is answered when there is something else to remember, and once in a while in any case: so
fabricd hears of it without asking again and again, and not more often than once a second, however busy the pool is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from daemons.control import Reply
from daemons.stord_keeper import Keeper
from storvirt.block import BlockError

_PATIENCE_NS = 30_000_000_000  # less than fabricd's own


class _Question(NamedTuple):
    reply: Reply
    known: object
    until: int


class Teller:
    """One per stord; look() is called every second."""

    def __init__(self) -> None:
        self._questions: list[_Question] = []
        self._states: list[int] | None = None

    def ask(self, known: object, reply: Reply, now: int) -> None:
        """known: the value that the asker has, or None."""
        self._questions.append(_Question(reply, known, now + _PATIENCE_NS))

    def look(self, keeper: Keeper, now: int) -> None:
        """Answer those who do not know what is so now."""
        states = [row.state for row in keeper.pool.rows]
        if self._states is not None and states != self._states and not keeper.suspended:
            # A member that is out may come back alone one day: that the others went on is worth fsyncs at once.
            keeper.flush(_nothing)
        self._states = states
        number, digest = keeper.pool.witness
        value: dict[str, Any] = {"number": number, "hash": digest.hex()}
        left = []
        for question in self._questions:
            if value != question.known or now > question.until:
                question.reply.done(value)
            elif not question.reply.gone:
                left.append(question)
        self._questions = left


def _nothing(error: BlockError | None) -> None:
    """A flush that nobody waits for: what went wrong is in the pool's events."""
