"""The TCP address that WebSocket clients connect to, shared by the ports of a switch: the path says which one is meant.

Knows: the handshake (wsproto's), how long a client may take for it, how it is refused.
Refuses to know: frames, what a port does with its client.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import weakref
from collections.abc import Callable
from typing import Final, Protocol

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, RejectConnection, RejectData, Request
from wsproto.utilities import ProtocolError

from netvirt.ports import Loop
from netvirt.ports.accepting import Acceptor
from netvirt.ports.errors import PortError
from netvirt.ports.websocket_rules import Address, port_in, url

_BACKLOG: Final = 16
_MOST_PENDING: Final = 16
_PATIENCE: Final = 5.0  # seconds for a client to say what it wants
_READ: Final = 4096
_LONGEST_REQUEST: Final = 16384  # bytes, as h11
_BUFFER: Final = (
    1 << 18
)  # the kernel's own would grow to megabytes: frames that wait are better off in the port's queue
_OURS: Final = {
    errno.EADDRINUSE: "somebody uses it already; choose another port",
    errno.EACCES: "ports under 1024 are for root; choose another",
    errno.EADDRNOTAVAIL: "this machine has no such address",
}
_STATUS: Final = {"no-such-port": 404, "taken": 409, "origin": 403}


class Door(Protocol):
    """A port behind the address."""

    name: str

    def refusal(self, origin: str | None, address: str) -> tuple[str, str]:
        """(reason, sentence), both "" if the client may come in."""
        ...

    def refuse(self, reason: str, sentence: str) -> None:
        """Counts a client that came and got nothing."""
        ...

    def come(self, stream: socket.socket, ws: WSConnection) -> None:
        """Takes the client, and from then on owns its connection."""
        ...


class _Pending:
    """A client in its handshake."""

    def __init__(
        self, loop: Loop, stream: socket.socket, done: Callable[[_Pending, Request | None, str], None]
    ) -> None:
        self.stream = stream
        self.ws = WSConnection(ConnectionType.SERVER)
        self._loop = loop
        self._done = done
        self._data = b""
        self._timer = loop.call_later(_PATIENCE, lambda: done(self, None, "slow"))
        loop.reader(stream.fileno(), self._readable)

    def _readable(self) -> None:
        try:
            data = self.stream.recv(_READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        self._data += data
        if not data or len(self._data) > _LONGEST_REQUEST:
            self._done(self, None, "bad-request" if data else "gave-up")
            return
        try:
            self.ws.receive_data(data)
            request = next((each for each in self.ws.events() if isinstance(each, Request)), None)
        except ProtocolError:
            self._done(self, None, "bad-request")
            return
        if request is not None:
            self._done(self, request, "")

    def stop(self) -> None:
        """Looks at it no more."""
        self._timer.cancel()
        self._loop.reader(self.stream.fileno(), None)

    def accept(self) -> bool:
        """Says yes. What came behind the request (too early, RFC 6455 clause 4.1) is kept, which wsproto does not."""
        if not _send(self.stream, self.ws.send(AcceptConnection())):
            return False
        self.ws.receive_data(self._data.partition(b"\r\n\r\n")[2])
        return True


_LISTENERS: weakref.WeakKeyDictionary[Loop, dict[Address, Listener]] = weakref.WeakKeyDictionary()


class Listener:
    """One address and the ports behind it. Open while there is one."""

    def __init__(self, loop: Loop, address: Address) -> None:
        self.address = address
        self._loop = loop
        self._doors: dict[str, Door] = {}
        self._pending: list[_Pending] = []
        self._acceptor: Acceptor | None = None

    @staticmethod
    def at(loop: Loop, address: Address) -> Listener:
        """The one of this loop's process."""
        listeners = _LISTENERS.setdefault(loop, {})
        if address not in listeners:
            listeners[address] = Listener(loop, address)
        return listeners[address]

    def add(self, door: Door) -> None:
        """Raises PortError if nobody can listen there."""
        if self._acceptor is None:
            self._open()
        self._doors[door.name] = door

    def remove(self, door: Door) -> None:
        if self._doors.get(door.name) is door:
            del self._doors[door.name]
            if not self._doors:
                self._close()

    def _open(self) -> None:
        family = socket.AF_INET6 if ":" in self.address.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):  # a connection inherits them
                listener.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((self.address.host, self.address.port))
            listener.listen(_BACKLOG)
        except OSError as error:
            listener.close()
            why = _OURS.get(error.errno or 0, error.strerror)
            raise PortError(f"cannot listen for WebSockets at {self.address}: {why}") from None
        self._acceptor = Acceptor(self._loop, listener, self._arrived)

    def _close(self) -> None:
        for pending in list(self._pending):
            self._forget(pending)
            pending.stream.close()
        if self._acceptor is not None:
            self._acceptor.close()
            self._acceptor = None

    def _arrived(self, stream: socket.socket) -> None:
        with contextlib.suppress(OSError):  # it may have hung up already
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._pending.append(_Pending(self._loop, stream, self._asked))
        if len(self._pending) > _MOST_PENDING:
            self._asked(self._pending[0], None, "crowded")

    def _forget(self, pending: _Pending) -> None:
        pending.stop()
        self._pending.remove(pending)

    def _asked(self, pending: _Pending, request: Request | None, reason: str) -> None:
        """The handshake's end: a request, or the reason why there is none."""
        self._forget(pending)
        first = next(iter(self._doors.values()))
        if request is None:
            # Counted at the first port: there is none that it belongs to.
            first.refuse(reason, "")
            if reason == "bad-request":
                _send(pending.stream, _plain(f"this is a WebSocket; connect to {url(self.address, first.name)}\n"))
            pending.stream.close()
            return
        name = port_in(request.target)
        door = self._doors.get(name) or (first if not name and len(self._doors) == 1 else None)
        if door is None:
            known = ", ".join(f"/{each}" for each in self._doors)
            self._reject(pending, first, "no-such-port", f"there is no port /{name[:80]} here; there are: {known}")
            return
        origin = next((value for key, value in request.extra_headers if key.lower() == b"origin"), None)
        text = None if origin is None else origin.decode("latin-1")
        try:
            reason, sentence = door.refusal(text, pending.stream.getsockname()[0])
        except OSError:
            reason, sentence = "gave-up", ""
        if reason:
            self._reject(pending, door, reason, sentence)
        elif pending.accept():
            door.come(pending.stream, pending.ws)
        else:
            door.refuse("gave-up", "")
            pending.stream.close()

    def _reject(self, pending: _Pending, door: Door, reason: str, sentence: str) -> None:
        door.refuse(reason, sentence)
        body = f"{sentence}\n".encode(errors="replace")
        headers = [(b"Content-Type", b"text/plain; charset=utf-8"), (b"Content-Length", str(len(body)).encode())]
        ws, code = pending.ws, _STATUS.get(reason, 400)
        answer = ws.send(RejectConnection(status_code=code, headers=headers, has_body=True))
        _send(pending.stream, answer + ws.send(RejectData(data=body)))
        pending.stream.close()


def _plain(text: str) -> bytes:
    body = text.encode()
    head = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _send(stream: socket.socket, data: bytes) -> bool:
    """A new connection has room for an answer; if not, somebody plays games."""
    try:
        return stream.send(data) == len(data)
    except OSError:
        return False
