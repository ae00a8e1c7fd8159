"""QEMU's QMP as far as a cable goes: a machine is told whether one of its cards has a carrier (`set_link`).

Knows: the greeting, qmp_capabilities, one command at a time, QEMU's events (left out), when to try again.
Refuses to know: frames, why a cable is out, everything else that QMP can do.

A monitor of QEMU serves one client at a time and this one stays, so that it hears of a QEMU that is started anew, whose
cards are all up then: the monitor must be its own. QEMU's manual: docs/interop/qmp-spec.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from typing import Any, Final

from netvirt.ports import Cabled, Loop, Port, Timer
from netvirt.ports.errors import PortError
from netvirt.ports.retry import Retry
from netvirt.ports.unixpath import check_path, unix_socket

LONGEST_LINE: Final = 1 << 16  # QEMU's greeting has 150 bytes, an answer or event a few hundred
_AT_ONCE: Final = 1 << 14
_LONGEST_PROBLEM: Final = 200
# What a QEMU that answers is asked again after: a card may be plugged in later, and be there then.
_ASK_AGAIN_SECONDS: Final = 5.0
# id_wellformed() of QEMU; its own names for cards (virtio-net-pci.0) are such, too.
_CARD: Final = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,127}")


def check_card(card: str) -> None:
    """Raises PortError for a name that can be no device's or netdev's of QEMU."""
    if not _CARD.fullmatch(card):
        raise PortError(f"{card!r} is no id of QEMU's; use letters, digits, - . _ and begin with a letter")


class Qmp:
    """The monitor behind the unix socket `path` of a QEMU that may not run yet; `card`: the id of a netdev or a card.

    Waits `retry_min` seconds after a failure, doubled up to `retry_max`, for ever. `problem`: what QEMU said to the
    newest command, "" if it did it. Raises PortError (a bad path or name).
    """

    def __init__(self, loop: Loop, path: str, card: str, *, retry_min: float = 0.1, retry_max: float = 1.0) -> None:
        check_path(path)
        check_card(card)
        self.problem = ""
        self.state = "absent"  # greeting, negotiating (commands are allowed after it), ready, asked
        self._loop = loop
        self._path = path
        self._card = card
        self._retry = Retry(loop, self._dial, retry_min, retry_max)
        self._asking: Timer | None = None
        self._stream: socket.socket | None = None
        self._line = b""
        self._up = True
        self._asked: bool | None = None  # what the newest command said
        self._done: bool | None = None  # what QEMU has done; None: it was not asked yet
        self._counts = {"qmp-connects": 0, "qmp-commands": 0, "qmp-refused": 0, "qmp-junk": 0}

    def open(self) -> None:
        """Begins; a QEMU that does not run yet is no error."""
        self._dial()

    def set_link(self, up: bool) -> None:
        """The cable: now, if QEMU listens, else as soon as it does."""
        self._up = up
        if self.state == "ready" and self._done != up:
            self._ask()

    def close(self) -> None:
        """Ends the connection; the card stays as it is."""
        self._hang_up()
        self._retry.cancel()

    def statistics(self) -> dict[str, int | str]:
        """`qmp`: the conversation's state; `qmp-link`: what the card was told last; counters; the last problem."""
        told = {None: "unknown", True: "up", False: "down"}[self._done]
        problem = {"problem": self.problem} if self.problem else {}
        return {"qmp": self.state, "qmp-link": told, **self._counts, **problem}

    # --- the connection

    def _dial(self) -> None:
        stream = unix_socket(socket.SOCK_STREAM)
        try:
            stream.connect(self._path)
        except OSError:  # nobody there yet, or its backlog is full: both pass
            stream.close()
            self._retry.later()
            return
        self._stream, self.state, self._line, self._done = stream, "greeting", b"", None
        self._counts["qmp-connects"] += 1
        self._loop.reader(stream.fileno(), self._readable)

    def _hang_up(self) -> None:
        self._cancel()
        if self._stream is not None:
            self._loop.reader(self._stream.fileno(), None)
            self._stream.close()
            self._stream = None
        self.state, self._done, self._line = "absent", None, b""

    def _again(self) -> None:
        """QEMU has gone, or it is none."""
        self._hang_up()
        self._retry.later()

    def _readable(self) -> None:
        stream = self._stream
        if stream is None:
            return
        try:
            data = stream.recv(_AT_ONCE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._again()
            return
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            if not self._heard(line):
                return
        if len(self._line) > LONGEST_LINE:
            self._junk()

    def _junk(self) -> None:
        self._counts["qmp-junk"] += 1
        self._again()

    def _send(self, command: dict[str, Any]) -> None:
        assert self._stream is not None
        line = json.dumps(command).encode() + b"\n"
        try:
            # There is one command at a time and each is short: who has no room for it has never read.
            whole = self._stream.send(line) == len(line)
        except OSError:
            whole = False
        if not whole:
            self._again()

    # --- the conversation

    def _heard(self, line: bytes) -> bool:
        """One line of QEMU's; False: the connection is over."""
        if not line.strip():
            return True
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            self._junk()
        elif "event" not in said:
            turn = _TURNS.get(self.state)
            if turn is None or not turn(self, said):
                self._junk()
        return self._stream is not None

    def _greeted(self, said: dict[str, Any]) -> bool:
        if "QMP" not in said:
            return False
        self.state = "negotiating"
        self._send({"execute": "qmp_capabilities"})
        return True

    def _negotiated(self, said: dict[str, Any]) -> bool:
        if "return" not in said:
            return False
        self._retry.reset()
        self._ask()
        return True

    def _cancel(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None

    def _ask(self) -> None:
        self._cancel()
        self.state, self._asked = "asked", self._up
        self._counts["qmp-commands"] += 1
        self._send({"execute": "set_link", "arguments": {"name": self._card, "up": self._up}})

    def _answered(self, said: dict[str, Any]) -> bool:
        error = said.get("error")
        if "return" not in said and not isinstance(error, dict):
            return False
        self.state = "ready"
        if isinstance(error, dict):
            self._counts["qmp-refused"] += 1
            self.problem = f"QEMU at {self._path} says: {_printable(error.get('desc'))}"
            self._asking = self._loop.call_later(_ASK_AGAIN_SECONDS, self._ask)
            return True
        self.problem, self._done = "", self._asked
        if self._done != self._up:
            self._ask()
        return True


_TURNS: Final[dict[str, Callable[[Qmp, dict[str, Any]], bool]]] = {
    "greeting": Qmp._greeted,
    "negotiating": Qmp._negotiated,
    "asked": Qmp._answered,
}


def _printable(text: object) -> str:
    """For a terminal, whoever may have written it."""
    return "".join(letter if letter.isprintable() else " " for letter in str(text)[:_LONGEST_PROBLEM])


class CabledPort:
    """A port whose peer hears of its cable over QMP; everything else is the port's own. A `netvirt.ports.Port`."""

    def __init__(self, port: Port, cable: Qmp) -> None:
        assert not isinstance(port, Cabled)
        self.kind = port.kind
        self.flush = port.flush  # called for each burst: without a step in between
        self._port = port
        self._cable = cable

    @property
    def carrier(self) -> bool:
        return self._port.carrier

    def open(self) -> None:
        self._port.open()
        self._cable.open()

    def set_link(self, up: bool) -> None:
        self._cable.set_link(up)

    def close(self) -> None:
        self._cable.close()
        self._port.close()

    def statistics(self) -> dict[str, int | str]:
        return {**self._port.statistics(), **self._cable.statistics()}
