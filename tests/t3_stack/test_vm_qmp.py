"""vmd's QMP client against a monitor that a test plays: answers in any order, events, junk, silence, a new QEMU."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

from daemons import vm_qmp
from daemons.vm_qmp import MOST_CALLS, Qmp
from netvirt.ports.loop import Loop
from tests.support.links import run_until

GREETING = {"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}, "capabilities": ["oob"]}}


class Room:
    """A client whose path is `path`, and what it was told."""

    def __init__(self, folder: str) -> None:
        self.loop = Loop()
        self.path = os.path.join(folder, "vm1.mon")
        self.ready = 0
        self.events: list[dict[str, Any]] = []
        self.answers: list[Any] = []
        self.failures: list[str] = []
        self.qmp = Qmp(self.loop, self.path, self._ready, self.events.append)
        self._listening: socket.socket | None = None
        self.line: socket.socket | None = None
        self._received = b""

    def _ready(self) -> None:
        self.ready += 1

    def serve(self) -> None:
        """A new QEMU begins to listen."""
        self._close(self._listening)
        if os.path.exists(self.path):
            os.unlink(self.path)
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(self.path)
        self._listening.listen(1)
        self._listening.setblocking(False)

    def accept(self) -> None:
        assert self._listening is not None
        self._close(self.line)
        self._received = b""
        taken: list[socket.socket] = []

        def there() -> bool:
            assert self._listening is not None
            try:
                taken.append(self._listening.accept()[0])
            except BlockingIOError:
                return False
            return True

        run_until(there, self.loop)
        (self.line,) = taken
        self.line.setblocking(False)

    def say(self, *messages: Any) -> None:
        assert self.line is not None
        for message in messages:
            text = message if isinstance(message, bytes) else json.dumps(message).encode() + b"\r\n"
            self.line.sendall(text)

    def hear(self) -> dict[str, Any]:
        """The next command."""

        def whole() -> bool:
            assert self.line is not None
            try:
                self._received += self.line.recv(65536)
            except BlockingIOError:
                pass
            return b"\n" in self._received

        run_until(whole, self.loop)
        line, _, self._received = self._received.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def up(self) -> None:
        self.serve()
        self.qmp.open()
        self.greet()

    def greet(self) -> None:
        before = self.ready
        self.accept()
        self.say(GREETING)
        assert self.hear() == {"execute": "qmp_capabilities", "id": 0}
        self.say({"return": {}, "id": 0})
        run_until(lambda: self.ready == before + 1, self.loop)

    def call(self, command: str, timeout: float = 10.0, **arguments: Any) -> None:
        self.qmp.call(command, arguments, self.answers.append, self.failures.append, timeout)

    def _close(self, line: socket.socket | None) -> None:
        if line is not None:
            line.close()

    def close(self) -> None:
        self.qmp.close()
        self._close(self.line)
        self._close(self._listening)
        self.loop.close()


@pytest.fixture
def room() -> Iterator[Room]:
    with tempfile.TemporaryDirectory(prefix="vf-") as folder:
        made = Room(folder)
        yield made
        assert made.loop.mistakes == 0
        made.close()


def test_commands_are_answered_in_any_order(room: Room) -> None:
    room.call("too-early")
    assert room.failures == ["QEMU does not answer yet"]
    room.up()
    room.call("first")
    room.call("second", name="eth0")
    one, two = room.hear(), room.hear()
    assert one == {"execute": "first", "id": one["id"]}
    assert two == {"execute": "second", "id": two["id"], "arguments": {"name": "eth0"}}
    event = {"event": "RESET", "data": {"guest": True}}
    room.say({"return": 2, "id": two["id"]}, event, {"return": 7, "id": 12345}, {"return": 1, "id": one["id"]})
    run_until(lambda: room.answers == [2, 1], room.loop)
    assert room.events == [event]


def test_an_error_is_one_line(room: Room) -> None:
    room.up()
    room.call("fail")
    number = room.hear()["id"]
    room.say({"error": {"class": "GenericError", "desc": "no\x1b[2J\nsuch " + "x" * 1000}, "id": number})
    run_until(lambda: bool(room.failures), room.loop)
    (said,) = room.failures[-1:]
    assert said.startswith("no [2J such x") and said.isprintable() and len(said) <= 300


def test_a_qemu_that_is_silent_or_goes_fails_what_was_asked(room: Room) -> None:
    room.up()
    room.call("slow", timeout=0.01)
    run_until(lambda: room.failures == ["QEMU gave no answer within 0.01 s"], room.loop)
    room.call("never")
    room.serve()
    assert room.line is not None
    room.line.close()
    room.line = None
    run_until(lambda: room.failures[1:] == ["QEMU has hung up"], room.loop)
    assert not room.qmp.ready
    room.greet()  # it dials again
    room.call("last")
    room.qmp.close()
    assert room.failures[2:] == ["the machine has ended"]


@pytest.mark.parametrize("junk", [b"no json\n", b"[1, 2]\n", b"\xff\xfe\n", b'{"QMP"' * 1000 + b"\n"])
def test_junk_ends_the_connection_only(room: Room, junk: bytes) -> None:
    room.up()
    room.say(junk)
    room.greet()
    assert room.ready == 2


def test_a_line_without_an_end_is_not_kept(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vm_qmp, "LONGEST_LINE", 100_000)
    room.up()
    assert room.line is not None
    room.line.setblocking(True)
    room.say(b"x" * 60_000)
    room.loop.run_once(0.1)
    room.say(b"x" * 60_000)
    room.greet()


def test_answers_without_a_question_are_left_out(room: Room) -> None:
    room.up()
    room.say({}, {"id": None}, {"return": 1}, {"id": "a", "return": 1}, {"error": 5, "id": 9}, {"event": 7})
    room.call("on")
    room.say({"error": "text", "id": room.hear()["id"]})
    run_until(lambda: room.answers == [None], room.loop)
    assert room.events == [{"event": 7}]


def test_the_number_of_commands_under_way_is_bounded(room: Room) -> None:
    room.up()
    for _ in range(MOST_CALLS + 1):
        room.call("x")
    assert room.failures == [f"{MOST_CALLS} commands are under way already, which is the limit"]


def test_what_was_said_last_is_heard_after_the_end(room: Room) -> None:
    room.up()
    room.say({"event": "SHUTDOWN", "data": {"guest": True}})
    assert room.line is not None
    room.line.close()
    room.line = None
    room.qmp.drain()
    assert [event["event"] for event in room.events] == ["SHUTDOWN"]
