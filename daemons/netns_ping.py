"""The operations `ping` and `pingall` of netnsd; arguments and answers are those of hostd's.

Knows: arguments, sockets, patience, the shape of the answers. Refuses to know: what an echo looks like, how fast a
`pingall` goes (`pairs`).
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any, Final

from daemons.control import Reply
from daemons.errors import UserError
from daemons.hostd_args import number
from daemons.loop import Loop
from daemons.netns_config import parse_address
from daemons.netns_echo import MAX_PAYLOAD, EchoSocket, family_of, open_echo
from daemons.netns_hosts import Hosts, LabHost
from daemons.netns_neighbours import Neighbours, on_link
from daemons.pairs import DEFAULT_SIZE, MS, Answered, PairAnswer, PairRounds

_SOCKETS: Final = 64  # open at once in a `pingall`; a lab of 256 hosts should not need 512 descriptors more
# Pairs from which on each is forgotten by its two ends: Linux has one limit of neighbours for all namespaces together,
# 1024 unless root has raised it, and gives up none that is younger than 5 s (neighbour.c: neigh_forced_gc).
_MANY: Final = 200
_FULL: Final = (
    "the ARP or ND table is full, which all namespaces share; as root: sysctl net.ipv4.neigh.default.gc_thresh3"
)
Done = Callable[[int | None, str], None]


class Echoes:
    """Sends echoes of any host, waits for each no longer than it should; at most `_SOCKETS` sockets at once."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._sockets: dict[tuple[str, socket.AddressFamily], EchoSocket] = {}
        self._busy: dict[tuple[str, socket.AddressFamily], int] = {}

    def ask(self, host: LabHost, address: str, size: int, timeout_ns: int, done: Done) -> None:
        """One echo; `done(round trip in ns or None, why not)` is called once."""
        key = (host.name, family_of(address))
        self._busy[key] = self._busy.get(key, 0) + 1

        def end(rtt: int | None, why: str) -> None:
            self._busy[key] -= 1
            done(rtt, f"{host.name} does not reach {address}: {why}" if why else "")

        def fail(error: OSError) -> None:
            why = _FULL if error.errno == errno.ENOBUFS else error.strerror or str(error)
            self._loop.call_later(0, lambda: end(None, why))

        try:
            echoes = self._socket(key, host)
        except OSError as error:
            fail(error)
            return
        sequence = echoes.reserve()

        def late() -> None:
            echoes.forget(sequence)
            end(None, "")

        def answered(rtt: int | None, why: str) -> None:
            timer.cancel()
            end(rtt, why)

        timer = self._loop.call_later(timeout_ns / 1e9, late)
        try:
            echoes.send(sequence, address, size, answered)
        except OSError as error:
            timer.cancel()
            fail(error)

    def _socket(self, key: tuple[str, socket.AddressFamily], host: LabHost) -> EchoSocket:
        if key not in self._sockets:
            for idle in [key for key in self._sockets if not self._busy[key]]:
                if len(self._sockets) < _SOCKETS:
                    break
                self._sockets.pop(idle).close()
            family = key[1]
            self._sockets[key] = EchoSocket(self._loop, family, host.namespace.inside(lambda: open_echo(family)))
        return self._sockets[key]

    def close(self) -> None:
        for each in self._sockets.values():
            each.close()
        self._sockets.clear()


def ping(hosts: Hosts, loop: Loop, args: dict[str, Any], reply: Reply) -> None:
    """{src, dst, count, interval_ms, timeout_ms, size}; an event for each echo, then the whole."""
    source = hosts.host(args.get("src"))
    Ping(source, address_of(hosts, source, args.get("dst")), loop, args, reply).begin()


class Ping:
    """Some echoes of one host, one after the other."""

    def __init__(self, source: LabHost, address: str, loop: Loop, args: dict[str, Any], reply: Reply) -> None:
        self._source = source
        self._address = address
        self._loop = loop
        self._reply = reply
        self._args = args
        self._count = int(number(args, "count", 4, 1, 65535))
        self._interval = number(args, "interval_ms", 1000, 1, 3_600_000) / 1000
        self._timeout = int(number(args, "timeout_ms", 2000, 1, 3_600_000) * MS)
        self._size = int(number(args, "size", DEFAULT_SIZE, 0, MAX_PAYLOAD))
        self._echoes = Echoes(loop)
        self._sent = self._answered = 0
        self._rtts: list[float] = []
        self._errors: list[str] = []

    def begin(self) -> None:
        self._reply.on_gone = self._echoes.close
        self._next()

    def _next(self) -> None:
        if self._reply.gone:
            return
        self._sent += 1
        sequence = self._sent
        self._echoes.ask(
            self._source, self._address, self._size, self._timeout, lambda rtt, why: self._told(sequence, rtt, why)
        )
        if self._sent < self._count:
            self._loop.call_later(self._interval, self._next)

    def _told(self, sequence: int, rtt: int | None, why: str) -> None:
        self._answered += 1
        if rtt is not None:
            self._rtts.append(rtt / MS)
        if why:
            self._errors.append(why)
        self._reply.event({"seq": sequence, "rtt_ms": None if rtt is None else rtt / MS, "error": why})
        if self._answered == self._count:
            self._echoes.close()
            self._reply.done(self._result())

    def _result(self) -> dict[str, Any]:
        return {
            "src": self._args["src"],
            "dst": self._args["dst"],
            "address": self._address,
            "sent": self._sent,
            "received": len(self._rtts),
            "lost": self._sent - len(self._rtts),
            "duplicates": 0,
            "rtts_ms": self._rtts,
            "errors": self._errors,
        }


class PingAll(PairRounds):
    """The operation `pingall`, begun by being made."""

    def __init__(self, hosts: Hosts, loop: Loop, args: dict[str, Any], reply: Reply) -> None:
        super().__init__(loop, args, reply)
        self._hosts = hosts
        self._neighbours = Neighbours(hosts) if self.many > _MANY else None
        self._echoes = Echoes(loop)
        reply.on_gone = self._echoes.close
        self.round()

    def ask(self, src: str, dst: str, answered: Answered) -> None:
        source = self._hosts.host(src)
        address = address_of(self._hosts, source, dst)

        def done(rtt: int | None, why: str) -> None:
            answered(PairAnswer(src, dst, address, rtt is not None, rtt and rtt / MS, why))
            if self._neighbours is not None:
                self._neighbours.end(source, address)

        if self._neighbours is not None:
            self._neighbours.begin(source, address)
        self._echoes.ask(source, address, DEFAULT_SIZE, self.timeout, done)

    def over(self) -> None:
        self._echoes.close()


def address_of(hosts: Hosts, source: LabHost, dst: object) -> str:
    """`dst` is an address, or a host's name: then one of its addresses, on-link if there is one. Raises UserError."""
    if not isinstance(dst, str):
        raise UserError(f"a destination is a host's name or an address, not {dst!r:.60}")
    if dst not in hosts.hosts:
        if "." not in dst and ":" not in dst:
            hosts.host(dst)
        parse_address(dst, "a destination")
        return dst
    addresses = hosts.hosts[dst].addresses()
    if not addresses:
        raise UserError(f"{dst} has no address; give it one in the lab file")
    return max(addresses, key=lambda address: bool(on_link(source, address)))
