"""`pingall`'s pace: so many pairs in a turn of the loop, so many at once, and the answers in the order of the pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from daemons.errors import UserError
from daemons.pairs import IN_FLIGHT, PER_ROUND, Answered, PairAnswer, PairRounds


class Fake:
    """A loop of turns, and the reply."""

    def __init__(self) -> None:
        self.due: list[Callable[[], None]] = []
        self.gone = self.answered = False
        self.value: list[dict[str, Any]] = []

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        assert seconds == 0
        self.due.append(callback)

    def turn(self) -> None:
        due, self.due = self.due, []
        for callback in due:
            callback()

    def done(self, value: list[dict[str, Any]]) -> None:
        assert not self.answered
        self.answered, self.value = True, value


class Rounds(PairRounds):
    """Hosts called `none...` are not there, those called `now...` answer at once, others when the test says so."""

    def __init__(self, fake: Any, pairs: list[list[str]]) -> None:
        super().__init__(fake, {"pairs": pairs}, fake)
        self.asked: list[tuple[str, Answered]] = []
        self.overs = 0
        self.round()

    def ask(self, src: str, dst: str, answered: Answered) -> None:
        if src.startswith("none"):
            raise UserError(f"there is no host {src}")
        if src.startswith("now"):
            answered(PairAnswer(src, dst, "10.0.0.1", True, 1.0, ""))
        else:
            self.asked.append((src, answered))

    def over(self) -> None:
        self.overs += 1


def answer(src: str, answered: Answered) -> None:
    answered(PairAnswer(src, "z", "10.0.0.1", True, 1.0, ""))


def names(*kinds: str, count: int) -> list[list[str]]:
    return [[f"{kinds[number % len(kinds)]}{number}", "z"] for number in range(count)]


def test_so_many_in_a_turn_so_many_at_once_and_each_answer_in_its_place() -> None:
    fake, pairs = Fake(), names("h", count=300)
    rounds = Rounds(fake, pairs)
    for turn in range(1, 20):
        assert len(rounds.asked) == min(turn * PER_ROUND, IN_FLIGHT) and len(fake.due) <= 1
        fake.turn()
    left: list[tuple[str, Answered]] = []
    began = 0
    while not fake.answered:
        left, rounds.asked = left + rounds.asked, []
        began = max(began, len(left))
        for src, answered in reversed(left[:40]):  # many in one turn, and not in their order
            answer(src, answered)
        del left[:40]
        assert len(fake.due) == 1, "one round in a turn, however many answers came in it"
        fake.turn()
        assert len(rounds.asked) <= PER_ROUND
    assert began <= IN_FLIGHT and rounds.overs == 1
    assert [row["src"] for row in fake.value] == [src for src, _ in pairs]


@pytest.mark.parametrize("kinds", [("none",), ("now",), ("none", "now")])
def test_answers_at_once_keep_the_pace_too(kinds: tuple[str, ...]) -> None:
    fake = Fake()
    Rounds(fake, names(*kinds, count=3 * PER_ROUND))
    turns = 0
    while not fake.answered:
        assert len(fake.due) == 1
        fake.turn()
        turns += 1
    assert turns == 2 and len(fake.value) == 3 * PER_ROUND
    assert {row["ok"] for row in fake.value if row["src"].startswith("none")} <= {False}


def test_nobody_to_ping_is_an_answer_and_nobody_to_tell_an_end() -> None:
    fake = Fake()
    assert Rounds(fake, []).overs == 1 and fake.answered and fake.value == []
    fake = Fake()
    rounds = Rounds(fake, names("h", count=PER_ROUND + 1))
    fake.gone = True
    fake.turn()
    assert len(rounds.asked) == PER_ROUND and not fake.answered
