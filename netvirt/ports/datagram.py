"""What all datagram ports share: a connected socket, its frames both ways, and waiting for a peer that is full.

Knows: when to read, when to send on, what is counted. Refuses to know: addresses, who the peer is, when it is there.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from netvirt.ports import Loop, Queue
from netvirt.ports.mmsg import Receiver, Sender


class DatagramPath:
    """`attach()` gives it a connected, non-blocking socket, which it owns until `release()`.

    lossy: over UDP, where an error tells of an earlier frame and ends nothing. Without it, `failed(error)` is called
    when the socket says that the peer is gone; the frames that wait then stay in the queue.
    """

    def __init__(
        self,
        loop: Loop,
        queue: Queue,
        receive: Callable[[memoryview], None],
        failed: Callable[[OSError], None],
        *,
        lossy: bool = False,
    ) -> None:
        self.socket: socket.socket | None = None
        self._loop = loop
        self._queue = queue
        self._receive = receive
        self._failed = failed
        self._lossy = lossy
        self._blocked = False
        self._stalls = 0
        self._errors = 0
        self._receiver = Receiver()
        self._sender = Sender(lossy=lossy)

    def attach(self, sock: socket.socket) -> None:
        """From now on frames go both ways."""
        self.socket = sock
        self._sender.reset()
        self._loop.reader(sock.fileno(), self._readable)

    def release(self) -> socket.socket | None:
        """Lets go of the socket and gives it back, still open."""
        sock, self.socket = self.socket, None
        if sock is not None:
            self._loop.reader(sock.fileno(), None)
            if self._blocked:
                self._loop.writer(sock.fileno(), None)
                self._blocked = False
        return sock

    def detach(self) -> None:
        """Lets go of the socket and closes it."""
        sock = self.release()
        if sock is not None:
            sock.close()

    def flush(self) -> None:
        """Sends what the peer takes now; goes on by itself when it takes more."""
        sock = self.socket
        if sock is None or self._blocked:
            return
        fd = sock.fileno()
        while (message := self._queue.head()) is not None:
            try:
                sent = self._sender.write(fd, message)
            except OSError as error:
                self._failed(error)
                return
            if not sent:
                self._stalls += 1
                self._blocked = True
                self._loop.writer(fd, self._writable)
                return
            self._queue.pop()

    def statistics(self) -> dict[str, int | str]:
        """Frames and bytes as the peer saw them; what was left out, by reason; how often the peer was full."""
        return {
            "rx_frames": self._receiver.frames,
            "rx_bytes": self._receiver.nbytes,
            "tx_frames": self._sender.frames,
            "tx_bytes": self._sender.nbytes,
            "empty": self._receiver.empty,
            "runt": self._receiver.runts,
            "oversize": self._receiver.oversize,
            "too-long-to-send": self._sender.too_long,
            "no-buffers": self._sender.no_buffers,
            "offload-unsupported": self._sender.offload_unsupported,
            "stalls": self._stalls,
            **({"refused": self._sender.refused + self._errors} if self._lossy else {}),
        }

    def _readable(self) -> None:
        """One call of the kernel, at most 64 frames: then it is another port's turn."""
        sock = self.socket
        if sock is None:
            return
        try:
            message = self._receiver.read(sock.fileno())
        except OSError as error:
            if self._lossy:
                self._errors += 1
            else:
                self._failed(error)
            return
        # receive() may have closed the port, or sent an answer that met a dead peer.
        while message is not None and self.socket is sock:
            self._receive(message)
            message = self._receiver.rest()

    def _writable(self) -> None:
        if self.socket is not None:
            self._loop.writer(self.socket.fileno(), None)
            self._blocked = False
            self.flush()
