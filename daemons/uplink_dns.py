"""The DNS of an uplink: questions of its clients are passed on to the resolvers of this machine, answers passed back.

Knows: sockets on both sides, resolv.conf(5), which question waits for which answer. Refuses to know: what is asked.

pasta could forward them, too; but not to a resolver on this machine's loopback (systemd-resolved's) as long as that is
out of reach for everything else. This process stays in the machine's own network, so it asks there. A socket for each
question: the kernel chooses its port, and takes answers from the one who was asked (RFC 5452 sections 9.1, 9.2).
UDP only: TCP is refused, and an answer too long for UDP stays cut short.
"""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Final

from daemons.loop import Loop, Timer
from daemons.netns_stack import Namespace

PORT: Final = 53
RESOLV_CONF: Final = "/etc/resolv.conf"
_LARGEST: Final = 65535
_SHORTEST: Final = 12  # a DNS header (RFC 1035 section 4.1.1)
_AT_ONCE: Final = 32  # questions before others of the loop have their turn
_WAITING: Final = 256  # questions; more are dropped, and asked again by who wants to know
_PATIENCE_SECONDS: Final = 3.0  # with one resolver; the resolver library's own is 5 s
_SERVERS: Final = 3  # resolv.conf(5): MAXNS
_LARGEST_FILE: Final = 65536


class Dns:
    """Answers at `addresses` of a namespace, port 53. Raises OSError. `file`: where the resolvers are named."""

    def __init__(self, loop: Loop, namespace: Namespace, addresses: Sequence[str], file: str = RESOLV_CONF) -> None:
        self.addresses = tuple(addresses)
        self.counts: Counter[str] = Counter()
        self._loop = loop
        self._file = file
        self._stamp: tuple[int, int] | None = None
        self._servers: list[str] = []
        self._waiting: set[_Question] = set()
        self._sockets = namespace.inside(lambda: _listen(self.addresses))
        for each in self._sockets:
            loop.reader(each.fileno(), partial(self._readable, each))

    @property
    def problem(self) -> str:
        """Why nothing can be answered now, or ""."""
        return "" if self.servers() else f"DNS questions are not answered: {self._file} names no resolver"

    def servers(self) -> list[str]:
        """Whom to ask, in this order. The file is read again when it is another one: VPNs come and go."""
        try:
            found = os.stat(self._file)
            stamp = (found.st_mtime_ns, found.st_ino)
            if stamp != self._stamp:
                with open(self._file, errors="replace") as file:
                    self._servers = resolvers(file.read(_LARGEST_FILE))
                self._stamp = stamp
        except OSError:
            self._servers, self._stamp = [], None
        return self._servers

    def _readable(self, listening: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                data, client = listening.recvfrom(_LARGEST)
            except OSError:
                return
            if len(data) < _SHORTEST:
                self.counts["runt"] += 1
            elif len(self._waiting) >= _WAITING:
                self.counts["too-many"] += 1
            else:
                self.counts["question"] += 1
                self._waiting.add(_Question(self, data, listening, client))

    def close(self) -> None:
        for question in list(self._waiting):
            question.end("closed")
        for each in self._sockets:
            self._loop.reader(each.fileno(), None)
            each.close()


class _Question:
    """One that was passed on, until it is answered or nobody is left to ask."""

    def __init__(self, dns: Dns, data: bytes, listening: socket.socket, client: tuple[str, int]) -> None:
        self._dns = dns
        self._data = data
        self._listening = listening
        self._client = client
        self._servers = list(dns.servers())
        self._socket: socket.socket | None = None
        # Not asked at once: who made this object is to know of it first.
        self._timer: Timer = dns._loop.call_later(0, self._ask)

    def _ask(self) -> None:
        """The next resolver, or nobody."""
        self._hang_up()
        while self._servers:
            try:
                self._socket = _ask(self._servers.pop(0), self._data)
            except OSError:  # no way there, such as an IPv6 resolver on a machine without IPv6
                continue
            self._dns._loop.reader(self._socket.fileno(), self._readable)
            self._timer = self._dns._loop.call_later(_PATIENCE_SECONDS, self._ask)
            return
        self.end("unanswered")

    def _readable(self) -> None:
        assert self._socket is not None
        try:
            answer = self._socket.recv(_LARGEST)
        except BlockingIOError:
            return
        except OSError:  # refused: nobody is there
            self._ask()
            return
        if answer[:2] != self._data[:2]:
            self._dns.counts["another-id"] += 1
            return
        try:
            self._listening.sendto(answer, self._client)
            self.end("answer")
        except OSError:
            self.end("unsent")

    def _hang_up(self) -> None:
        self._timer.cancel()
        if self._socket is not None:
            self._dns._loop.reader(self._socket.fileno(), None)
            self._socket.close()
            self._socket = None

    def end(self, reason: str) -> None:
        self._hang_up()
        self._dns.counts[reason] += 1
        self._dns._waiting.discard(self)


def resolvers(text: str) -> list[str]:
    """The addresses that a resolv.conf(5) names, as many as the library takes."""
    rows = [line.split() for line in text.splitlines()]
    return [row[1] for row in rows if len(row) > 1 and row[0] == "nameserver" and _is_address(row[1])][:_SERVERS]


def _is_address(text: str) -> bool:
    try:
        socket.getaddrinfo(text, PORT, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return False
    return True


def _ask(server: str, data: bytes) -> socket.socket:
    """A socket on which the answer of `server` comes. Raises OSError."""
    family, kind, _, _, where = socket.getaddrinfo(
        server, PORT, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
    )[0]  # fmt: skip
    made = socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        made.connect(where)
        made.send(data)
    except OSError:
        made.close()
        raise
    return made


def _listen(addresses: Sequence[str]) -> list[socket.socket]:
    """In the namespace. Raises OSError."""
    made: list[socket.socket] = []
    try:
        for address in addresses:
            made.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK))
            made[-1].bind((address, PORT))
    except OSError:
        for each in made:
            each.close()
        raise
    return made
