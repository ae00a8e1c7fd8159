"""The driver for QEMU's `-netdev stream` and `-netdev socket` over a unix stream socket.

Knows: who dials, who listens, when to try again, and that one client at a time may have the port.
Refuses to know: the framing (qemu_stream does it, compiled), what is in a frame, which switch it serves.

The guest sees its carrier up whatever happens here: it notices a restarted switch as a short loss of frames only.
QEMU 7.2 never dials again by itself, so the form to hand out is QEMU as server (`server=on`) and role "dial" here.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Final, Literal

from netvirt.ports import Loop, Queue, Timer
from netvirt.ports.accepting import Acceptor
from netvirt.ports.qemu_stream import Decoder, Encoder
from netvirt.ports.unixpath import Made, check_path, listening, unix_socket, unlink

Role = Literal["dial", "listen"]

_BACKLOG: Final = 4


class QemuPort:
    """A switch port whose peer is a QEMU process; a `netvirt.ports.Port`.

    role "dial": connects to `path`, for ever; waits `retry_min` seconds after a failure, doubled up to `retry_max`.
    role "listen": binds `path` (mode 0600) and serves one client after the other.
    Raises PortError here (a bad path) and in open() (a path that cannot be bound).
    """

    kind = "qemu"

    def __init__(
        self,
        loop: Loop,
        path: str,
        role: Role,
        queue: Queue,
        receive: Callable[[memoryview], None],
        carrier_changed: Callable[[bool], None],
        *,
        retry_min: float = 0.1,
        retry_max: float = 1.0,
    ) -> None:
        check_path(path)
        self.carrier = False
        self._loop = loop
        self._path = path
        self._role = role
        self._queue = queue
        self._receive = receive
        self._carrier_changed = carrier_changed
        self._retry_min = retry_min
        self._retry_max = retry_max
        self._delay = retry_min
        self._timer: Timer | None = None
        self._stream: socket.socket | None = None
        self._acceptor: Acceptor | None = None
        self._bound: Made | None = None
        self._blocked = False
        self._since = 0
        self._decoder = Decoder()
        self._encoder = Encoder()
        self._counts = {"connects": 0, "refused": 0, "accept-errors": 0}
        self._ends: dict[str, int] = {}

    def open(self) -> None:
        """Begins to dial or to listen; a missing peer is no error."""
        if self._role == "listen":
            self._listen()
        else:
            self._dial()

    def flush(self) -> None:
        """Sends what the peer takes now; goes on by itself when it takes more."""
        if self._stream is None or self._blocked:
            return
        fd = self._stream.fileno()
        while (message := self._queue.head()) is not None:
            try:
                written = self._encoder.write(fd, message)
            except OSError as error:
                self._disconnect(_name(error))
                return
            if not written:
                self._blocked = True
                self._loop.writer(fd, self._writable)
                return
            self._queue.pop()

    def close(self) -> None:
        """Ends the connection, stops trying, and removes the socket file if it is still ours."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._acceptor is not None:
            self._acceptor.close()
            self._acceptor = None
            unlink(self._path, self._bound)
            self._bound = None
        self._drop_stream()

    def statistics(self) -> dict[str, int | str]:
        """Counters by name: frames and bytes as the peer saw them, junk, refusals, ends of connections by reason."""
        return {
            "role": self._role,
            "path": self._path,
            "rx_frames": self._decoder.frames,
            "rx_bytes": self._decoder.nbytes,
            "tx_frames": self._encoder.frames,
            "tx_bytes": self._encoder.nbytes,
            "too-short": self._decoder.too_short,
            "too-long": self._decoder.too_long,
            "offload-unsupported": self._encoder.offload_unsupported,
            **self._counts,
            **{f"ended-{reason}": count for reason, count in self._ends.items()},
        }

    # --- one connection

    def _connected(self, stream: socket.socket) -> None:
        self._decoder.reset()
        self._encoder.reset()
        self._stream = stream
        self._blocked = False
        self._since = self._loop.now()
        self._counts["connects"] += 1
        self._loop.reader(stream.fileno(), self._readable)
        self.carrier = True
        self._carrier_changed(True)
        self.flush()

    def _readable(self) -> None:
        stream = self._stream
        if stream is None:
            return
        message = self._decoder.read(stream.fileno())
        if message is not None:
            self._receive(message)
        # receive() may have closed the port, or sent an answer that met a dead peer.
        if self._decoder.ended and self._stream is stream:
            self._disconnect(self._decoder.ended)

    def _writable(self) -> None:
        if self._stream is not None:
            self._loop.writer(self._stream.fileno(), None)
            self._blocked = False
            self.flush()

    def _disconnect(self, reason: str) -> None:
        """The peer is gone: frames for it would be stale when it comes back, so none are kept."""
        self._ends[reason] = self._ends.get(reason, 0) + 1
        # A peer that accepts and hangs up at once is dialled no faster than one that is not there.
        if self._loop.now() - self._since >= self._retry_max * 1e9:
            self._delay = self._retry_min
        self._drop_stream()
        if self._role == "dial" and self._timer is None:
            self._dial_later()

    def _drop_stream(self) -> None:
        if self._stream is None:
            return
        fd = self._stream.fileno()
        self._loop.reader(fd, None)
        if self._blocked:
            self._loop.writer(fd, None)
            self._blocked = False
        self._stream.close()
        self._stream = None
        self._queue.clear("link-down")
        self.carrier = False
        self._carrier_changed(False)

    # --- role "dial"

    def _dial(self) -> None:
        self._timer = None
        stream = unix_socket(socket.SOCK_STREAM)
        try:
            stream.connect(self._path)
        except OSError:  # nobody there yet, or its backlog is full: both pass
            stream.close()
            self._dial_later()
            return
        self._connected(stream)

    def _dial_later(self) -> None:
        self._timer = self._loop.call_later(self._delay, self._dial)
        self._delay = min(2 * self._delay, self._retry_max)

    # --- role "listen"

    def _listen(self) -> None:
        listener, self._bound = listening(self._path, _BACKLOG)
        self._acceptor = Acceptor(self._loop, listener, self._arrived, pause=self._retry_max, troubled=self._no_room)

    def _no_room(self) -> None:
        self._counts["accept-errors"] += 1

    def _arrived(self, stream: socket.socket) -> None:
        if self._stream is not None:
            self._counts["refused"] += 1
            stream.close()
            return
        self._connected(stream)


def _name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "error").lower()
