"""The control protocol: JSON lines on a unix stream socket. The codec without I/O, and the server half.

Knows: lines, requests, answers, events, clients that are slow, strange or gone.
Refuses to know: what an operation means.

Request `{"id": 1, "op": "status", "args": {}}`; answer `{"id": 1, "ok": value}` or `{"id": 1, "error": "a sentence"}`;
before it any number of `{"id": 1, "event": value}`. `client.py` is the blocking client, `channel.py` the one for loops.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from daemons.errors import UserError

if TYPE_CHECKING:  # a command that only asks needs no loop
    from daemons.loop import Loop

__all__ = ["ControlError", "ControlServer", "Lines", "Reply", "UserError", "encode", "peer_pid", "peer_uid"]

MAX_LINE = 16 << 20
MAX_CLIENTS = 64
# Two of the longest answers: a client that reads nothing while more than this waits for it is cut off.
MAX_OUTPUT = 2 * MAX_LINE
_READ = 1 << 18
_ACCEPTS_PER_ROUND = 16
_ACCEPT_PAUSE = 0.2

Handler = Callable[[dict[str, Any], "Reply"], None]


class ControlError(ValueError):
    """What came in is no control line: the sentence says why."""


def encode(value: Mapping[str, Any]) -> bytes:
    """One line."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"


class Lines:
    """Bytes in, JSON objects out, whatever the pieces they come in."""

    def __init__(self, max_line: int = MAX_LINE) -> None:
        self._max = max_line
        self._pieces: list[bytes] = []
        self._held = 0

    def receive(self, data: bytes) -> list[dict[str, Any]]:
        """The objects that `data` completes. Raises ControlError for what is no object on a line of its own."""
        if b"\n" not in data:
            self._hold(data)
            return []
        first, *middle, rest = data.split(b"\n")
        self._hold(first)
        whole = [b"".join(self._pieces), *middle]
        self._pieces, self._held = [], 0
        objects = [self._parse(line) for line in whole if line.strip()]
        self._hold(rest)
        return objects

    def _hold(self, piece: bytes) -> None:
        self._held += len(piece)
        if self._held > self._max:
            raise ControlError(f"a control line may have {self._max} bytes, this one has more")
        if piece:
            self._pieces.append(piece)

    @staticmethod
    def _parse(line: bytes) -> dict[str, Any]:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ControlError(f"a control line must be one JSON object: {error}") from None
        if not isinstance(value, dict):
            raise ControlError(f"a control line must be one JSON object, not {type(value).__name__}")
        return value


def _peer(connection: socket.socket) -> tuple[int, int, int]:
    """(pid, uid, gid) of the other end of a unix socket, as the kernel knows them."""
    size = struct.calcsize("3i")
    pid, uid, gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return pid, uid, gid


def peer_pid(connection: socket.socket) -> int:
    """The process that connected, or that called listen()."""
    return _peer(connection)[0]


def peer_uid(connection: socket.socket) -> int:
    return _peer(connection)[1]


class Reply:
    """The answer to one request; it may be given at once or later. After `done` or `fail` nothing more is sent."""

    __slots__ = ("_client", "_id", "answered", "on_gone")

    def __init__(self, client: _Client, request_id: Any) -> None:
        self._client = client
        self._id = request_id
        self.answered = False
        self.on_gone: Callable[[], None] | None = None

    @property
    def gone(self) -> bool:
        """Has the client hung up?"""
        return self._client.closed

    def done(self, value: Any = None) -> None:
        self._answer("ok", value)

    def fail(self, sentence: str) -> None:
        self._answer("error", sentence)

    def event(self, value: Any) -> None:
        if not self.answered:
            self._client.send({"id": self._id, "event": value})

    def _answer(self, key: str, value: Any) -> None:
        if not self.answered:
            self._client.send({"id": self._id, key: value})
            self.answered = True
            self._client.open_replies.discard(self)


