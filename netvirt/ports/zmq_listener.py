"""The listening end of links over ZeroMQ: one ROUTER socket for all the ports of a switch, and the drivers behind it.

Knows: which connection belongs to which port, who is refused and why. Refuses to know: VLANs, what frames say.

A ROUTER names every connection itself and never twice (our dialers set no ROUTING_ID, and one that a stranger sets
collides with nothing: libzmq keeps the first). So a stranger is a name without a port: counted, refused, harmless.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from typing import Any

import zmq

from netvirt import link as protocol
from netvirt.burst import HEADER_SIZE, KIND_HELLO, BurstError, unpack_header
from netvirt.ports import Loop, Queue
from netvirt.ports.endpoint import parse_endpoint
from netvirt.ports.sockets import DISCONNECTED, listening_socket, monitor_events
from netvirt.ports.zmq import FULL_RETRY, LAST_WORD, TURN, packing_over

# A connection's end is announced a little before libzmq forgets its name: look now, and once more.
PROBE_AGAIN = 0.05
# One refusal per stranger's message, but not more than this many a turn: answering junk must not become our work.
REFUSALS_A_TURN = 4
_MORE_COMES = int(zmq.NOBLOCK | zmq.SNDMORE)  # an enumeration's `|` takes longer than many a call

Admit = Callable[[protocol.Hello, str], "ListenPort | str"]


class ListenPort:
    """A switch port that waits for somebody to dial, at one or several listeners of its switch; a `netvirt.ports.Port`.

    One caller at a time has it. allow: public keys that may use it over TCP (over ipc the run folder's mode decides);
    info: what a WELCOME says beside our name.
    """

    kind = "listen"

    def __init__(
        self,
        listeners: Sequence[ZmqListener],
        name: str,
        queue: Queue,
        receive: Callable[[memoryview], Any],
        carrier_changed: Callable[[bool], Any],
        allow: frozenset[str] = frozenset(),
        info: dict[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.allow = allow
        self.carrier = False
        self.closed = False
        self.info = info
        self.identity: bytes | None = None
        self.link = protocol.Link(listeners[0].name, listeners[0].epoch)
        self.receive = receive
        self._listeners = listeners
        self._at = listeners[0]  # where the caller is, if there is one
        self._queue = queue
        self._carrier_changed = carrier_changed
        self.counts: dict[str, int] = {}

    @property
    def peer(self) -> str:
        return self.link.peer if self.carrier else ""

    def open(self) -> None:
        for listener in self._listeners:
            listener.ports[self.name] = self

    def connect(self, at: ZmqListener, identity: bytes) -> None:
        """From now on the connection `identity` of the listener `at` has this port."""
        self._at, self.identity = at, identity
        at.peers[identity] = self

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def set_carrier(self, up: bool) -> None:
        if up != self.carrier:
            self.carrier = up
            self._carrier_changed(up)
            if up:
                self.flush()

    def lost(self) -> None:
        """The connection is gone."""
        self.link.lost()
        if self.identity is not None:
            self._at.peers.pop(self.identity, None)
            self.identity = None
        self.set_carrier(False)

    def send(self, message: bytes | memoryview) -> bool:
        return self.identity is not None and self._at.send(self.identity, message)

    def still_there(self) -> bool:
        """Whether the caller that has this port is connected: a message that changes nothing finds out."""
        credit = protocol.credit_again(self.link)
        if credit is not None:
            self.send(credit)
        return self.identity is not None

    def flush(self) -> None:
        link, queue, packer = self.link, self._queue, self.link.packer
        while (message := queue.head()) is not None and link.may_send(len(message)):
            if not self.send(message if packer is None else packer.pack(message)):
                if self.identity is None:
                    return
                self.count("mark-reached")
                self._at.loop.call_later(FULL_RETRY, self.flush)
                return
            link.sent(len(message))
            queue.pop()

    def close(self) -> None:
        for listener in self._listeners:
            if listener.ports.get(self.name) is self:
                del listener.ports[self.name]
        if self.link.state == protocol.UP and self.send(self.link.leave()):
            self._at.loop.call_later(LAST_WORD, self.end)
            self.set_carrier(False)
        else:
            self.end()

    def end(self) -> None:
        """No more waiting for the peer's answer."""
        self.lost()
        self.closed = True

    def statistics(self) -> dict[str, int | str]:
        return {**self.link.statistics(), **self.counts}


class ZmqListener:
    """Binds `endpoint` (no '#port') and hands each caller to the port that it names.

    admit(hello, key) may make a port for a caller that names none of `ports` (captures), or says in a sentence why not.
    Raises PortError when it can't listen.
    """

    def __init__(
        self, loop: Loop, endpoint: str, *, name: str, epoch: int, admit: Admit, key_file: str | None = None
    ) -> None:
        self.loop = loop
        self.name = name
        self.epoch = epoch
        self.endpoint = parse_endpoint(endpoint, port_needed=False)
        self.ports: dict[str, ListenPort] = {}
        self.peers: dict[bytes, ListenPort] = {}
        self.counts: dict[str, int] = {}
        self._admit = admit
        self._packing = packing_over(self.endpoint.transport)
        self._socket = listening_socket(self.endpoint, key_file)
        self._monitor = self._socket.get_monitor_socket(DISCONNECTED)
        loop.zmq(self._monitor, self._watch)
        loop.zmq(self._socket, self._readable)

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def _watch(self) -> None:
        assert self._monitor is not None
        if monitor_events(self._monitor):
            self._probe()
            self.loop.call_later(PROBE_AGAIN, self._probe)

    def _probe(self) -> None:
        # The event does not say who it was: ask each for room, which says nothing to those who are there.
        for port in list(self.peers.values()):
            port.still_there()

    def send(self, identity: bytes, message: bytes | memoryview) -> bool:
        """Hand one message to libzmq; False when its queue is full, or when the peer is gone (then its port knows)."""
        try:
            self._socket.send(identity, _MORE_COMES)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            port = self.peers.get(identity)
            if port is not None:
                port.lost()
            return False
        self._socket.send(message, zmq.NOBLOCK)
        self.loop.touch(self._socket)
        return True

    def _readable(self) -> None:
        socket, peers = self._socket, self.peers
        consumers: dict[ListenPort, None] = {}
        refusals = REFUSALS_A_TURN
        for _ in range(1 if self.loop.slept else TURN):
            try:
                identity = socket.recv(zmq.NOBLOCK)
                part = socket.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            if part.more:
                while part.more:
                    part = socket.recv(zmq.NOBLOCK, copy=False)
                self.count("junk")
                continue
            port = peers.get(identity)
            if port is None:
                refusals -= self._stranger(identity, part, refusals)
                continue
            message = part.buffer
            try:
                event = port.link.receive(message)
            except protocol.LinkError as error:
                port.count(error.reason)
                continue
            if event.what == "frames":
                port.receive(event.frames or message)
                consumers[port] = None
            else:
                self._control(port, event)
        for port in consumers:
            credit = port.link.consumed()
            if credit is not None:
                port.send(credit)

    def _control(self, port: ListenPort, event: protocol.Event) -> None:
        if event.answer is not None:
            port.send(event.answer)
        if event.what == "credit":
            port.flush()
        elif event.what == "left":
            port.lost()
        elif event.what == "gone":
            port.end()

    def _stranger(self, identity: bytes, part: zmq.Frame, refusals: int) -> int:
        """A first message must be a HELLO. Returns 1 when it was answered with a refusal."""
        try:
            message = part.buffer
            if len(message) < HEADER_SIZE or message[3] != KIND_HELLO:
                raise protocol.LinkError("stranger", "somebody who did not say HELLO")
            unpack_header(message)
            hello = protocol.parse_hello(message)
            key = part.get("User-Id") if self.endpoint.transport == "tcp" else ""
        except (protocol.LinkError, BurstError) as error:
            self.count(getattr(error, "reason", "junk"))
            return 0
        except zmq.ZMQError:  # no such property: a connection without CURVE
            self.count("stranger")
            return 0
        why, retry = self._welcome(identity, hello, str(key))
        if not why or not refusals:
            return 0
        self.count("refused")
        self.send(identity, protocol.refusal(self.epoch, why, nonce=hello.nonce, retry=retry))
        return 1

    def _welcome(self, identity: bytes, hello: protocol.Hello, key: str) -> tuple[str, bool]:
        """Connect a caller to its port; otherwise (why not, whether to ask again soon)."""
        found = self.ports.get(hello.port) if hello.role != "capture" else None
        if found is None:
            admitted = self._admit(hello, key)
            if isinstance(admitted, str):
                return admitted, False
            found = admitted
        if self.endpoint.transport == "tcp" and key not in found.allow:
            return f"the key {key} may not use port {hello.port} of {self.name}", False
        if found.identity is not None and found.still_there():
            return f"port {hello.port} of {self.name} is taken by {found.link.peer}", True
        try:
            answer = found.link.accept(hello, found.info, self._packing)
        except protocol.LinkError as error:
            found.count(error.reason)
            return str(error), False
        found.connect(self, identity)
        if found.send(answer):
            found.set_carrier(True)
        else:
            found.lost()
        return "", False

    def close(self) -> None:
        """Release the socket and its file; ports are closed before."""
        self.loop.zmq(self._monitor, None)
        self.loop.zmq(self._socket, None)
        self._socket.disable_monitor()
        self._monitor.close()  # disable_monitor() only forgets it
        self._socket.close()
        if self.endpoint.transport == "ipc":
            with contextlib.suppress(OSError):
                os.unlink(self.endpoint.address)
