"""vmd's line to one QEMU: QMP (QEMU's docs/interop/qmp-spec), any number of commands under way, events as they come.

Knows: the greeting, qmp_capabilities, when to try again. Refuses to know: what commands and events mean, who waits for
which answer (`calls`). netvirt/ports/qmp.py is the smaller one of switches, which says one thing only.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Final

from daemons.calls import Calls, Done
from daemons.control import ControlError, Lines, encode
from daemons.loop import Loop
from netvirt.ports.retry import Retry
from netvirt.ports.unixpath import unix_socket

# query-qmp-schema, the longest answer there is, has some 300 KB.
LONGEST_LINE: Final = 4 << 20
MOST_CALLS: Final = 64
_AT_ONCE: Final = 1 << 16
_FIRST_RETRY, _LAST_RETRY = 0.01, 0.5
_LONGEST_SENTENCE: Final = 300

Failed = Callable[[str], None]


class Qmp:
    """The monitor behind the unix socket `path`; dials until close(), because QEMU takes its time to begin.

    `ready()` whenever commands may be given (again), `event(message)` for each event. Nothing is raised.
    """

    def __init__(
        self, loop: Loop, path: str, ready: Callable[[], None], event: Callable[[dict[str, Any]], None]
    ) -> None:
        self.ready = False
        self._loop = loop
        self._path = path
        self._on_ready = ready
        self._on_event = event
        self._stream: socket.socket | None = None
        self._lines = Lines(LONGEST_LINE)
        self._output = bytearray()
        self._calls: Calls[str] = Calls(loop)
        self._retry = Retry(loop, self.open, _FIRST_RETRY, _LAST_RETRY)

    def open(self) -> None:
        stream = unix_socket(socket.SOCK_STREAM)
        try:
            stream.connect(self._path)
        except OSError:
            stream.close()
            self._retry.later()
            return
        self._stream, self._lines = stream, Lines(LONGEST_LINE)
        self._loop.reader(stream.fileno(), self._readable)

    def call(self, command: str, arguments: dict[str, Any], done: Done, failed: Failed, timeout: float = 10.0) -> None:
        """Exactly one of `done(value)` and `failed(sentence)` is called, perhaps at once, within `timeout` seconds."""
        if not self.ready:
            failed("QEMU does not answer yet")
        elif len(self._calls) >= MOST_CALLS:
            failed(f"{MOST_CALLS} commands are under way already, which is the limit")
        else:
            self._send(command, arguments, done, failed, timeout)

    def _send(self, command: str, arguments: dict[str, Any], done: Done, failed: Failed, timeout: float) -> None:
        number = self._calls.begin(done, failed, timeout, f"QEMU gave no answer within {timeout:g} s")
        message: dict[str, Any] = {"execute": command, "id": number}
        self._output += encode({**message, "arguments": arguments} if arguments else message)
        self._flush()

    def drain(self) -> None:
        """Hear what QEMU said last, after its end."""
        for _ in range(64):
            if self._stream is None or not self._read():
                return

    def close(self) -> None:
        """Hang up for good; calls that are under way fail."""
        self._hang_up("the machine has ended")
        self._retry.cancel()

    # --- the connection

    def _hang_up(self, why: str) -> None:
        self.ready = False
        self._output.clear()
        if self._stream is not None:
            self._loop.reader(self._stream.fileno(), None)
            self._loop.writer(self._stream.fileno(), None)
            self._stream.close()
            self._stream = None
        self._calls.fail_all(why)

    def _lost(self) -> None:
        self._hang_up("QEMU has hung up")
        self._retry.later()

    def _readable(self) -> None:
        self._read()

    def _read(self) -> bool:
        """False: there is nothing more."""
        assert self._stream is not None
        try:
            data = self._stream.recv(_AT_ONCE)
            messages = self._lines.receive(data)
        except BlockingIOError:
            return False
        except (OSError, ControlError):
            data, messages = b"", []
        for message in messages:
            if self._stream is not None:
                self._heard(message)
        if not data and self._stream is not None:
            self._lost()
        return bool(data)

    def _flush(self) -> None:
        if self._stream is None:
            return
        try:
            while self._output:
                del self._output[: self._stream.send(self._output)]
        except BlockingIOError:
            self._loop.writer(self._stream.fileno(), self._flush)
        except OSError:
            pass  # the reader hears of it, too
        else:
            self._loop.writer(self._stream.fileno(), None)

    # --- the conversation

    def _heard(self, message: dict[str, Any]) -> None:
        if "QMP" in message:
            self._output += encode({"execute": "qmp_capabilities", "id": 0})
            self._flush()
        elif "event" in message:
            self._on_event(message)
        elif message.get("id") == 0 and "return" in message:
            self.ready = True
            self._retry.reset()
            self._on_ready()
        else:
            self._answered(message)

    def _answered(self, message: dict[str, Any]) -> None:
        call = self._calls.take(message.get("id"))
        if call is None:
            return
        error = message.get("error")
        if isinstance(error, dict):
            call.failed(printable(str(error.get("desc") or error.get("class") or "no reason given")))
        else:
            call.done(message.get("return"))


def printable(text: str) -> str:
    """One line for a terminal, whoever may have written it."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:_LONGEST_SENTENCE]).strip()
