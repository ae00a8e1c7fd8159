"""TAPs that are left with fabricd: plugged into their port again and again, and let go when they are of no use."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemons import deposits
from daemons.deposits import Deposits, leave
from netvirt.ports.errors import PortError
from netvirt.ports.loop import Loop
from netvirt.ports.tap import TapPort
from tests.support import peers
from tests.support.links import End, run_until
from tests.support.taps import Stack


class Bench:
    """A loop with a port where a TAP may be left, and who holds it."""

    def __init__(self, folder: Path) -> None:
        self.loop = Loop()
        self.path, self.taps = str(folder / "s1-p.tap"), str(folder / "fabricd.tap")
        self.ports: dict[str, str] = {"s1:p": self.path}
        self.holder = Deposits(self.loop, self.taps, self.ports.get)
        self.holder.open()
        self.port = self.new_port()

    def new_port(self) -> TapPort:
        end = End(self.loop)
        self.port = TapPort(self.loop, end.queue, end.receive, end.carrier_changed, path=self.path)
        self.port.open()
        return self.port

    def leave(self, where: str, fd: int) -> str:
        """What the giver is told, "" for yes; the loop is ours, so he is a thread."""
        said: list[str] = []

        def give() -> None:
            try:
                leave(self.taps, where, fd)
                said.append("")
            except PortError as error:
                said.append(str(error))

        thread = threading.Thread(target=give)
        thread.start()
        run_until(lambda: bool(said), self.loop, what="an answer")
        thread.join()
        return said[0]

    def until_plugged(self) -> None:
        run_until(lambda: self.port.statistics().get("kept") == 1, self.loop, what="the plug is in")

    def close(self) -> None:
        self.holder.close()
        self.port.close()
        assert self.loop.mistakes == 0
        self.loop.close()


@pytest.fixture
def bench(folder: Path) -> Iterator[Bench]:
    made = Bench(folder)
    yield made
    made.close()


@pytest.fixture
def stack() -> Iterator[Stack]:
    with Stack(["10.0.0.1/24"], 0) as made:
        yield made


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_new_port_gets_the_same_tap(bench: Bench, stack: Stack) -> None:
    assert bench.leave("s1:p", stack.tap) == ""
    bench.until_plugged()
    for _ in range(2):
        bench.port.close()
        bench.new_port()
        bench.until_plugged()
    run_until(lambda: bench.port.carrier, bench.loop, what="carrier")


def test_the_port_keeps_it_when_the_holder_ends(bench: Bench, stack: Stack) -> None:
    bench.leave("s1:p", stack.tap)
    bench.until_plugged()
    bench.holder.close()
    run_until(lambda: bench.port.carrier, bench.loop, what="carrier")
    assert bench.port.statistics()["unplugged"] == 0 and not os.path.exists(bench.taps)


def test_it_is_let_go_with_its_port(bench: Bench, stack: Stack) -> None:
    before = descriptors()
    bench.leave("s1:p", stack.tap)
    bench.until_plugged()
    bench.ports.clear()
    bench.holder.settle()
    bench.port.close()
    bench.new_port()
    assert descriptors() == before


def test_it_is_let_go_when_it_is_gone_itself(bench: Bench, stack: Stack) -> None:
    bench.leave("s1:p", stack.tap)
    bench.until_plugged()
    inside = ("-t", str(stack.process.pid), "-U", "-n", "--preserve-credentials", peers.need("ip"))
    subprocess.run([peers.need("nsenter"), *inside, "link", "del", "tap0"], check=True, timeout=20)
    run_until(lambda: "kept" not in bench.port.statistics(), bench.loop, what="the port hears of it")
    (held,) = bench.holder._held.values()
    run_until(lambda: "ended" in held.handing.problem, bench.loop, what="the holder hears of it")
    assert not held.handing._retry.waiting  # it is not given again
    bench.holder.settle()
    assert bench.holder._held == {}
    assert "no TAP" in bench.leave("s1:p", stack.tap)


def test_another_one_for_the_same_port_takes_its_place(bench: Bench, stack: Stack) -> None:
    bench.leave("s1:p", stack.tap)
    bench.until_plugged()
    before = descriptors()
    assert bench.leave("s1:p", stack.tap) == ""
    assert descriptors() <= before  # the first giver's may just have been closed


def test_what_cannot_be_left_is_given_back_with_a_sentence(bench: Bench, stack: Stack) -> None:
    one, other = socket.socketpair()
    before = descriptors()
    assert "no port of this lab" in bench.leave("s1:q", stack.tap)
    assert "no port of this lab" in bench.leave("x" * 150, stack.tap)
    assert "the descriptor is no TAP" in bench.leave("s1:p", one.fileno())
    assert descriptors() == before
    one.close()
    other.close()


def test_who_says_nothing_is_hung_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deposits, "_PATIENCE_SECONDS", 0.01)
    bench = Bench(folder)
    with socket.socket(socket.AF_UNIX) as silent, socket.socket(socket.AF_UNIX) as brief:
        silent.connect(bench.taps)
        brief.connect(bench.taps)
        brief.close()
        run_until(lambda: len(bench.holder._givers) > 0, bench.loop, what="he is there")
        run_until(lambda: not bench.holder._givers, bench.loop, what="he is gone")
        assert silent.recv(100) == b""
    bench.close()


def test_without_a_descriptor_there_is_nothing_to_leave(bench: Bench) -> None:
    with socket.socket(socket.AF_UNIX) as giver:
        giver.connect(bench.taps)
        giver.send(b"s1:p\n")
        run_until(lambda: len(bench.holder._givers) > 0, bench.loop, what="he is there")
        run_until(lambda: not bench.holder._givers, bench.loop, what="he is answered")
        assert b"no descriptor" in giver.recv(1000)


def test_nobody_there(folder: Path) -> None:
    with pytest.raises(PortError, match="cannot leave a TAP at s1:p"):
        leave(str(folder / "nobody"), "s1:p", 0)
