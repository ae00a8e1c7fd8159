"""A command beside the loop: its output and code come once, and nothing of it stays, whichever way it ended."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from daemons.process import identify
from daemons.vm_step import Step
from netvirt.ports.loop import Loop
from tests.support.links import run_until

# A child of its own that would go on for ever, and its pid.
PARENT = (
    "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()']);"
    "print(child.pid, flush=True); child.wait()"
)


class Told:
    def __init__(self) -> None:
        self.loop = Loop()
        self.answers: list[tuple[int, str]] = []

    def step(self, *argv: str, seconds: float = 20.0) -> Step:
        return Step(self.loop, argv, seconds, lambda code, text: self.answers.append((code, text)))

    def wait(self) -> tuple[int, str]:
        run_until(lambda: bool(self.answers), self.loop)
        (answer,) = self.answers
        return answer


@pytest.fixture
def told() -> Iterator[Told]:
    made = Told()
    yield made
    assert made.loop.mistakes == 0
    made.loop.close()


def test_both_outputs_and_the_code(told: Told) -> None:
    told.step(sys.executable, "-c", "import sys; print('out'); sys.stderr.write('err'); sys.exit(3)")
    code, text = told.wait()
    assert code == 3 and sorted(text.split()) == ["err", "out"]


def test_more_output_than_a_pipe_holds_is_no_end(told: Told) -> None:
    told.step(sys.executable, "-c", "print('x' * 1000000)")
    code, text = told.wait()
    assert code == 0 and 1 << 16 <= len(text) <= 1 << 17


def test_what_cannot_be_started_is_a_sentence(told: Told) -> None:
    told.step("/no/such/program")
    assert told.answers == []
    assert told.wait() == (-9, "cannot start /no/such/program: No such file or directory")


def test_one_that_takes_too_long_is_killed(told: Told) -> None:
    told.step(sys.executable, "-c", "import signal; signal.pause()", seconds=0.05)
    code, text = told.wait()
    assert code == -9 and text.endswith(" took more than 0.05 s")


def test_nothing_stays_of_one_that_is_given_up(told: Told) -> None:
    step = told.step(sys.executable, "-c", PARENT)
    run_until(lambda: b"\n" in step._output, told.loop)
    child = identify(int(step._output))
    assert child is not None
    step.cancel()
    step.cancel()
    run_until(lambda: identify(child.pid) != child, told.loop, told.loop)
    assert told.answers == []
