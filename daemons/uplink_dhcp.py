"""The DHCP server of an uplink: its socket on one interface of the namespace, its clock.

Knows: datagrams in and out, and that a lease is kept before a client hears of it (RFC 2131 section 2.1). Refuses to
know: what they say (netvirt.hosting.dhcp), how leases are kept (lease_file).
"""

from __future__ import annotations

import socket
import time
from typing import Any, Final

from daemons.lease_file import LeaseFile
from daemons.loop import Loop
from daemons.netns_stack import Namespace
from netvirt.hosting.dhcp import CLIENT_PORT, SERVER_PORT, Answer, Server, Service

_AT_ONCE: Final = 64  # datagrams before others of the loop have their turn
_LARGEST: Final = 2048


class DhcpSocket:
    """Serves `service` on the interface `dev`. Raises OSError where there is none. `path`: the file of leases."""

    def __init__(self, loop: Loop, namespace: Namespace, dev: str, service: Service, path: str) -> None:
        self._loop = loop
        self._file = LeaseFile(path)
        self._unsent = 0
        self.problem = ""
        self.dev = dev
        self.index, self._socket = namespace.inside(lambda: _open(dev))
        self.server = Server(service, self._file.kept(), _now())
        self._saved = self.server.changes
        loop.reader(self._socket.fileno(), self._readable)

    def change(self, service: Service) -> None:
        """Serve another range, or tell clients something else; leases that still fit are kept."""
        if service != self.server.service:
            self.server = Server(service, self.server.dump(), _now())
            self._saved = self.server.changes
            self._file.rewrite()

    def _readable(self) -> None:
        answers: list[Answer] = []
        now = _now()
        for _ in range(_AT_ONCE):
            try:
                data = self._socket.recv(_LARGEST)
            except OSError:  # nothing more, or the interface is gone or down
                break
            answer = self.server.receive(data, now)
            if answer is not None:
                answers.append(answer)
        self._save()
        for answer in answers:
            try:
                self._socket.sendto(answer.data, (socket.inet_ntoa(answer.to), CLIENT_PORT))
            except OSError:  # as if it was lost on the wire: the client asks again
                self._unsent += 1

    def _save(self) -> None:
        if self.server.changes == self._saved:
            return
        try:
            self._file.save(self.server)
            self._saved, self.problem = self.server.changes, ""
        except OSError as error:
            self.problem = f"the leases are not kept over a restart: {self._file.path}: {error.strerror}"

    def status(self) -> dict[str, Any]:
        """Leases with the seconds that they have left, those that are over left out; and what was counted."""
        now = _now()
        leases = [lease for lease in self.server.leases() if lease.expires > now]
        return {
            "interface": self.dev,
            "leases": [
                {
                    "address": socket.inet_ntoa(lease.address.to_bytes(4, "big")),
                    "mac": lease.mac.hex(":"),
                    "name": lease.name,
                    "seconds_left": lease.expires - now,
                }
                for lease in leases
            ],
            "counts": {**self.server.statistics(), **({"unsent": self._unsent} if self._unsent else {})},
        }

    def close(self) -> None:
        self._loop.reader(self._socket.fileno(), None)
        self._socket.close()


def _open(dev: str) -> tuple[int, socket.socket]:
    """In the namespace."""
    index = socket.if_nametoindex(dev)
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, dev.encode() + b"\0")
        made.bind(("0.0.0.0", SERVER_PORT))
    except OSError:
        made.close()
        raise
    return index, made


def _now() -> int:
    """Seconds that go on while no process of ours runs."""
    return int(time.time())
