"""One client of a WebSocket port: frames to messages and back. One binary message is one frame.

Knows: how much is read and sent in one turn, what a client may not do, when it has been silent for too long.
Refuses to know: the handshake (websocket_listener.py), RFC 6455's bits (wsproto), which port it serves.

Bounded: at most one unfinished message of the client (65,557 bytes), one burst on its way to it, one ping, one pong.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from typing import Final

from wsproto import WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.utilities import ProtocolError

from netvirt.burst import FLAG_VNET, MAX_FRAME, MIN_FRAME, Burst
from netvirt.ports import Loop, Queue, Timer

_READ: Final = 1 << 16  # bytes per call of the kernel
_EVENTS: Final = 256  # messages, or pieces of them, per turn: a few milliseconds
_BATCH_FRAMES: Final = 64  # frames per call of the kernel, or
_BATCH_BYTES: Final = 1 << 16
_TURN: Final = 4  # batches per turn
_UNANSWERED: Final = 2  # pings, after which a client is gone

# The codes of RFC 6455 clause 7.4.1 that a client is told.
_CODES: Final = {"protocol": 1002, "text": 1003, "oversize": 1009, "closed": 1000, "goodbye": 1001}


class Session:
    """Owns `stream`, non-blocking, behind whose handshake `ws` stands. `ended(reason)` is called once, at its end."""

    def __init__(
        self,
        loop: Loop,
        stream: socket.socket,
        ws: WSConnection,
        queue: Queue,
        receive: Callable[[memoryview], None],
        counts: dict[str, int],
        ended: Callable[[str], None],
        ping: float,
    ) -> None:
        self._loop = loop
        self._stream: socket.socket | None = stream
        self._ws = ws
        self._queue = queue
        self._receive = receive
        self._counts = counts
        self._ended = ended
        self._ping = ping
        self._message = bytearray()
        self._frames: deque[bytes] = deque()
        self._out = b""
        self._waiting = False
        self._control: dict[type[Event], Event] = {}
        self._unanswered = 0
        self._rest: Timer | None = None
        self._timer = loop.call_later(ping, self._ping_now)

    def start(self) -> None:
        """Reads what came behind the handshake, and goes on from there."""
        assert self._stream is not None
        self._loop.reader(self._stream.fileno(), self._readable)
        self._read_turn()
        self.flush()

    def flush(self) -> None:
        """Sends what the client takes now; goes on by itself when it takes more."""
        if not self._waiting:
            self._send_turn()

    def end(self, reason: str) -> None:
        """Says goodbye, if there is room for it, and lets go of the connection."""
        stream, self._stream = self._stream, None
        if stream is None:
            return
        self._timer.cancel()
        if self._rest is not None:
            self._rest.cancel()
        self._loop.reader(stream.fileno(), None)
        if self._waiting:
            self._loop.writer(stream.fileno(), None)
        if reason in _CODES and not self._out:
            try:
                stream.send(self._ws.send(CloseConnection(_CODES[reason])))
            except (OSError, ProtocolError):
                pass  # gone, or full: it will notice
        stream.close()
        self._counts["unsent"] += len(self._frames)
        self._frames.clear()
        self._ended(reason)

    # --- from the client

    def _readable(self) -> None:
        if self._stream is None or self._rest is not None:
            return
        try:
            data = self._stream.recv(_READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.end("eof")
            return
        self._unanswered = 0
        self._ws.receive_data(data)
        self._read_turn()

    def _read_turn(self) -> None:
        """At most _EVENTS of what has been read; the rest in the next round, and nothing more is read before."""
        burst = Burst()
        reason, count = "", 0
        try:
            for event in self._ws.events():
                reason = self._take(event, burst)
                count += 1
                if reason or count == _EVENTS:
                    break
        except ProtocolError:
            reason = "protocol"
        if len(burst):
            self._counts["rx_frames"] += len(burst)
            self._receive(burst.message())
        if self._stream is None:  # receive() has closed the port
            return
        if reason:
            self.end(reason)
            return
        self._read_on(count == _EVENTS)
        if self._control:
            self.flush()

    def _read_on(self, rest: bool) -> None:
        assert self._stream is not None
        if rest and self._rest is None:
            self._loop.reader(self._stream.fileno(), None)
        if rest:
            self._rest = self._loop.call_later(0, self._read_turn)
        elif self._rest is not None:
            self._rest = None
            self._loop.reader(self._stream.fileno(), self._readable)

    def _take(self, event: Event, burst: Burst) -> str:
        """One message, or a piece of one. Returns why the client is to be cut off, "" if not."""
        if isinstance(event, BytesMessage):
            if len(self._message) + len(event.data) > MAX_FRAME:
                return "oversize"
            self._message += event.data
            if event.message_finished:
                self._whole(burst)
        elif isinstance(event, TextMessage):
            return "text"
        elif isinstance(event, Ping):
            # Only the newest needs an answer (RFC 6455 clause 5.5.3): who pings and does not read costs nothing.
            self._control[Pong] = event.response()
        elif isinstance(event, CloseConnection):
            # What wsproto can't read it gives as a CloseConnection too, one that the client did not send.
            return "closed" if self._ws.state is ConnectionState.REMOTE_CLOSING else "protocol"
        return ""

    def _whole(self, burst: Burst) -> None:
        if len(self._message) < MIN_FRAME:
            self._counts["runt"] += 1
        else:
            burst.append(self._message)
            self._counts["rx_bytes"] += len(self._message)
        self._message = bytearray()

    # --- to the client

    def _send_turn(self) -> None:
        """At most _TURN batches; what is left goes on when the socket is writable, in another round."""
        for _ in range(_TURN):
            if not self._push():
                return
            if not self._more():
                self._wait(False)
                return
        if self._push():
            self._wait(bool(self._frames or self._control or self._queue.head() is not None))

    def _push(self) -> bool:
        """True when the kernel has everything that was encoded."""
        if self._stream is None:
            return False
        while self._out:
            try:
                sent = self._stream.send(self._out)
            except (BlockingIOError, InterruptedError):
                self._counts["stalls"] += not self._waiting
                self._wait(True)
                return False
            except OSError:
                self.end("eof")
                return False
            self._out = self._out[sent:]
        return True

    def _more(self) -> bool:
        """Encodes the next batch; False when there is nothing to say."""
        pieces = [self._ws.send(event) for event in self._control.values()]
        self._control.clear()
        size = 0
        while size < _BATCH_BYTES and len(pieces) < _BATCH_FRAMES:
            if not self._frames and not self._fetch():
                break
            frame = self._frames.popleft()
            pieces.append(self._ws.send(BytesMessage(frame)))
            size += len(frame)
            self._counts["tx_frames"] += 1
        self._counts["tx_bytes"] += size
        self._out = b"".join(pieces)
        return bool(pieces)

    def _fetch(self) -> bool:
        """The oldest burst of the queue becomes ours; False if there is none."""
        while not self._frames and (message := self._queue.head()) is not None:
            frames = list(Burst.parse(message))
            self._queue.pop()
            self._frames.extend(frame.data for frame in frames if not frame.flags & FLAG_VNET)
            self._counts["offload-unsupported"] += len(frames) - len(self._frames)
        return bool(self._frames)

    def _wait(self, wanted: bool) -> None:
        if self._stream is not None and wanted != self._waiting:
            self._waiting = wanted
            self._loop.writer(self._stream.fileno(), self._send_turn if wanted else None)

    def _ping_now(self) -> None:
        """A client that has vanished, or has stood still for two pings, makes room for the next one."""
        if self._unanswered == _UNANSWERED:
            self.end("silent")
            return
        self._unanswered += 1
        self._control[Ping] = Ping()
        self._timer = self._loop.call_later(self._ping, self._ping_now)
        self.flush()
