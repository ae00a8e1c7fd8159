"""The pool's keeper beside a disk that takes its time: requests go on while fsyncs are made."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from daemons.loop import Loop
from daemons.stord_keeper import Keeper
from daemons.worker import Worker
from storvirt.backing.member import PythonMember
from storvirt.pool.pool import Busy
from tests.support.clock import ClockLoop
from tests.support.links import run_until
from tests.support.poolrig import MEMBER, MIB, Kind, make, volume
from tests.support.simfile import SimFile


class SlowFile(SimFile):
    """Its syncs wait for `gate`. `begun`: how many began; two at once are a mistake. `gone`: why it is no member."""

    def __init__(self) -> None:
        super().__init__(MEMBER)
        self.gate = threading.Event()
        self.gate.set()
        self.begun = self.beside = 0
        self.gone: str | None = None

    def check(self) -> str | None:
        return self.gone

    def sync(self) -> None:
        self.begun += 1
        self.beside += 1
        assert self.beside == 1, "a sync beside another one"
        assert self.gate.wait(60)
        super().sync()
        self.beside -= 1


class Rig:
    """A pool of one slow member, its keeper and loop; and one client that tries again when it is asked to."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.file = SlowFile()
        self.pool = make([PythonMember(self.file, "slow")], [Kind("linear")])
        self.keeper = Keeper(self.loop, self.pool, {})
        self.keeper.served.append(self)  # type: ignore[arg-type]  # the two methods that the keeper calls
        self.stalled = ""
        self.written = 0

    def until(self, condition: Callable[[], Any], what: str) -> None:
        run_until(condition, self.loop, what=what)

    def hold(self) -> None:
        """A checkpoint is begun, and the disk does not answer."""
        begun = self.file.begun
        self.file.gate.clear()
        self.pool.checkpoints.wanted = True
        self.loop.call_later(0, lambda: None)
        self.until(lambda: self.file.begun > begun, "the first fsync of a checkpoint")

    def write(self) -> bool:
        """One request; False if it waits."""
        offset = self.written * 4096 % (2 * MIB)
        try:
            volume(self.pool, "linear-0").write(offset, self.written.to_bytes(4, "big") * 1024)
        except Busy as pause:
            self.stalled = str(pause)
            return False
        self.written += 1
        return True

    def resume(self) -> bool:
        self.stalled = ""
        return self.write()

    def close(self) -> None:
        self.file.gate.set()
        over: list[bool] = []
        self.keeper.end(lambda: over.append(True))
        self.until(lambda: over, "the keeper's end")
        self.loop.close()


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.close()


def test_requests_go_on_between_the_halves_of_a_checkpoint(rig: Rig) -> None:
    rig.write()
    rig.hold()
    before = rig.pool.checkpoints.count
    answers: list[object] = []
    for _ in range(20):
        assert rig.write()
    assert volume(rig.pool, "linear-0").read(20 * 4096, 4) == (20).to_bytes(4, "big")
    rig.keeper.flush(answers.append)
    assert not answers and rig.pool.checkpoints.count == before
    rig.file.gate.set()
    rig.until(lambda: rig.pool.checkpoints.count > before, "the checkpoint's end")
    rig.until(lambda: answers == [None], "the flush that came meanwhile")


def test_who_needs_a_checkpoint_waits_for_it_and_nobody_speaks_of_trouble(
    rig: Rig, capfd: pytest.CaptureFixture[str]
) -> None:
    rig.hold()
    rig.until(lambda: not rig.write(), "a write that has to wait, because the log is full")
    written = rig.written
    assert rig.pool.awaited and not rig.keeper.suspended
    assert volume(rig.pool, "linear-0").read(0, 4096), "reads don't wait"
    rig.file.gate.set()
    rig.until(lambda: rig.written > written, "the write that waited")
    assert not rig.stalled and not rig.keeper.suspended and "waits" not in capfd.readouterr().err
    while rig.pool.checkpoints.pending:
        rig.until(lambda: not rig.pool.checkpoints.pending, "the end of what is under way")
    assert all(rig.write() for _ in range(8))


def test_who_makes_fsyncs_himself_waits_for_those_under_way(rig: Rig) -> None:
    rig.hold()
    begun, settle = rig.file.begun, rig.pool.settle

    def opened() -> None:
        rig.file.gate.set()
        settle()

    rig.pool.settle = opened
    rig.pool.checkpoint()
    assert rig.file.begun == begun + 2 and not rig.pool.checkpoints.pending
    rig.pool.settle = settle
    assert rig.write()


def test_settling_waits_for_the_call_but_its_result_comes_from_the_loop() -> None:
    loop = Loop()
    worker = Worker(loop)
    worker.settle()  # nothing was begun
    gate, results = threading.Event(), list[str]()
    worker.run(lambda: gate.wait(60) and "made", results.append)
    gate.set()
    worker.settle()
    assert not results
    run_until(lambda: results == ["made"], loop, what="the result")
    worker.close()
    worker.settle()  # and nothing is begun any more
    loop.close()


@pytest.mark.parametrize("moment", [0.05, 0.5, 0.95, 1.0])
def test_what_is_gone_is_out_and_said_so_within_two_seconds(moment: float, capfd: pytest.CaptureFixture[str]) -> None:
    """By the loop's own clock, which is a number here."""
    loop = ClockLoop()
    loop.at = 0.0
    files = [SlowFile() for _ in range(3)]
    pool = make([PythonMember(file, f"m{number}") for number, file in enumerate(files)], [Kind("raid5")])
    keeper = Keeper(loop, pool, {})

    def pass_until(time: float) -> None:
        assert loop.at is not None
        while loop.at < time:
            loop.advance(0.05)

    pass_until(moment)
    files[1].gone = "it was removed"
    assert pool.present().keys() == {0, 1, 2}
    pass_until(moment + 2.0)
    assert pool.present().keys() == {0, 2}
    assert "member m1 is out: it was removed" in capfd.readouterr().err
    loop.at = None
    over: list[bool] = []
    keeper.end(lambda: over.append(True))
    run_until(lambda: over, loop, what="the keeper's end")
    loop.close()
