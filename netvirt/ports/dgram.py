"""The driver for QEMU's `-netdev dgram` over unix sockets: QEMU binds its socket, we bind ours; a datagram is a frame.

Knows: that QEMU makes its file anew each time it starts, and that nothing tells when it ends.
Refuses to know: how frames are read and sent (datagram.py), what is in a frame, which switch it serves.

Carrier: the peer's socket can be connected to. Nobody says when it goes, so it is looked at once a second (and by each
frame sent); this is the one kind of port with a timer while nothing happens.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable

from netvirt.ports import Loop, Queue, Timer
from netvirt.ports.datagram import DatagramPath
from netvirt.ports.driver import Driver
from netvirt.ports.mmsg import Receiver
from netvirt.ports.retry import Retry
from netvirt.ports.unixpath import Made, bind, check_path, unix_socket, unlink


class DgramPort(Driver):
    """A switch port between two unix datagram sockets: `path`, which it binds (mode 0600), and `peer`, QEMU's.

    A `netvirt.ports.Port`. Waits `retry_min` seconds for a peer that is not there, doubled up to `retry_max`; looks
    every `retry_max` seconds whether it still is. Raises PortError here (bad paths) and in open() (`path` can't be
    bound).
    """

    kind = "dgram"

    def __init__(
        self,
        loop: Loop,
        path: str,
        peer: str,
        queue: Queue,
        receive: Callable[[memoryview], None],
        carrier_changed: Callable[[bool], None],
        *,
        retry_min: float = 0.1,
        retry_max: float = 1.0,
    ) -> None:
        check_path(path)
        check_path(peer)
        super().__init__(loop, queue, receive, carrier_changed)
        self._path = path
        self._peer = peer
        self._retry = Retry(loop, self._try, retry_min, retry_max)
        self._retry_min = retry_min
        self._look_seconds = retry_max
        self._looking: Timer | None = None
        self._made: Made | None = None
        self._parked: socket.socket | None = None  # ours, while the peer is not there
        self._strangers = Receiver()
        self._counts = {"connects": 0}
        self._frames = DatagramPath(loop, queue, receive, self._failed)

    def open(self) -> None:
        """Binds; a missing peer is no error."""
        sock = unix_socket(socket.SOCK_DGRAM)
        try:
            self._made = bind(sock, self._path)
        except OSError:
            sock.close()
            raise
        self._park(sock)
        self._try()

    def flush(self) -> None:
        """Sends what the peer takes now; goes on by itself when it takes more."""
        self._frames.flush()

    def close(self) -> None:
        """Stops trying, and removes the socket file if it is still ours."""
        if self.carrier:
            self._down()
        sock, self._parked = self._parked, None
        if sock is not None:
            self._loop.reader(sock.fileno(), None)
            sock.close()
        self._retry.cancel()
        unlink(self._path, self._made)
        self._made = None

    def statistics(self) -> dict[str, int | str]:
        """Counters by name: frames and bytes as the peer saw them, and drops by reason."""
        return {
            "path": self._path,
            "peer": self._peer,
            **self._frames.statistics(),
            **self._counts,
            "without-peer": self._strangers.frames,
            **self._ended(),
        }

    # --- down: the socket is bound, and connected to nobody

    def _park(self, sock: socket.socket) -> None:
        self._parked = sock
        self._loop.reader(sock.fileno(), self._knocked)

    def _knocked(self) -> None:
        """A datagram: the peer is there before we have looked, or a stranger of the same user knocks."""
        self._try()
        if self._parked is not None:
            with contextlib.suppress(OSError):
                self._strangers.read(self._parked.fileno())

    def _try(self) -> None:
        sock = self._parked
        if sock is None:
            return
        if not self._connect(sock):
            self._retry.later()
            return
        self._retry.cancel()
        self._loop.reader(sock.fileno(), None)
        self._parked = None
        self._retry.begun()
        self._counts["connects"] += 1
        self._frames.attach(sock)
        self._looking = self._loop.call_later(self._look_seconds, self._look)
        self._come_up()

    def _connect(self, sock: socket.socket) -> bool:
        """To the peer's file as it is now; changes nothing for a socket that is connected to it already."""
        try:
            sock.connect(self._peer)
        except OSError:
            return False
        return True

    # --- up

    def _look(self) -> None:
        """Is the peer still there? A new QEMU at the same path is as good as the old one."""
        sock = self._frames.socket
        if sock is None:
            return
        if self._connect(sock):
            self._looking = self._loop.call_later(self._look_seconds, self._look)
        else:
            self._lost("gone")

    def _failed(self, error: OSError) -> None:
        """A frame could not be sent. Frames that wait go to a QEMU that has been started anew at the same path."""
        sock = self._frames.socket
        lasted = self._loop.now() - self._retry.since >= self._retry_min * 1e9
        if lasted and sock is not None and self._connect(sock):
            self._retry.begun()
            self._count_end("restarted")
            self._loop.call_later(0, self.flush)
        else:
            self._lost(errno.errorcode.get(error.errno or 0, "error").lower())

    def _lost(self, reason: str) -> None:
        self._count_end(reason)
        self._retry.ended()
        self._down()
        self._retry.later()

    def _down(self) -> None:
        sock = self._frames.release()
        if sock is not None:
            self._park(sock)
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        self._go_down()
