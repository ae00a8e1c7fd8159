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

from netvirt.ports import Loop, Queue
from netvirt.ports.accepting import Acceptor
from netvirt.ports.driver import Driver
from netvirt.ports.qemu_stream import Decoder, Encoder
from netvirt.ports.retry import Retry
from netvirt.ports.unixpath import Made, check_path, listening, unix_socket, unlink

Role = Literal["dial", "listen"]

_BACKLOG: Final = 4


class QemuPort(Driver):
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
        super().__init__(loop, queue, receive, carrier_changed)
        self._path = path
        self._role = role
        self._retry = Retry(loop, self._dial, retry_min, retry_max)
        self._pause = retry_max
        self._stream: socket.socket | None = None
        self._acceptor: Acceptor | None = None
        self._bound: Made | None = None
        self._blocked = False
        self._decoder = Decoder()
        self._encoder = Encoder()
        self._counts = {"connects": 0, "refused": 0, "accept-errors": 0}

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
        self._retry.cancel()
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
            **self._ended(),
        }

    # --- one connection

    def _connected(self, stream: socket.socket) -> None:
        self._decoder.reset()
        self._encoder.reset()
        self._stream = stream
        self._blocked = False
        self._retry.begun()
        self._counts["connects"] += 1
        self._loop.reader(stream.fileno(), self._readable)
        self._come_up()

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
        self._count_end(reason)
        self._retry.ended()
        self._drop_stream()
        if self._role == "dial":
            self._retry.later()

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
        self._go_down()

    # --- role "dial"

    def _dial(self) -> None:
        stream = unix_socket(socket.SOCK_STREAM)
        try:
            stream.connect(self._path)
        except OSError:  # nobody there yet, or its backlog is full: both pass
            stream.close()
            self._retry.later()
            return
        self._connected(stream)

    # --- role "listen"

    def _listen(self) -> None:
        listener, self._bound = listening(self._path, _BACKLOG)
        self._acceptor = Acceptor(self._loop, listener, self._arrived, pause=self._pause, troubled=self._no_room)

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
