"""The driver for machines in a browser (v86, JSLinux and others): one binary WebSocket message is one frame.

Knows: who may have the port, one client at a time, and what is counted.
Refuses to know: the handshake (websocket_listener.py), messages (websocket_session.py), which switch it serves.

Carrier: up while a client is connected; nothing tells the client of ours. No other driver needs wsproto, so this one is
imported when the first such port is configured.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import Final

from wsproto import WSConnection

from netvirt.ports import Loop, Queue
from netvirt.ports.driver import Driver
from netvirt.ports.websocket_listener import Listener
from netvirt.ports.websocket_rules import check_origins, parse_listen, refusal, url
from netvirt.ports.websocket_session import Session

PING_SECONDS: Final = 30.0


class WebSocketPort(Driver):
    """A switch port that a client finds at ws://`listen`/`name`; a `netvirt.ports.Port`.

    Ports with the same `listen` share it; `/` alone will do where there is one. origins: where pages may be from,
    beside the address itself ("*": anywhere). public: `listen` may be an address that other machines reach.
    Raises PortError here (no address, no origin) and in open() (nobody can listen there).
    """

    kind = "websocket"

    def __init__(
        self,
        loop: Loop,
        listen: str,
        name: str,
        queue: Queue,
        receive: Callable[[memoryview], None],
        carrier_changed: Callable[[bool], None],
        *,
        origins: Iterable[str] = (),
        public: bool = False,
        ping: float = PING_SECONDS,
    ) -> None:
        self.name = name
        super().__init__(loop, queue, receive, carrier_changed)
        self._listener = Listener.at(loop, parse_listen(listen, public))
        self._origins = check_origins(origins)
        self._ping = ping
        self._session: Session | None = None
        names = ("rx_frames", "rx_bytes", "tx_frames", "tx_bytes", "connects", "runt", "stalls", "unsent")
        self._counts = dict.fromkeys((*names, "offload-unsupported"), 0)
        self._refused: dict[str, int] = {}
        self._sentence = ""

    def open(self) -> None:
        """Begins to listen."""
        self._listener.add(self)

    def flush(self) -> None:
        """Sends what the client takes now; goes on by itself when it takes more."""
        if self._session is not None:
            self._session.flush()

    def close(self) -> None:
        """Says goodbye to the client; the last port of an address stops listening."""
        self._listener.remove(self)
        if self._session is not None:
            self._session.end("goodbye")

    def statistics(self) -> dict[str, int | str]:
        """Counters by name: junk, clients refused and ends of connections by reason; `last-refusal`: what was said."""
        return {
            "url": url(self._listener.address, self.name),
            **self._counts,
            **{f"refused-{reason}": count for reason, count in self._refused.items()},
            **self._ended(),
            **({"last-refusal": self._sentence} if self._sentence else {}),
        }

    # --- for the listener

    def refusal(self, origin: str | None, address: str) -> tuple[str, str]:
        """(reason, sentence), both "" if the client may come in."""
        if sentence := refusal(origin, address, self._origins):
            return "origin", sentence
        if self._session is not None:
            return "taken", f"port {self.name} has a client already; it serves one at a time"
        return "", ""

    def refuse(self, reason: str, sentence: str) -> None:
        """Counts a client that came and got nothing."""
        self._refused[reason] = self._refused.get(reason, 0) + 1
        self._sentence = sentence or self._sentence

    def come(self, stream: socket.socket, ws: WSConnection) -> None:
        """Takes the client whose handshake is over, and its connection."""
        self._counts["connects"] += 1
        self._session = Session(
            self._loop, stream, ws, self._queue, self._receive, self._counts, self._gone, self._ping
        )
        self.carrier = True
        self._carrier_changed(True)
        if self._session is not None:  # carrier_changed() may have closed the port
            self._session.start()

    def _gone(self, reason: str) -> None:
        """Frames for a client that is gone would be stale for the next one, so none are kept."""
        self._session = None
        self._count_end(reason)
        self._go_down()
