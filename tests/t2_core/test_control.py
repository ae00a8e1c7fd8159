"""The control protocol: the codec byte by byte, the server's manners with strange clients, both client halves."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemons import control
from daemons.channel import Channel, Failure
from daemons.client import Client, Refused, Unreachable
from daemons.control import ControlError, ControlServer, Lines, Reply, UserError, encode
from daemons.launcher import listen
from daemons.loop import Loop
from tests.support.waiting import until

VALUES: list[dict[str, Any]] = [{}, {"id": 1, "op": "status"}, {"text": "Zürich\n☎", "deep": {"list": [1, None, 2.5]}}]


def test_lines_whole_byte_by_byte_and_with_more_behind() -> None:
    data = b"".join(map(encode, VALUES))
    assert Lines().receive(data) == VALUES
    lines = Lines()
    assert [value for i in range(len(data)) for value in lines.receive(data[i : i + 1])] == VALUES
    lines = Lines()
    assert lines.receive(data + b'{"half":') == VALUES
    assert lines.receive(b" 1}\r\n\n") == [{"half": 1}]


@pytest.mark.parametrize(
    "junk",
    [
        b"\n\xff\n",
        b"hello\n",
        b"[1]\n",
        b"1\n",
        b"null\n",
        b'{"a":\n',
        b"[" * 100_000 + b"\n",
        b'"' + b"x" * 99 + b"\n",
    ],
)
def test_junk_is_one_error(junk: bytes) -> None:
    with pytest.raises(ControlError, match="a control line must be one JSON object"):
        Lines().receive(junk)


def test_a_line_without_an_end_is_an_error_before_memory_is_full() -> None:
    lines = Lines(max_line=1000)
    assert lines.receive(b"x" * 1000) == []
    with pytest.raises(ControlError, match="may have 1000 bytes"):
        lines.receive(b"x")


@given(st.binary(max_size=200))
def test_any_bytes_give_objects_or_the_one_error(data: bytes) -> None:
    try:
        assert all(isinstance(value, dict) for value in Lines().receive(data))
    except ControlError:
        pass


class Served:
    """A ControlServer whose loop runs in a thread."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.loop = Loop()
        self.gone: list[str] = []
        self.kept: list[Reply] = []
        self.server = ControlServer(
            self.loop,
            listen(self.path),
            {
                "echo": lambda args, reply: reply.done(args),
                "later": self._later,
                "keep": self._keep,
                "wrong": self._wrong,
                "broken": lambda args, reply: reply.done(args["no such key"]),
                "flood": self._flood,
            },
        )
        self._wake, self._woken = socket.socketpair()
        self.loop.reader(self._woken.fileno(), self.loop.stop)
        self._thread = threading.Thread(target=self.loop.run)
        self._thread.start()

    def _later(self, args: dict[str, Any], reply: Reply) -> None:
        for number in range(3):
            self.loop.call_later(0.001 * number, partial(reply.event, number))
        self.loop.call_later(0.01, lambda: reply.done("late"))

    def _keep(self, args: dict[str, Any], reply: Reply) -> None:
        reply.on_gone = lambda: self.gone.append(f"gone {reply.gone}")
        self.kept.append(reply)

    def _wrong(self, args: dict[str, Any], reply: Reply) -> None:
        raise UserError("there is no such thing; take another")

    def _flood(self, args: dict[str, Any], reply: Reply) -> None:
        while not reply.gone:
            reply.event("x" * (1 << 20))

    def close(self) -> None:
        self._wake.send(b"x")
        self._thread.join()
        self.server.close()
        self.loop.close()
        self._wake.close()
        self._woken.close()


@pytest.fixture
def served(home: Path) -> Iterator[Served]:
    served = Served(home / "ctl")
    yield served
    served.close()


def test_call_and_answer(served: Served) -> None:
    with Client(served.path) as client:
        assert client.call("echo", text="ü", op=1) == {"text": "ü", "op": 1}
        assert client.call("echo") == {}


def test_events_come_before_a_late_answer(served: Served) -> None:
    events: list[Any] = []
    with Client(served.path) as client:
        assert client.call("later", events=events.append) == "late"
    assert events == [0, 1, 2]


def test_the_users_mistake_is_its_sentence(served: Served) -> None:
    with Client(served.path) as client:
        with pytest.raises(Refused, match=r"^there is no such thing; take another$"):
            client.call("wrong")
        with pytest.raises(
            Refused, match="no operation 'fly' here; there are: broken, echo, flood, keep, later, wrong"
        ):
            client.call("fly")


