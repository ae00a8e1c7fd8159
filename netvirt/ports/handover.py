"""A unix socket at which somebody hands over an open TAP (SCM_RIGHTS), so that the switch needs no privilege for it.

The peer connects, sends one line of at most 100 bytes with one descriptor, and reads one line of JSON: {"ok": true} or
{"error": "one sentence"}. The plug is in while the connection is open, as with VDE's control socket. Where that line is
"keep", the answer says "kept", too, and the connection means nothing from then on: the plug is in until the TAP itself
is gone, or the port. So what fabricd plugs in for others stays in when fabricd ends.
Knows: that exchange, one peer at a time. Refuses to know: what a TAP is (`take` says whether it is one).
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable

from netvirt.ports import Loop, Timer
from netvirt.ports.accepting import Acceptor
from netvirt.ports.errors import PortError
from netvirt.ports.unixpath import Made, check_path, listening, unlink

KEEP = b"keep"
_SENDER_SECONDS = 10.0
_PATIENCE_SECONDS = 5.0  # for a peer that has connected and gives nothing: others wait


class Handover:
    """Listens at `path` (0600); `take(fd)` gets each descriptor and owns it, raising PortError for none of use to it.

    `gone()` is called when the peer whose descriptor was taken has closed its connection, unless it said `keep`.
    """

    def __init__(self, loop: Loop, path: str, take: Callable[[int], None], gone: Callable[[], None]) -> None:
        check_path(path)
        self.refused = 0
        self._loop = loop
        self._path = path
        self._take = take
        self._gone = gone
        self._acceptor: Acceptor | None = None
        self._peer: socket.socket | None = None
        self._taken = False
        self.kept = False
        self._patience: Timer | None = None
        self._made: Made | None = None

    def open(self) -> None:
        """Begins to listen. Raises PortError."""
        listener, self._made = listening(self._path, backlog=4)
        self._acceptor = Acceptor(self._loop, listener, self._arrived)

    def _arrived(self, peer: socket.socket) -> None:
        if self._peer is not None or self.kept:
            self.refused += 1
            _answer(peer, error="this port has a TAP already; unplug that one first")
            peer.close()
            return
        self._peer = peer
        self._loop.reader(peer.fileno(), self._readable)
        self._patience = self._loop.call_later(_PATIENCE_SECONDS, self.unplug)

    def _readable(self) -> None:
        peer = self._peer
        if peer is None:
            return
        fds: list[int] = []
        try:
            data, fds, _, _ = socket.recv_fds(peer, 100, 4, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if fds and not self._taken:
            self._offered(peer, fds, data.strip() == KEEP)
            return
        for fd in fds:
            os.close(fd)
        if not data and self.kept:
            self._hang_up()
        elif not data:
            self.unplug()

    def _offered(self, peer: socket.socket, fds: list[int], keep: bool) -> None:
        for fd in fds[1:]:
            os.close(fd)
        try:
            self._take(fds[0])
        except PortError as error:
            os.close(fds[0])
            self.refused += 1
            _answer(peer, error=str(error))
            self.unplug()
            return
        self._taken, self.kept = True, keep
        self._end_patience()
        _answer(peer, ok=True, **({"kept": True} if keep else {}))

    def unplug(self) -> None:
        """The TAP that was taken is none of ours any more: ends the peer's connection, and waits for the next one."""
        self._hang_up()
        taken, self._taken, self.kept = self._taken, False, False
        if taken:
            self._gone()

    def _hang_up(self) -> None:
        if self._peer is None:
            return
        self._end_patience()
        self._loop.reader(self._peer.fileno(), None)
        self._peer.close()
        self._peer = None

    def _end_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def close(self) -> None:
        """Stops listening, and removes the socket file if it is still ours."""
        self.unplug()
        if self._acceptor is not None:
            self._acceptor.close()
            self._acceptor = None
            unlink(self._path, self._made)


def _answer(peer: socket.socket, **value: object) -> None:
    try:
        peer.send(json.dumps(value).encode() + b"\n")
    except OSError:
        pass  # it did not wait for the answer


def hand_over(path: str, fd: int) -> socket.socket:
    """The other side: gives `fd` to the port behind `path`; the plug is in until the returned socket is closed.

    Raises PortError with the port's own sentence, or if nobody is there.
    """
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        peer.settimeout(_SENDER_SECONDS)
        peer.connect(path)
        socket.send_fds(peer, [b"tap\n"], [fd])
        answer = json.loads(peer.makefile("r").readline() or '{"error": "the port ended the connection"}')
    except (OSError, ValueError) as error:
        peer.close()
        raise PortError(
            f"cannot plug into {path}: {getattr(error, 'strerror', None) or error}; is the lab up?"
        ) from None
    if "error" in answer:
        peer.close()
        raise PortError(f"cannot plug into {path}: {answer['error']}")
    return peer
