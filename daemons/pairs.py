"""What `pingall` asks of hostd and netnsd, what both answer, and how fast they go through it.

Knows: pairs of (host, host or address), how many are on the way at once, the order of the answers. Refuses to know: how
an echo is sent.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from daemons.control import Reply
from daemons.errors import UserError
from daemons.hostd_args import number
from daemons.loop import Loop

MS: Final = 1_000_000
DEFAULT_SIZE: Final = 56  # bytes of payload, as ping(8)
# Pairs on the way at once, and started in one round of the loop. Each may begin with a broadcast, which the switches
# copy to everybody: 16 of them at 256 hosts are 4096 frames for a hostd, some 50 ms of its time.
IN_FLIGHT: Final = 128
PER_ROUND: Final = 16


class PairAnswer(NamedTuple):
    src: str
    dst: str
    address: str
    ok: bool
    rtt_ms: float | None
    error: str


Answered = Callable[[PairAnswer], None]


class PairRounds(ABC):
    """One echo for each pair {pairs: [[src, dst], ...], timeout_ms}; answers in the order of the pairs.

    Whoever is derived from it sends the echoes (`ask`) and cleans up at the end (`over`). Raises UserError (`args`).
    """

    def __init__(self, loop: Loop, args: dict[str, Any], reply: Reply) -> None:
        self.loop = loop
        self.reply = reply
        self.timeout = int(number(args, "timeout_ms", 2000, 1, 600_000) * MS)  # ns
        pairs = pairs_of(args)
        self.many = len(pairs)
        self._answers: list[PairAnswer | None] = [None] * len(pairs)
        self._waiting = deque(enumerate(pairs))
        self._in_flight = 0
        self._due = False

    @abstractmethod
    def ask(self, src: str, dst: str, answered: Answered) -> None:
        """One echo. `answered` is called once, perhaps at once; or this raises UserError, which is the answer then."""

    @abstractmethod
    def over(self) -> None:
        """All pairs have been answered."""

    def round(self) -> None:
        """Start some more; those that end make room for the next."""
        self._due = False
        if self.reply.gone:
            return
        for _ in range(min(PER_ROUND, IN_FLIGHT - self._in_flight)):
            if self._waiting:
                self._begin(*self._waiting.popleft())
        if self._waiting and self._in_flight < IN_FLIGHT:
            self._soon()
        elif not self._waiting and not self._in_flight and not self.reply.answered:
            self.over()
            self.reply.done([answer._asdict() for answer in self._answers if answer is not None])

    def _soon(self) -> None:
        """One round in each turn of the loop, however many answers came in it."""
        if not self._due:
            self._due = True
            self.loop.call_later(0, self.round)

    def _begin(self, place: int, pair: tuple[str, str]) -> None:
        def answered(answer: PairAnswer) -> None:
            self._answers[place] = answer
            self._in_flight -= 1
            self._soon()

        self._in_flight += 1
        try:
            self.ask(*pair, answered)
        except UserError as error:
            answered(PairAnswer(*pair, "", False, None, str(error)))


def pairs_of(args: dict[str, Any]) -> list[tuple[str, str]]:
    """`{pairs: [[src, dst], ...]}`. Raises UserError."""
    pairs = args.get("pairs")
    if not isinstance(pairs, list) or not all(_is_pair(pair) for pair in pairs):
        raise UserError("pingall needs 'pairs', a list of [source host, destination host or address]")
    return [(pair[0], pair[1]) for pair in pairs]


def _is_pair(pair: object) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(isinstance(end, str) for end in pair)
