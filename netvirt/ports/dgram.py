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
from netvirt.ports.mmsg import Receiver
from netvirt.ports.unixpath import Made, bind, check_path, unix_socket, unlink


class DgramPort:
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
        self.carrier = False
        self._loop = loop
        self._path = path
        self._peer = peer
        self._queue = queue
        self._carrier_changed = carrier_changed
        self._retry_min = retry_min
        self._retry_max = retry_max
        self._delay = retry_min
        self._since = 0
        self._timer: Timer | None = None
        self._made: Made | None = None
        self._parked: socket.socket | None = None  # ours, while the peer is not there
        self._strangers = Receiver()
        self._counts = {"connects": 0}
        self._ends: dict[str, int] = {}
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
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
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
            **{f"ended-{reason}": count for reason, count in self._ends.items()},
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
            self._try_later()
            return
        self._loop.reader(sock.fileno(), None)
        self._parked = None
        self._since = self._loop.now()
        self._counts["connects"] += 1
        self._frames.attach(sock)
        self._set_timer(self._retry_max, self._look)
        self.carrier = True
        self._carrier_changed(True)
        self.flush()

    def _try_later(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(self._delay, self._try_again)
            self._delay = min(2 * self._delay, self._retry_max)

    def _try_again(self) -> None:
        self._timer = None
        self._try()

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
        self._timer = None
        sock = self._frames.socket
        if sock is None:
            return
        if self._connect(sock):
            self._set_timer(self._retry_max, self._look)
        else:
            self._lost("gone")

    def _failed(self, error: OSError) -> None:
        """A frame could not be sent. Frames that wait go to a QEMU that has been started anew at the same path."""
        sock = self._frames.socket
        lasted = self._loop.now() - self._since >= self._retry_min * 1e9
        if lasted and sock is not None and self._connect(sock):
            self._since = self._loop.now()
            self._ends["restarted"] = self._ends.get("restarted", 0) + 1
            self._loop.call_later(0, self.flush)
        else:
            self._lost(errno.errorcode.get(error.errno or 0, "error").lower())

    def _lost(self, reason: str) -> None:
        self._ends[reason] = self._ends.get(reason, 0) + 1
        # One that lets us connect and takes nothing is tried no more often than one that is not there.
        if self._loop.now() - self._since >= self._retry_max * 1e9:
            self._delay = self._retry_min
        self._down()
        self._try_later()

    def _down(self) -> None:
        sock = self._frames.release()
        if sock is not None:
            self._park(sock)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._queue.clear("link-down")
        self.carrier = False
        self._carrier_changed(False)

    def _set_timer(self, seconds: float, callback: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, callback)
