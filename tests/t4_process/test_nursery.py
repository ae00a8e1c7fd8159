"""Daemons that are forked from a nursery: processes of their own in every respect, with or without it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemons import process as processes
from daemons.client import Client
from daemons.launcher import LocalLauncher, listen
from daemons.loop import Loop
from daemons.process import Process, identify
from daemons.supervisor import ARGV
from tests.support.links import run_until


class Yard:
    """A launcher and the switches that it starts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loop = Loop()
        self.launcher = LocalLauncher(self.loop)
        self.ended: list[str] = []
        self.living: dict[str, Process] = {}

    def start(self, name: str) -> Process:
        words = {"{node}": name, "{lock}": f"{self.folder}/{name}.lock"}
        with listen(f"{self.folder}/{name}.ctl") as control:
            argv = [words.get(word, word) for word in ARGV["switchd"]]
            process = self.launcher.start(argv, f"{self.folder}/{name}.log", control)
        self.living[name] = process
        self.launcher.watch(process, lambda: self._gone(name))
        return process

    def _gone(self, name: str) -> None:
        self.ended.append(name)
        del self.living[name]

    def name(self, name: str) -> str:
        with Client(f"{self.folder}/{name}.ctl", timeout=20) as client:
            return str(client.call("status")["name"])

    def expect(self) -> int:
        """Have a nursery; its pid."""
        self.launcher.expect(3)
        run_until(lambda: self.nursery() is not None, self.loop, what="the nursery")  # its exec is under way
        return self.nursery() or 0

    def nursery(self) -> int | None:
        """The pid of our nursery, found by its command line."""
        for entry in os.listdir("/proc"):
            if entry.isdigit() and _parent(int(entry)) == os.getpid() and b"daemons.nursery" in _line(int(entry)):
                return int(entry)
        return None

    def close(self) -> None:
        self.launcher.close()
        for process in list(self.living.values()):
            self.launcher.end(process)
        run_until(lambda: not self.living, self.loop, what="the end of all")
        self.loop.close()


def _line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    except OSError:
        return 0


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    made = Yard(tmp_path)
    yield made
    made.close()


def test_children_are_processes_of_their_own(yard: Yard, tmp_path: Path) -> None:
    nursery = yard.expect()
    for name in ("s1", "s2", "s3"):
        process = yard.start(name)
        assert yard.name(name) == name
        assert identify(process.pid) == process
        assert _parent(process.pid) == nursery
        assert os.getsid(process.pid) == process.pid
        assert Path(f"/proc/{process.pid}/comm").read_text() == "switchd\n"
        found = dict(processes.with_option("--lock", f"{tmp_path}/"))
        assert found[process] == f"{tmp_path}/{name}.lock"
    yard.launcher.end(yard.living["s2"])
    run_until(lambda: yard.ended == ["s2"], yard.loop, what="the end of s2")
    assert (yard.name("s1"), yard.name("s3")) == ("s1", "s3")


def test_the_second_with_a_lock_says_so_in_its_own_log(yard: Yard, tmp_path: Path) -> None:
    yard.expect()
    first = yard.start("s1")
    assert yard.name("s1") == "s1"
    with listen(f"{tmp_path}/other.ctl") as control:
        argv = [{"{node}": "s1", "{lock}": f"{tmp_path}/s1.lock"}.get(word, word) for word in ARGV["switchd"]]
        second = yard.launcher.start(argv, f"{tmp_path}/second.log", control)
    ended: list[bool] = []
    yard.launcher.watch(second, lambda: ended.append(True))
    run_until(lambda: bool(ended), yard.loop, what="the end of the second")
    assert f"switch s1 runs already (pid {first.pid} holds" in (tmp_path / "second.log").read_text()


def test_its_children_live_on_without_it_and_others_start_without_it(yard: Yard) -> None:
    nursery = yard.expect()
    yard.start("s1")
    assert yard.name("s1") == "s1"
    os.kill(nursery, signal.SIGKILL)
    second = yard.start("s2")
    assert yard.name("s2") == "s2"
    assert _parent(second.pid) == os.getpid()
    assert yard.name("s1") == "s1"
    run_until(lambda: yard.nursery() is None, yard.loop, what="the nursery reaped")


def test_the_nursery_ends_with_its_owner(yard: Yard) -> None:
    yard.expect()
    yard.start("s1")
    yard.launcher.close()
    assert yard.nursery() is None
    assert yard.name("s1") == "s1"


def test_few_starts_need_none(yard: Yard) -> None:
    yard.launcher.expect(2)
    assert yard.nursery() is None
    assert _parent(yard.start("s1").pid) == os.getpid()


def test_what_children_share_is_not_theirs_alone(yard: Yard) -> None:
    """256 switches must fit into 3 GB: what a forked one has to itself is under three quarters of a lone one's."""
    alone = yard.start("alone")
    assert yard.name("alone") == "alone"
    yard.expect()
    forked = [yard.start(f"s{n}") for n in range(4)]
    assert [yard.name(f"s{n}") for n in range(4)] == ["s0", "s1", "s2", "s3"]
    assert max(map(_private, forked)) < 0.75 * _private(alone)


def _private(process: Process) -> int:
    text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_"))


STRAYS = """
import os, signal, socket, sys
from daemons.launcher import LocalLauncher, raise_orphans
from daemons.loop import Loop
raise_orphans()
loop = Loop()
launcher = LocalLauncher(loop)
loop.on_signal(signal.SIGCHLD, launcher.reap_strays)
ours, _ = socket.socketpair()
# The child leaves a child of its own to us, which ends when the child has: then the pipe has no other end any more.
words = "import os; r, w = os.pipe(); os.fork() or (os.close(w), os.read(r, 1))"
child = launcher.start([sys.executable, "-c", words], sys.argv[1], ours)
ended = []
launcher.watch(child, lambda: ended.append(child))
loop.call_later(2.5, loop.stop)
loop.run()
assert ended
try:
    print("left", os.waitpid(-1, os.WNOHANG))
except ChildProcessError:
    print("nobody left")
"""


def test_children_of_children_are_reaped(tmp_path: Path) -> None:
    """fabricd gets them when a child ends that had started something, such as an adopted virtual machine's."""
    command = [sys.executable, "-P", "-c", STRAYS, str(tmp_path / "log")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "nobody left\n", done
