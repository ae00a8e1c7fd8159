"""The client of QEMU's QMP on a real loop: greeting, cable, a QEMU that comes late, goes, refuses, or is none."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from netvirt.ports.errors import PortError
from netvirt.ports.loop import Loop
from netvirt.ports.qmp import LONGEST_LINE, Qmp
from tests.support.links import run_until

GREETING: dict[str, Any] = {
    "QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}, "capabilities": ["oob"]}
}
EVENT = {"timestamp": {"seconds": 1, "microseconds": 2}, "event": "NIC_RX_FILTER_CHANGED", "data": {"name": "n"}}


class Rig:
    """A client, and a monitor that says only what the test lets it say."""

    def __init__(self, path: Path) -> None:
        self.loop = Loop()
        self.path = str(path)
        self.qmp = Qmp(self.loop, self.path, "net0", retry_min=0.005, retry_max=0.02)
        self._listener: socket.socket | None = None
        self._peer: socket.socket | None = None
        self._read = b""
        self.heard: list[Any] = []

    def start(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(1)
        self._listener.setblocking(False)

    def end(self) -> None:
        """As a QEMU that ends: the file goes, too."""
        for each in (self._peer, self._listener):
            if each is not None:
                each.close()
        self._peer = self._listener = None
        Path(self.path).unlink(missing_ok=True)

    def serve(self) -> None:
        """Waits for the client, which finds it by itself."""
        if self._peer is not None:
            self._peer.close()

        def accepted() -> bool:
            assert self._listener is not None
            try:
                self._peer, _ = self._listener.accept()
            except BlockingIOError:
                return False
            self._peer.setblocking(False)
            return True

        run_until(accepted, self.loop, what="a connection")
        self._read, self.heard = b"", []

    def say(self, *lines: Any) -> None:
        assert self._peer is not None
        for line in lines:
            self._peer.sendall(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\r\n")

    def hear(self) -> Any:
        """The client's next line."""

        def got() -> bool:
            assert self._peer is not None
            try:
                self._read += self._peer.recv(65536)
            except BlockingIOError:
                pass
            return b"\n" in self._read

        run_until(got, self.loop, what="a line")
        line, _, self._read = self._read.partition(b"\n")
        return json.loads(line)

    def until(self, condition: Callable[[], object], what: str) -> None:
        run_until(condition, self.loop, what=what)

    def settle(self) -> None:
        """Greeted and negotiated: what comes next is a command."""
        self.serve()
        self.say(GREETING)
        assert self.hear() == {"execute": "qmp_capabilities"}
        self.say({"return": {}})

    def agreed(self, up: bool) -> None:
        assert self.hear() == link(up)
        self.say({"return": {}})
        self.until(lambda: self.qmp.statistics()["qmp-link"] == ("up" if up else "down"), "the answer")

    def count(self, name: str) -> int:
        return int(self.qmp.statistics()[name])

    def close(self) -> None:
        self.qmp.close()
        self.end()
        self.loop.close()
        assert self.loop.mistakes == 0


def link(up: bool) -> dict[str, Any]:
    return {"execute": "set_link", "arguments": {"name": "net0", "up": up}}


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path / "s1-eth5.qmp")
    yield made
    made.close()


def test_the_cable_is_told_at_once_and_at_each_change(rig: Rig) -> None:
    rig.start()
    rig.qmp.open()
    rig.settle()
    rig.agreed(True)
    rig.qmp.set_link(False)
    rig.say(EVENT, b"\r\n")
    rig.agreed(False)
    rig.qmp.set_link(False)  # known already
    rig.qmp.set_link(True)
    rig.agreed(True)
    assert rig.count("qmp-commands") == 3 and rig.qmp.problem == "" and rig.qmp.state == "ready"


def test_one_command_at_a_time_and_only_the_last_wish_counts(rig: Rig) -> None:
    rig.start()
    rig.qmp.open()
    rig.settle()
    assert rig.hear() == link(True)
    for up in (False, True, False):
        rig.qmp.set_link(up)
    rig.say({"return": {}})
    rig.agreed(False)
    assert rig.count("qmp-commands") == 2


def test_a_qemu_that_starts_late_and_one_that_is_started_anew(rig: Rig) -> None:
    rig.qmp.set_link(False)
    rig.qmp.open()
    rig.until(lambda: rig.loop.rounds > 10, "some tries")
    assert rig.qmp.state == "absent" and rig.qmp.problem == ""
    for _ in range(2):
        rig.start()
        rig.settle()
        rig.agreed(False)
        rig.end()
        rig.until(lambda: rig.qmp.state == "absent", "the end of QEMU")
        assert rig.qmp.statistics()["qmp-link"] == "unknown"
    assert rig.count("qmp-connects") == 2 and rig.count("qmp-junk") == 0


def test_a_card_that_there_is_not_is_a_problem_until_there_is(rig: Rig) -> None:
    rig.start()
    rig.qmp.open()
    rig.settle()
    assert rig.hear() == link(True)
    rig.say({"error": {"class": "DeviceNotFound", "desc": "Device 'net0' not found\x1b[2J" + "x" * 1000}})
    rig.until(lambda: rig.qmp.problem, "a problem")
    assert "Device 'net0' not found [2J" in rig.qmp.problem and len(rig.qmp.problem) < 350
    assert rig.qmp.problem.isprintable() and rig.qmp.statistics()["problem"] == rig.qmp.problem
    rig.agreed(True)  # asked again after a while, by itself
    assert rig.qmp.problem == "" and rig.count("qmp-refused") == 1


JUNK = [
    b"hello\n",
    b"[1, 2]\n",
    b"{}\n",
    b'{"return": {}}\n',
    b"[" * 60_000 + b"\n",
    b"\xff\xfe\n",
    b"x" * (2 * LONGEST_LINE),
]


@pytest.mark.parametrize("junk", JUNK, ids=range(len(JUNK)))
def test_who_is_no_qemu_is_left_and_tried_again(rig: Rig, junk: bytes) -> None:
    rig.start()
    rig.qmp.open()
    rig.serve()
    rig.say(junk)
    rig.until(lambda: rig.count("qmp-junk"), "junk counted")
    rig.settle()
    rig.agreed(True)


@pytest.mark.parametrize("wrong", [{"return": {}}, {"error": "no"}, {"error": {}}, GREETING])
def test_answers_that_nobody_asked_for_end_the_connection(rig: Rig, wrong: dict[str, Any]) -> None:
    rig.start()
    rig.qmp.open()
    rig.settle()
    rig.agreed(True)
    rig.say(wrong)
    rig.until(lambda: rig.count("qmp-junk"), "junk counted")


def test_a_monitor_that_serves_somebody_else_holds_nothing_up(rig: Rig) -> None:
    """QEMU takes the next client from its backlog when the one before has gone: until then it says nothing."""
    rig.start()
    rig.qmp.open()
    rig.until(lambda: rig.qmp.state == "greeting", "a connection")
    rig.qmp.set_link(False)
    rig.settle()
    rig.agreed(False)


@pytest.mark.parametrize(
    ("path", "card"), [("", "net0"), ("/" + "a" * 107, "net0"), ("/q", ""), ("/q", "a b"), ("/q", "1")]
)
def test_names_that_can_not_be(path: str, card: str) -> None:
    with pytest.raises(PortError):
        Qmp(Loop(), path, card)