class _Client:
    """One connection to a ControlServer."""

    def __init__(self, server: ControlServer, connection: socket.socket) -> None:
        self.server = server
        self.connection = connection
        self.closed = False
        self.open_replies: set[Reply] = set()
        self._lines = Lines()
        self._output = bytearray()
        self._closing = False
        server.loop.reader(connection.fileno(), self._readable)

    def _readable(self) -> None:
        try:
            data = self.connection.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        try:
            requests = self._lines.receive(data)
        except ControlError as error:
            self.server.junk += 1
            self.refuse(str(error))
            return
        for request in requests:
            if not self.closed:
                self.server.dispatch(self, request)

    def send(self, value: Mapping[str, Any]) -> None:
        """Send now what the client takes now, keep the rest, cut off a client that does not read."""
        if self.closed:
            return
        self._output += encode(value)
        self._flush()
        if len(self._output) > MAX_OUTPUT:
            self.server.slow += 1
            self.close()

    def refuse(self, sentence: str) -> None:
        """Say why, then hang up."""
        self.send({"id": None, "error": sentence})
        self._closing = True
        if not self._output:
            self.close()
        elif not self.closed:
            self.server.loop.reader(self.connection.fileno(), None)

    def _flush(self) -> None:
        try:
            while self._output:
                del self._output[: self.connection.send(self._output)]
        except BlockingIOError:
            self.server.loop.writer(self.connection.fileno(), self._flush)
            return
        except OSError:
            self.close()
            return
        self.server.loop.writer(self.connection.fileno(), None)
        if self._closing:
            self.close()

    def drain(self, seconds: float) -> None:
        """Blocks for up to `seconds` to bring the last answers out; for the end of a process only."""
        if self._output and not self.closed:
            self.connection.settimeout(seconds)
            try:
                self.connection.sendall(self._output)
            except OSError:
                pass

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        fd = self.connection.fileno()
        self.server.loop.reader(fd, None)
        self.server.loop.writer(fd, None)
        self.connection.close()
        self.server.clients.discard(self)
        open_replies, self.open_replies = self.open_replies, set()
        for reply in open_replies:
            if reply.on_gone is not None:
                reply.on_gone()


class ControlServer:
    """Answers requests on a listening unix socket: `handlers[op](args, reply)`.

    A handler that raises UserError has answered with its sentence. Any other exception is our mistake: the client gets
    one sentence, the log gets the traceback, and everybody else is served on.
    """

    def __init__(self, loop: Loop, listening: socket.socket, handlers: Mapping[str, Handler]) -> None:
        self.loop = loop
        self.handlers = handlers
        self.clients: set[_Client] = set()
        self.refused = self.junk = self.slow = 0
        self._listening = listening
        listening.setblocking(False)
        loop.reader(listening.fileno(), self._accept)

    def statistics(self) -> dict[str, int]:
        return {"clients": len(self.clients), "refused": self.refused, "junk": self.junk, "slow": self.slow}

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_PER_ROUND):
            try:
                connection, _address = self._listening.accept()
            except BlockingIOError:
                return
            except OSError:
                # Out of descriptors or memory: the socket stays readable, so look away a moment instead of spinning.
                self.loop.reader(self._listening.fileno(), None)
                self.loop.call_later(_ACCEPT_PAUSE, self._look_again)
                return
            connection.setblocking(False)
            self._admit(connection)

    def _look_again(self) -> None:
        if self._listening.fileno() >= 0:
            self.loop.reader(self._listening.fileno(), self._accept)

    def _admit(self, connection: socket.socket) -> None:
        why = ""
        if peer_uid(connection) != os.getuid():
            why = f"this process belongs to user {os.getuid()}; call it as that user"
        elif len(self.clients) >= MAX_CLIENTS:
            why = f"{MAX_CLIENTS} clients are connected already, which is the limit; end one of them"
        if not why:
            self.clients.add(_Client(self, connection))
            return
        self.refused += 1
        try:
            connection.send(encode({"id": None, "error": why}))
        except OSError:
            pass
        connection.close()

    def dispatch(self, client: _Client, request: dict[str, Any]) -> None:
        op, args = request.get("op"), request.get("args", {})
        reply = Reply(client, request.get("id"))
        client.open_replies.add(reply)
        if not isinstance(op, str) or op not in self.handlers:
            reply.fail(f"there is no operation {op!r} here; there are: {', '.join(sorted(self.handlers))}")
            return
        if not isinstance(args, dict):
            reply.fail(f"the arguments of {op!r} must be an object, not {type(args).__name__}")
            return
        try:
            self.handlers[op](args, reply)
        except UserError as error:
            reply.fail(str(error))
        except Exception as error:
            print(f"internal error in the operation {op!r}", file=sys.stderr)
            sys.__excepthook__(*sys.exc_info())
            sys.stderr.flush()
            reply.fail(f"internal error ({type(error).__name__}) in the operation {op!r}; the log has the details")

    def close(self) -> None:
        """Bring the last answers out (a second at most for each client) and hang up. The socket's file is not ours."""
        if self._listening.fileno() >= 0:
            self.loop.reader(self._listening.fileno(), None)
            self._listening.close()
        for client in list(self.clients):
            client.drain(1.0)
            client.close()
