"""TAPs that somebody has left with the lab: fabricd holds them, and plugs each into its port as often as the switch is
started anew. So a container keeps its interface, and nobody has to stay for it.

A giver connects to `fabricd.tap`, sends one line, SWITCH:PORT, with the TAP's descriptor, and reads one line of JSON:
{"ok": true} or {"error": "one sentence"}.
Knows: that exchange, how long a TAP is of use. Refuses to know: what a port is (`path_of` says where one takes a TAP).
If fabricd itself is killed, the switch has the TAP all the same (`keep` of netvirt.ports.handover); only if both are,
it is lost.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from typing import Final, NamedTuple

from netvirt.ports import Loop, Timer
from netvirt.ports.accepting import Acceptor
from netvirt.ports.errors import PortError
from netvirt.ports.handing import Handing
from netvirt.ports.tuntap import is_alive
from netvirt.ports.unixpath import Made, listening, unlink

SOCKET: Final = "fabricd.tap"
_LONGEST_LINE: Final = 200
_PATIENCE_SECONDS: Final = 5.0


class _Held(NamedTuple):
    fd: int
    handing: Handing


class Deposits:
    """path_of("s1:pod1"): the socket where that port takes a TAP, None where it takes none, or is none."""

    def __init__(self, loop: Loop, path: str, path_of: Callable[[str], str | None]) -> None:
        self._loop = loop
        self._path = path
        self._path_of = path_of
        self._acceptor: Acceptor | None = None
        self._made: Made | None = None
        self._givers: dict[socket.socket, Timer] = {}
        self._held: dict[str, _Held] = {}

    def open(self) -> None:
        """Begins to listen. Raises PortError."""
        listener, self._made = listening(self._path, backlog=16)
        self._acceptor = Acceptor(self._loop, listener, self._arrived)

    def _arrived(self, giver: socket.socket) -> None:
        self._givers[giver] = self._loop.call_later(_PATIENCE_SECONDS, lambda: self._hang_up(giver))
        self._loop.reader(giver.fileno(), lambda: self._readable(giver))

    def _readable(self, giver: socket.socket) -> None:
        fds: list[int] = []
        try:
            data, fds, _, _ = socket.recv_fds(giver, _LONGEST_LINE, 4, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        for fd in fds[1:]:
            os.close(fd)
        answer: dict[str, object] = {"ok": True}
        try:
            if not fds:
                raise PortError("there was no descriptor with the line")
            self._take(data.decode(errors="replace").strip(), fds[0])
        except PortError as error:
            answer = {"error": str(error)}
            for fd in fds[:1]:
                os.close(fd)
        try:
            giver.send(json.dumps(answer).encode() + b"\n")
        except OSError:
            pass  # it did not wait for the answer
        self._hang_up(giver)

    def _hang_up(self, giver: socket.socket) -> None:
        timer = self._givers.pop(giver, None)
        if timer is not None:
            timer.cancel()
            self._loop.reader(giver.fileno(), None)
            giver.close()

    def _take(self, where: str, fd: int) -> None:
        """The descriptor is ours from here on, unless PortError says why it is not."""
        path = self._path_of(where)
        if path is None:
            raise PortError(f"no TAP can be left at {where[:60]!r}; it is no port of this lab with tap: listen")
        if not is_alive(fd):
            raise PortError("the descriptor is no TAP")
        self._forget(where)
        handing = Handing(
            self._loop, path, fd, lambda plugged: None, keep=True, useless=lambda: not is_alive(fd)
        )  # fmt: skip
        self._held[where] = _Held(fd, handing)
        handing.open()

    def settle(self) -> None:
        """Lets go of TAPs whose port is another one now, or none, and of those that are gone themselves."""
        for where, held in list(self._held.items()):
            if self._path_of(where) != held.handing.path or not is_alive(held.fd):
                self._forget(where)

    def _forget(self, where: str) -> None:
        held = self._held.pop(where, None)
        if held is not None:
            held.handing.close()
            os.close(held.fd)

    def close(self) -> None:
        """Lets go of all; what the switches have, they keep."""
        for where in list(self._held):
            self._forget(where)
        for giver in list(self._givers):
            self._hang_up(giver)
        if self._acceptor is not None:
            self._acceptor.close()
            self._acceptor = None
            unlink(self._path, self._made)


def leave(path: str, where: str, fd: int, seconds: float = 10.0) -> None:
    """The other side: leaves the TAP `fd` at the port `where` (SWITCH:PORT). Raises PortError with one sentence."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as giver:
        try:
            giver.settimeout(seconds)
            giver.connect(path)
            socket.send_fds(giver, [where.encode() + b"\n"], [fd])
            answer = json.loads(giver.makefile("r").readline() or '{"error": "the connection ended"}')
        except (OSError, ValueError) as error:
            raise PortError(f"cannot leave a TAP at {where}: {getattr(error, 'strerror', None) or error}") from None
    if "error" in answer:
        raise PortError(f"cannot leave a TAP at {where}: {answer['error']}")