def test_our_mistake_is_one_sentence_and_a_traceback_in_the_log(
    served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    with Client(served.path) as client:
        with pytest.raises(Refused, match=r"internal error \(KeyError\) in the operation 'broken'; the log has"):
            client.call("broken")
        assert client.call("echo", still="there") == {"still": "there"}
    assert "no such key" in capfd.readouterr().err


def test_requests_without_sense(served: Served) -> None:
    def answer(request: dict[str, Any]) -> Any:
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(served.path)
            raw.sendall(encode(request))
            return Lines().receive(raw.recv(65536))[0]

    assert "no operation None" in answer({"id": 7})["error"]
    assert "no operation [1]" in answer({"id": 7, "op": [1]})["error"]
    assert answer({"id": 7, "op": "echo", "args": [1]}) == {
        "id": 7,
        "error": "the arguments of 'echo' must be an object, not list",
    }


def test_junk_is_answered_counted_and_hung_up(served: Served) -> None:
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(served.path)
        raw.sendall(b"GET / HTTP/1.1\r\n\r\n")
        answer = Lines().receive(raw.recv(65536))[0]
        assert answer["id"] is None and "JSON object" in answer["error"]
        assert raw.recv(1) == b""
    assert served.server.statistics()["junk"] == 1


def test_a_client_that_hangs_up_is_told_to_whom_it_may_concern(served: Served) -> None:
    client = Client(served.path)
    client._socket.sendall(encode({"id": 1, "op": "keep"}))
    until(lambda: served.kept)
    assert not served.kept[0].gone
    client.close()
    until(lambda: served.gone)
    assert served.gone == ["gone True"]
    served.kept[0].done("nobody hears it")


def test_a_client_that_does_not_read_is_cut_off(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "MAX_OUTPUT", 4 << 20)
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(served.path)
        raw.sendall(encode({"id": 1, "op": "flood"}))
        until(lambda: served.server.statistics()["slow"] == 1)
    with Client(served.path) as client:
        assert client.call("echo", a=1) == {"a": 1}


def test_one_client_too_many_is_refused(served: Served) -> None:
    clients = [Client(served.path) for _ in range(control.MAX_CLIENTS)]
    assert [client.call("echo", n=n)["n"] for n, client in enumerate(clients)] == list(range(control.MAX_CLIENTS))
    with Client(served.path) as late, pytest.raises(Refused, match="64 clients are connected already"):
        late.call("echo")
    clients.pop().close()

    def admitted() -> bool:
        with Client(served.path) as client:
            try:
                return bool(client.call("echo", n=1))
            except Refused:
                return False

    until(admitted)
    for client in clients:
        client.close()
    assert served.server.statistics()["refused"] >= 1


def test_another_user_is_refused(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "peer_uid", lambda connection: os.getuid() + 1)
    with Client(served.path) as client, pytest.raises(Refused, match="belongs to user"):
        client.call("echo")


def test_nobody_there(home: Path) -> None:
    with pytest.raises(Unreachable, match=r"nobody answers at .*: No such file"):
        Client(home / "nothing")
    with pytest.raises(Unreachable, match=r"nobody answers at .*too long"):
        Client("/" + "x" * 200)
    listen(str(home / "dead")).close()
    with pytest.raises(Unreachable, match="Connection refused"):
        Client(home / "dead")


def test_silence_has_an_end(served: Served) -> None:
    with Client(served.path, timeout=0.05) as client, pytest.raises(Unreachable, match=r"no answer .* within 0.05 s"):
        client.call("keep")


@pytest.fixture
def channel_loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def ask(loop: Loop, channel: Channel, op: str, timeout: float = 5.0, **args: Any) -> Any:
    """The value or the Failure of one call."""
    got: list[Any] = []
    channel.call(op, args, got.append, got.append, timeout)
    assert got == [], "the answer must come later, never from within the call"
    until(lambda: loop.run_once(0.01) or got)
    loop.run_once(0.0)
    assert len(got) == 1
    return got[0]


def test_channel_answers_errors_and_silence(served: Served, channel_loop: Loop) -> None:
    channel = Channel(channel_loop, served.path)
    assert ask(channel_loop, channel, "echo", a=1) == {"a": 1}
    assert ask(channel_loop, channel, "wrong") == Failure("there is no such thing; take another", True)
    failure = ask(channel_loop, channel, "keep", timeout=0.02)
    assert not failure.answered and "within 0.02 s" in failure.sentence
    assert ask(channel_loop, channel, "later") == "late", "events are passed over"
    channel.close()


def test_channel_calls_under_way_fail_when_the_peer_goes(
    home: Path, channel_loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = Served(home / "ctl")
    channel = Channel(channel_loop, served.path)
    got: list[Any] = []
    channel.call("keep", {}, got.append, got.append, 30.0)
    until(lambda: channel_loop.run_once(0.01) or served.kept)
    served.close()
    until(lambda: channel_loop.run_once(0.01) or got)
    assert isinstance(got[0], Failure) and not got[0].answered
    assert not ask(channel_loop, channel, "echo").answered
    again = Served(home / "ctl")
    assert ask(channel_loop, channel, "echo", b=2) == {"b": 2}, "it connects again by itself"
    channel.close()
    again.close()
