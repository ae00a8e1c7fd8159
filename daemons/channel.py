"""The control protocol's client half for loops: fabricd's line to each of its children.

Knows: calls without blocking, a peer that is slow or gone. Refuses to know: what the operations mean, who waits for
which answer (`calls`).
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, NamedTuple

from daemons.calls import Calls, Done
from daemons.control import ControlError, Lines, encode
from daemons.loop import Loop


class Failure(NamedTuple):
    """Why a call has no value. `answered`: the peer itself said so; otherwise it is silent or gone."""

    sentence: str
    answered: bool


Failed = Callable[[Failure], None]
_READ = 1 << 18


class Channel:
    """Calls operations at `path`. It connects with the first call, and again after the peer was lost."""

    def __init__(self, loop: Loop, path: str) -> None:
        self._loop = loop
        self._path = path
        self._socket: socket.socket | None = None
        self._output = bytearray()
        self._lines = Lines()
        self._calls: Calls[Failure] = Calls(loop)

    def call(self, op: str, args: dict[str, Any], done: Done, failed: Failed, timeout: float) -> None:
        """Exactly one of `done(value)` and `failed(failure)` is called, later, within `timeout` seconds."""
        late = Failure(f"no answer from {self._path} within {timeout:g} s", False)
        call_id = self._calls.begin(done, failed, timeout, late)
        self._output += encode({"id": call_id, "op": op, "args": args})
        if self._socket is None and not self._connect():
            return
        self._flush()

    def _connect(self) -> bool:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            connection.connect(self._path)
        except OSError as error:
            connection.close()
            sentence = f"nobody answers at {self._path}: {error.strerror or error}"
            self._loop.call_later(0, lambda: self._lost(sentence))
            return False
        self._socket = connection
        self._lines = Lines()
        self._loop.reader(connection.fileno(), self._readable)
        return True

    def _flush(self) -> None:
        if self._socket is None:
            return
        try:
            while self._output:
                del self._output[: self._socket.send(self._output)]
            self._loop.writer(self._socket.fileno(), None)
        except BlockingIOError:
            self._loop.writer(self._socket.fileno(), self._flush)
        except OSError as error:
            sentence = f"lost the connection to {self._path}: {error.strerror}"
            self._loop.call_later(0, lambda: self._lost(sentence))

    def _readable(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(_READ)
            messages = self._lines.receive(data)
        except BlockingIOError:
            return
        except (OSError, ControlError) as error:
            self._lost(f"lost the connection to {self._path}: {error}")
            return
        if not data:
            self._lost(f"the process behind {self._path} has hung up")
            return
        for message in messages:
            if "ok" in message or "error" in message:
                self._answer(message)

    def _answer(self, message: dict[str, Any]) -> None:
        call = self._calls.take(message.get("id"))
        if call is None:
            return
        if "ok" in message:
            call.done(message["ok"])
        else:
            call.failed(Failure(str(message["error"]), True))

    def _lost(self, sentence: str) -> None:
        self.close()
        self._calls.fail_all(Failure(sentence, False))

    def close(self) -> None:
        """Hang up. Calls that are under way are failed by their timeouts."""
        self._output.clear()
        if self._socket is not None:
            self._loop.reader(self._socket.fileno(), None)
            self._loop.writer(self._socket.fileno(), None)
            self._socket.close()
            self._socket = None
