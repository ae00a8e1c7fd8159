"""The blocking client half of the control protocol, for commands and tests.

Knows: how to call one operation and wait. Refuses to know: loops; a daemon calls others through `channel.py`.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from types import TracebackType
from typing import Any

from daemons.control import ControlError, Lines, encode, peer_pid
from daemons.errors import UserError
from daemons.process import Process, identify

_READ = 1 << 18


class Refused(UserError):
    """The daemon answered with an error: its sentence."""


class Unreachable(UserError):
    """There is no daemon at that path, or it does not answer."""


class Client:
    """One connection to a daemon's control socket. `timeout` is the longest silence in seconds; None waits for ever."""

    def __init__(self, path: str | os.PathLike[str], timeout: float | None = 5.0) -> None:
        self.path = os.fspath(path)
        self._lines = Lines()
        self._waiting: list[dict[str, Any]] = []
        self._next_id = 1
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(self.path)
        except OSError as error:
            self._socket.close()
            raise Unreachable(f"nobody answers at {self.path}: {error.strerror or error}") from None

    def server(self) -> Process | None:
        """The process that listens at the other end (for fabricd; a child's socket was made by fabricd)."""
        return identify(peer_pid(self._socket))

    def call(self, op: str, /, events: Callable[[Any], None] | None = None, **args: Any) -> Any:
        """The value that the daemon answers. Raises Refused or Unreachable. `events` gets every event before it."""
        request_id = self._next_id
        self._next_id += 1
        try:
            self._socket.sendall(encode({"id": request_id, "op": op, "args": args}))
        except OSError:
            pass  # it hung up: what it said before (a refusal) is still there to be read
        while True:
            message = self._receive()
            if message.get("id") not in (request_id, None):
                continue
            if "event" in message:
                if events is not None:
                    events(message["event"])
            elif "error" in message:
                raise Refused(str(message["error"]))
            else:
                return message.get("ok")

    def begin(self, op: str, /, **args: Any) -> Any:
        """The first event of an operation that goes on until close(). Raises as call() does, also if it is over."""
        self._socket.sendall(encode({"id": self._next_id, "op": op, "args": args}))
        message = self._receive()
        if "event" not in message:
            raise Refused(str(message.get("error", f"{op} is over at once")))
        return message["event"]

    def _receive(self) -> dict[str, Any]:
        while not self._waiting:
            try:
                data = self._socket.recv(_READ)
            except TimeoutError:
                seconds = self._socket.gettimeout()
                raise Unreachable(f"no answer from {self.path} within {seconds:g} s") from None
            except OSError as error:
                raise Unreachable(f"lost the connection to {self.path}: {error.strerror or error}") from None
            if not data:
                raise Unreachable(f"the process behind {self.path} has hung up")
            try:
                self._waiting.extend(self._lines.receive(data))
            except ControlError as error:
                raise Unreachable(f"what answers at {self.path} is none of ours: {error}") from None
        return self._waiting.pop(0)

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
