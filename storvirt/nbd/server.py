"""The one room of NBD with sockets: accepts clients, bounds them, counts them.

Knows: listening sockets, how many clients there may be and how much they may make us hold.
Refuses to know: the protocol (handshake, session), what an export does.

# Bounds
- `most` connections. A newcomer beyond them takes the place of the oldest one that still negotiates; where all are in
  use it is refused. So idle strangers keep nobody out.
- A negotiation has `patience` seconds.
- Of one client: 1 MiB of replies before its next request waits, plus one reply or one partial request (32 MiB). It is
  not read from meanwhile. Its socket holds what the system gives a socket; of `WIDE` clients (for which that was too
  little once) it holds 2 MiB.
- Of all clients: `memory` bytes. Beyond that the one that has stood still for longest goes (`ended-memory`).
"""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Iterable
from typing import Final

from storvirt.loop import Loop, Timer
from storvirt.nbd.client import Client, Export, Stream, plain
from storvirt.nbd.export import ExportInfo
from storvirt.nbd.handshake import Handshake

__all__ = ["Export", "NbdServer", "plain"]

MOST_CLIENTS: Final = 256
PATIENCE: Final = 30.0
MEMORY: Final = 512 << 20
# Less than this is not watched: with all clients at it, 256 MiB.
_LIGHT: Final = 1 << 20
# A unix socket holds 208 KiB. With room for a reply of 1 MiB a client takes it while the next one is made; without, one
# waits for the other. The kernel doubles the number, and stops at twice net.core.wmem_max (208 KiB, or 4 MiB of late).
WIDE: Final = 32
_WIDE_BYTES: Final = 1 << 20
_ACCEPTS: Final = 64  # in one round, so that a flood of connections leaves the others their turn
# Out of descriptors or memory: the connection stays in the backlog, so accept would be called again at once, for ever.
_ACCEPT_PAUSE: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_PAUSE: Final = 1.0


class NbdServer:
    """Serves `exports` on listening stream sockets (unix, or TCP) that others have bound.

    default: the export that a client gets who names none. Clients of one export share what serves it, so a FLUSH of
    one covers what was answered to all (MULTI_CONN).
    """

    def __init__(
        self,
        loop: Loop,
        exports: Iterable[Export] = (),
        *,
        default: str | None = None,
        most: int = MOST_CLIENTS,
        patience: float = PATIENCE,
        memory: int = MEMORY,
    ) -> None:
        self._loop = loop
        self._default = default
        self._most = most
        self._patience = patience
        self._memory = memory
        self._exports = {export.info.name: export for export in exports}
        self._infos: dict[str, ExportInfo] = {name: export.info for name, export in self._exports.items()}
        self._listeners: dict[socket.socket, Timer | None] = {}
        self._clients: dict[Client, None] = {}  # dicts serve as ordered sets: the oldest is first
        self._negotiating: dict[Client, None] = {}
        self._heavy: dict[Client, int] = {}
        self._wide: set[Client] = set()
        self._counts = {"connections": 0, "refused": 0, "accept-errors": 0}
        self._requests: dict[str, int] = {}
        self._ends: dict[str, int] = {}

    def listen(self, listener: socket.socket) -> None:
        """Accept clients from this bound and listening socket too; it is closed by close()."""
        listener.setblocking(False)
        self._listeners[listener] = None
        self._loop.reader(listener.fileno(), lambda: self._accept(listener))

    def add(self, export: Export) -> None:
        """One more export for clients to come."""
        assert export.info.name not in self._exports
        self._exports[export.info.name] = export
        self._infos[export.info.name] = export.info

    def replace(self, export: Export) -> None:
        """Clients to come find this one under its name; those that are here keep what they were told."""
        assert export.info.name in self._exports
        self._exports[export.info.name] = export
        self._infos[export.info.name] = export.info

    def remove(self, name: str) -> None:
        """No client finds this export any more; those that use it are disconnected."""
        del self._exports[name], self._infos[name]
        for client in [client for client in self._clients if client.export == name]:
            client.finish("removed")

    def clients(self) -> dict[str, int]:
        """How many clients use each export."""
        using = dict.fromkeys(self._exports, 0)
        for client in self._clients:
            if client.export in using:
                using[client.export] += 1
        return using

    def statistics(self) -> dict[str, int]:
        """Counters by name: connections, requests by command, bytes, and ends of connections by reason."""
        requests = dict(self._requests)
        for client in self._clients:
            _add(requests, client)
        return {
            "clients": len(self._clients),
            **self._counts,
            **requests,
            **{f"ended-{reason}": count for reason, count in self._ends.items()},
        }

    def close(self) -> None:
        """Sends the replies that clients take now, and disconnects all. Whatever was answered is done."""
        for listener, pause in self._listeners.items():
            if pause is not None:
                pause.cancel()
            self._loop.reader(listener.fileno(), None)
            listener.close()
        self._listeners.clear()
        for client in list(self._clients):
            client.finish("closed")

    # --- what clients call

    def find(self, name: str) -> Export:
        return self._exports[name]

    def greeted(self, client: Client) -> None:
        self._negotiating.pop(client, None)

    def weigh(self, client: Client, held: int) -> None:
        """Called whenever the client moved: so the first in `_heavy` is the one that has stood still for longest."""
        self._heavy.pop(client, None)
        if held <= _LIGHT:
            return
        self._heavy[client] = held
        total = sum(self._heavy.values())
        while total > self._memory:
            stalled = next(iter(self._heavy))
            total -= self._heavy[stalled]
            stalled.close("memory")

    def widen(self, client: Client, stream: Stream) -> None:
        """A reply was more than the stream holds. TCP's buffers grow by themselves."""
        if len(self._wide) < WIDE and isinstance(stream, socket.socket) and stream.family == socket.AF_UNIX:
            self._wide.add(client)
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _WIDE_BYTES)

    def hung_up(self, fd: int) -> bool:
        """A TCP client that only closed is not seen here, but when the first reply is sent to it."""
        poll = select.poll()
        poll.register(fd, 0)
        return any(events & select.POLLHUP for _, events in poll.poll(0))

    def gone(self, client: Client, reason: str) -> None:
        self._clients.pop(client, None)
        self._negotiating.pop(client, None)
        self._heavy.pop(client, None)
        self._wide.discard(client)
        _add(self._requests, client)
        self._ends[reason] = self._ends.get(reason, 0) + 1

    # --- accepting

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_ACCEPTS):
            try:
                stream, _ = listener.accept()
            except OSError as error:
                if error.errno in _ACCEPT_PAUSE:
                    self._counts["accept-errors"] += 1
                    self._loop.reader(listener.fileno(), None)
                    self._listeners[listener] = self._loop.call_later(_PAUSE, lambda: self.listen(listener))
                return
            self._counts["connections"] += 1
            self._welcome(stream)

    def _welcome(self, stream: socket.socket) -> None:
        if len(self._clients) >= self._most:
            if not self._negotiating:
                self._counts["refused"] += 1
                stream.close()
                return
            next(iter(self._negotiating)).close("crowded-out")
        stream.setblocking(False)
        if stream.family != socket.AF_UNIX:
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._enter(stream)

    def _enter(self, stream: Stream) -> None:
        client = Client(self._loop, stream, self, Handshake(self._infos, self._default), self._patience)
        self._clients[client] = self._negotiating[client] = None
        client.open()


def _add(counts: dict[str, int], client: Client) -> None:
    if client.session is not None:
        for name, count in client.session.statistics().items():
            counts[name] = counts.get(name, 0) + count
