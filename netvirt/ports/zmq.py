"""The dialling end of a link over ZeroMQ: a NIC, the far end of a trunk, or a capture.

Knows: one DEALER socket, when to greet and when to try again. Refuses to know: what frames say, who listens there.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import zmq

from netvirt import link as protocol
from netvirt.ports import Loop, Queue, Timer
from netvirt.ports.endpoint import parse_endpoint
from netvirt.ports.errors import PortError
from netvirt.ports.sockets import CONNECTED, DISCONNECTED, REFUSED, TURNED_AWAY, dialling_socket, monitor_events

# Messages taken in one go before others get their turn; also how far bursts grow in one round of the loop.
TURN = 32
RETRY_SOON, RETRY_LATER = 0.1, 2.0  # seconds until the next HELLO after a refusal
UNANSWERED = 2.0  # seconds until the same HELLO is said again: a busy listener may pass over one
LAST_WORD = 0.5  # seconds to wait for GONE
FULL_RETRY = 0.001  # libzmq's own queue was full (it can't be, by credits); look again


def packing_over(transport: str) -> protocol.Packing | None:
    """What compresses bursts there: lz4 over TCP, which loads it; nothing on one machine, where copying is cheaper."""
    if transport != "tcp":
        return None
    from netvirt.packing import Packer

    return Packer


class ZmqDialer:
    """A `netvirt.ports.Port` that dials `endpoint` (with '#port') and goes on dialling.

    name: who we are, for people and for the listener; role: nic, trunk or capture. `welcome` is what the listener said
    last, `refusal` why it would not have us. Raises PortError for an endpoint that can't be.
    """

    kind = "dial"

    def __init__(
        self,
        loop: Loop,
        endpoint: str,
        queue: Queue,
        receive: Callable[[memoryview], Any],
        carrier_changed: Callable[[bool], Any],
        *,
        name: str,
        epoch: int = 0,
        role: str = "nic",
        key_file: str | None = None,
    ) -> None:
        self._endpoint = parse_endpoint(endpoint)
        self._loop = loop
        self._queue = queue
        self._receive = receive
        self._carrier_changed = carrier_changed
        self._role = role
        self._key_file = key_file
        self._packing = packing_over(self._endpoint.transport)
        self._link = protocol.Link(name, epoch, nonce=secrets.randbits(32))
        self._retry: Timer | None = None
        self._redial: Timer | None = None
        self._counts: dict[str, int] = {}
        self._socket: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes] | None = None
        self._on_gone: Callable[[], Any] | None = None
        self.carrier = False
        self.closed = False
        self.welcome: dict[str, Any] = {}
        self.refusal = ""

    @property
    def peer(self) -> str:
        return self._link.peer

    def open(self) -> None:
        socket = dialling_socket(self._endpoint, self._key_file)
        self._shut()
        self._socket = socket
        self._monitor = socket.get_monitor_socket(CONNECTED | DISCONNECTED | REFUSED)
        self._loop.zmq(self._monitor, self._watch)
        self._loop.zmq(socket, self._readable)
        socket.connect(self._endpoint.url)

    def _count(self, what: str) -> None:
        self._counts[what] = self._counts.get(what, 0) + 1

    # --- the transport comes and goes

    def _watch(self) -> None:
        assert self._monitor is not None
        for event in monitor_events(self._monitor):
            if event == CONNECTED:
                self._greet()
            elif event == DISCONNECTED:
                self._lost()
            else:
                self._count("handshake-refused")
                self.refusal = "the listener does not know our key, or speaks no ZeroMQ"
                if event & TURNED_AWAY and self._redial is None:
                    self._redial = self._loop.call_later(RETRY_LATER, self._dial_anew)

    def _dial_anew(self) -> None:
        """With a fresh socket: a listener that did not know our key may have been told of it since."""
        self._redial = None
        try:
            self.open()
        except PortError as error:  # our own key file is gone, or somebody is just writing it
            self.refusal = str(error)
            self._redial = self._loop.call_later(RETRY_LATER, self._dial_anew)

    def _greet(self) -> None:
        self._no_retry()
        if self.closed or self._link.state == protocol.LEAVING:
            return
        self._say(self._link.dial(self._endpoint.port, self._role, self._packing))

    def _say(self, hello: bytes) -> None:
        # The very same HELLO again and again: the answer to any of them is the answer to all.
        self._send(hello)
        self._retry = self._loop.call_later(UNANSWERED, lambda: self._say(hello))

    def _lost(self) -> None:
        leaving = self._link.state == protocol.LEAVING
        self._link.lost()
        self._no_retry()
        self._set_carrier(False)
        if leaving:
            self._end()

    def _set_carrier(self, up: bool) -> None:
        if up != self.carrier:
            self.carrier = up
            self._carrier_changed(up)
            if up:
                self.flush()

    def _again(self, seconds: float) -> None:
        self._no_retry()
        self._retry = self._loop.call_later(seconds, self._greet)

    def _no_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    # --- messages in

    def _readable(self) -> None:
        socket, link = self._socket, self._link
        assert socket is not None
        # After a sleep there is most often one message, and to find that out costs more than to be called again.
        for _ in range(1 if self._loop.slept else TURN):
            try:
                part = socket.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            if part.more:
                while part.more:
                    part = socket.recv(zmq.NOBLOCK, copy=False)
                self._count("junk")
                continue
            message = part.buffer
            try:
                event = link.receive(message)
            except protocol.LinkError as error:
                self._count(error.reason)
                continue
            if event.what == "frames":
                self._receive(event.frames or message)
            else:
                self._control(event)
            if self.closed:
                return
        if link.state == protocol.UP and (credit := link.consumed()) is not None:
            self._send(credit)

    def _control(self, event: protocol.Event) -> None:
        if event.answer is not None:
            self._send(event.answer)
        if event.what == "up":
            self._no_retry()
            self.welcome, self.refusal = dict(event.info), ""
            self._set_carrier(True)
        elif event.what == "refused":
            self.refusal = str(event.info["why"])
            self._count("refused")
            self._again(RETRY_SOON if event.info["retry"] else RETRY_LATER)
        elif event.what == "credit":
            self.flush()
        elif event.what == "left":
            self._set_carrier(False)
            self._again(RETRY_SOON)
        elif event.what == "gone":
            self._end()

    # --- messages out

    def _send(self, message: bytes | memoryview) -> bool:
        assert self._socket is not None
        try:
            self._socket.send(message, zmq.NOBLOCK)
        except zmq.Again:
            self._count("mark-reached")
            return False
        self._loop.touch(self._socket)
        return True

    def flush(self) -> None:
        link, queue, packer = self._link, self._queue, self._link.packer
        while (message := queue.head()) is not None and link.may_send(len(message)):
            if not self._send(message if packer is None else packer.pack(message)):
                self._loop.call_later(FULL_RETRY, self.flush)
                return
            link.sent(len(message))
            queue.pop()

    # --- the end

    def close(self) -> None:
        """Say goodbye; the socket goes when the peer has answered, or after half a second (`closed`)."""
        self._no_retry()
        if self._link.state != protocol.UP or not self._send(self._link.leave()):
            self._end()
            return
        self._set_carrier(False)
        self._retry = self._loop.call_later(LAST_WORD, self._end)

    def _end(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._no_retry()
        if self._redial is not None:
            self._redial.cancel()
            self._redial = None
        self._set_carrier(False)
        self._shut()

    def _shut(self) -> None:
        if self._socket is None or self._monitor is None:
            return
        self._loop.zmq(self._monitor, None)
        self._loop.zmq(self._socket, None)
        self._socket.disable_monitor()
        self._monitor.close()  # disable_monitor() only forgets it
        self._socket.close()
        self._socket = self._monitor = None

    def statistics(self) -> dict[str, int | str]:
        return {**self._link.statistics(), **self._counts}
