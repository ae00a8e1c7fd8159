"""The giving side of a handover (handover.py), for a loop: one TAP is plugged into one port, again and again.

Knows: that exchange, when to try again (the switch comes later, or starts anew). Refuses to know: where the TAP is
from.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Final

from netvirt.ports import Loop
from netvirt.ports.handover import KEEP
from netvirt.ports.retry import Retry
from netvirt.ports.unixpath import check_path, unix_socket

FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 0.02, 1.0
_LONGEST_ANSWER: Final = 4096


class Handing:
    """Gives `fd`, which stays the caller's, to the port behind `path` until close(); tells each change of `plugged`.

    `problem`: why the plug is not in, "" while it is. keep: it stays in if we end; then close() only stops giving it
    again. useless(): asked before each further try; True ends them. Raises PortError for a path that can be none.
    """

    def __init__(
        self,
        loop: Loop,
        path: str,
        fd: int,
        changed: Callable[[bool], None],
        *,
        keep: bool = False,
        useless: Callable[[], bool] = lambda: False,
    ) -> None:
        check_path(path)
        self.path = path
        self.plugged = False
        self.problem = ""
        self.plugs = 0
        self._loop = loop
        self._fd = fd
        self._changed = changed
        self._line = KEEP + b"\n" if keep else b"tap\n"
        self._useless = useless
        self._peer: socket.socket | None = None
        self._said = b""
        self._retry = Retry(loop, self._try, FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS)

    def open(self) -> None:
        """Begins: at once if the port is there, else as soon as it is."""
        self._try()

    def _try(self) -> None:
        peer = unix_socket(socket.SOCK_STREAM)
        try:
            peer.connect(self.path)
            socket.send_fds(peer, [self._line], [self._fd])
        except OSError as error:
            peer.close()
            self._later(f"the switch does not take the plug at {self.path}: {error.strerror}")
            return
        self._peer, self._said = peer, b""
        self._loop.reader(peer.fileno(), self._readable)

    def _later(self, problem: str) -> None:
        self.problem = problem
        if self._useless():
            return
        self._retry.later()

    def _readable(self) -> None:
        if self._peer is None:
            return
        try:
            data = self._peer.recv(_LONGEST_ANSWER)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._said += data
        if not data or len(self._said) > _LONGEST_ANSWER:
            self._unplug("the switch has ended the connection")
        elif not self.plugged and self._said.endswith(b"\n"):
            self._answered(self._said)

    def _answered(self, line: bytes) -> None:
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            answer = {}
        if not isinstance(answer, dict) or not answer.get("ok"):
            why = answer.get("error") if isinstance(answer, dict) else None
            self._unplug(f"the switch refuses the plug: {why or 'it does not say why'}")
            return
        self.plugged, self.problem, self._said = True, "", b""
        self.plugs += 1
        self._retry.reset()
        self._changed(True)

    def _unplug(self, problem: str) -> None:
        was = self._hang_up()
        self._later(problem)
        if was:
            self._changed(False)

    def _hang_up(self) -> bool:
        """Ends the connection; was the plug in?"""
        if self._peer is not None:
            self._loop.reader(self._peer.fileno(), None)
            self._peer.close()
            self._peer = None
        was, self.plugged = self.plugged, False
        return was

    def close(self) -> None:
        """Takes the plug out; nothing is told any more."""
        self._retry.cancel()
        self._hang_up()
