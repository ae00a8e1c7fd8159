"""Calls over one connection: each ends exactly once, whatever comes back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from daemons.calls import Calls
from daemons.loop import Loop
from tests.support.links import run_until


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


def test_an_answer_finds_who_waits_for_it_once(loop: Loop) -> None:
    calls: Calls[str] = Calls(loop)
    got: list[object] = []
    first = calls.begin(got.append, got.append, 60.0, "late")
    second = calls.begin(got.append, got.append, 60.0, "late")
    assert first != second and len(calls) == 2
    call = calls.take(second)
    assert call is not None and len(calls) == 1
    call.done("value")
    assert calls.take(second) is None and got == ["value"]


@pytest.mark.parametrize("junk", [None, [1], {"id": 1}, "1", 7, -1])
def test_what_is_no_number_of_ours_is_nobodys_answer(loop: Loop, junk: object) -> None:
    calls: Calls[str] = Calls(loop)
    calls.begin(lambda value: None, lambda why: None, 60.0, "late")
    assert calls.take(junk) is None and len(calls) == 1


def test_silence_ends_a_call_and_no_answer_does_so_again(loop: Loop) -> None:
    calls: Calls[str] = Calls(loop)
    got: list[str] = []
    number = calls.begin(lambda value: None, got.append, 0.001, "nobody answered")
    run_until(lambda: got, loop)
    assert got == ["nobody answered"] and calls.take(number) is None


def test_all_fail_together_but_not_those_that_begin_in_the_meantime(loop: Loop) -> None:
    calls: Calls[str] = Calls(loop)
    got: list[str] = []

    def again(why: str) -> None:
        got.append(why)
        calls.begin(lambda value: None, got.append, 60.0, "late")

    calls.begin(lambda value: None, again, 0.001, "late")
    calls.begin(lambda value: None, got.append, 0.001, "late")
    calls.fail_all("gone")
    assert got == ["gone", "gone"] and len(calls) == 1
    waited: list[bool] = []
    loop.call_later(0.002, lambda: waited.append(True))
    run_until(lambda: waited, loop)
    assert got == ["gone", "gone"], "the timers of calls that failed are cancelled"
