"""When members elsewhere that are away are asked for again; their servers are a script here, and the clock a number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from daemons.stord_away import PAUSES, STEADY_SECONDS, Away
from daemons.stord_keeper import Keeper
from storvirt.backing.member import Member, PythonMember
from storvirt.pool import format as f
from tests.support.clock import ClockLoop
from tests.support.links import run_until
from tests.support.poolrig import MEMBER, Kind, make
from tests.support.simfile import SimFile

URI = "nbd://127.0.0.1:10809/m{}"
GONE = "its NBD server hung up"


class Rig:
    """A pool of three members, of which the second one is lost; who dials is answered with what is in `answers`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loop = ClockLoop()
        self.files = [SimFile(MEMBER) for _ in range(3)]
        self.pool = make([self.member(number) for number in range(3)], [Kind("raid5")])
        self.keeper = Keeper(self.loop, self.pool, {number: URI.format(number) for number in range(3)})
        self.unheard = GONE
        self.dials = 0
        self.answer: Callable[[], Member | str] = lambda: f"member {URI.format(1)}: nobody is there"
        monkeypatch.setattr("daemons.stord_away.unheard", lambda member: self.unheard)
        self.loop.at = 1000.0
        self.away = Away(self.keeper, ())
        monkeypatch.setattr(self.away, "_dialer", self)

    def member(self, number: int) -> Member:
        return PythonMember(self.files[number], URI.format(number))

    def dial(self, path: str, judge: Callable[[Member], object], done: Callable[[Member | str], None]) -> None:
        assert path == URI.format(1)
        self.dials += 1
        answer = self.answer()
        if isinstance(answer, Member):
            judge(answer)
        done(answer)

    def lose(self) -> None:
        self.pool.lose(1, GONE)
        self.away.see()

    def second(self) -> Any:
        """One more second goes by."""
        assert self.loop.at is not None
        self.loop.at += 1
        self.away.see()
        return self.away.look(self.loop.now())

    def come_back(self) -> None:
        self.answer = lambda: self.member(1)
        task = None
        while task is None:
            task = self.second()
        assert (task.kind, task.what) == ("rejoin", URI.format(1))
        with self.pool.here():
            while task.job.step():
                pass
        self.away.see()
        assert self.pool.present().keys() == {0, 1, 2} and self.away.row(1) is None

    def close(self) -> None:
        self.loop.at = None
        over: list[bool] = []
        self.keeper.end(lambda: over.append(True))
        run_until(lambda: over, self.loop, what="the keeper's end")
        self.loop.close()


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    made = Rig(monkeypatch)
    yield made
    made.close()


def test_pauses_grow_and_begin_anew_when_it_stayed_for_a_while(rig: Rig) -> None:
    rig.lose()
    assert rig.away.row(1) == {"why": GONE, "tries": 1, "asking": False, "next_s": PAUSES[0]}

    def dialled_at() -> list[int]:
        found, before = [], rig.dials
        for second in range(1, 130):
            rig.second()
            if rig.dials > before:
                before = rig.dials
                found.append(second)
        return found

    assert dialled_at() == [1, 3, 7, 15, 31, 61, 91, 121]
    row = rig.away.row(1)
    assert row is not None and (row["why"], row["tries"]) == ("nobody is there", 9)
    rig.come_back()
    rig.lose()
    row = rig.away.row(1)
    assert row is not None and row["next_s"] == PAUSES[-1], "one that comes and goes is not asked every second"
    rig.come_back()
    for _ in range(int(STEADY_SECONDS) + 2):
        rig.second()
    rig.lose()
    row = rig.away.row(1)
    assert row is not None and row["next_s"] == PAUSES[0]


def test_one_that_was_heard_is_not_asked(rig: Rig) -> None:
    rig.unheard = ""
    rig.lose()
    assert rig.away.row(1) is None
    for _ in range(100):
        assert rig.second() is None
    assert not rig.dials


def test_one_whose_fsync_failed_is_not_asked(rig: Rig) -> None:
    rig.lose()
    rig.pool.rows[1] = rig.pool.rows[1]._replace(successor=f.ENDED)
    for _ in range(100):
        assert rig.second() is None
    assert not rig.dials and rig.away.row(1) is None


def test_another_member_in_its_place_is_said_and_asked_again(rig: Rig) -> None:
    rig.lose()
    rig.answer = lambda: "what is offered there is another member"
    for _ in range(10):
        rig.second()
    row = rig.away.row(1)
    assert rig.dials > 1 and row is not None and row["why"] == "what is offered there is another member"
    rig.come_back()


def test_a_job_that_fails_because_it_went_again_is_tried_again_and_another_failure_is_not(rig: Rig) -> None:
    for heard_no_more in (True, False):
        rig.lose()
        rig.answer = lambda: rig.member(1)
        task = None
        while task is None:
            task = rig.second()
        rig.unheard = GONE if heard_no_more else ""
        task.state, task.problem = "failed", "it can't be written"
        rig.keeper.task = task
        task.job.cancel()
        rig.away.see()
        row = rig.away.row(1)
        if heard_no_more:
            assert row is not None and row["why"] == "it can't be written"
            rig.come_back()
        else:
            assert row is None
