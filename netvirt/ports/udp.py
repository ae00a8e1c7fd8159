"""The driver for frames in UDP datagrams: VirtualBox UDPTunnel, GNS3 and dynamips NIO, libvirt's and QEMU's udp.

Knows: two addresses; that a datagram is a frame and nothing else; that nobody tells whether the other side is there.
Refuses to know: how frames are read and sent (datagram.py), names (an address is numbers), which switch it serves.

The socket is connected: the kernel lets through only what comes from the peer's address and port. Carrier is up while
the socket is open: there is no sign of life to go by.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from netvirt.ports import Loop, Queue
from netvirt.ports.datagram import DatagramPath
from netvirt.ports.driver import Driver
from netvirt.ports.errors import PortError
from netvirt.ports.retry import Retry

# The kernel doubles it for its own records. Bursts of a switch have up to 256 KiB, and nobody waits for us over UDP.
_BUFFER: Final = 1 << 20
_MOST_STRANGERS: Final = 10_000
_OURS: Final = {
    errno.EADDRINUSE: "somebody uses it already; choose another port",
    errno.EACCES: "ports under 1024 are for root; choose another",
}


class Address(NamedTuple):
    family: socket.AddressFamily
    name: Any  # what bind() and connect() are given

    def __str__(self) -> str:
        host, port = self.name[:2]
        return f"[{host}]:{port}" if self.family == socket.AF_INET6 else f"{host}:{port}"


def parse_address(text: str) -> Address:
    """`127.0.0.1:5000`, `[::1]:5000`, `[fe80::1%eth0]:5000`. Raises PortError."""
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        family, host = socket.AF_INET6, host[1:-1]
    else:
        family = socket.AF_INET
    try:
        if not port.isascii() or not port.isdecimal() or not 1 <= int(port) <= 65535 or not host:
            raise ValueError
        found = socket.getaddrinfo(host, int(port), family, socket.SOCK_DGRAM, 0, socket.AI_NUMERICHOST)
    except (ValueError, OSError):
        what = f"{text!r} is no UDP address"
        raise PortError(f"{what}; write it in numbers, like 127.0.0.1:5000 or [::1]:5000") from None
    return Address(family, found[0][4])


def check_addresses(listen: str, connect: str) -> tuple[Address, Address]:
    """Both, if they go together. Raises PortError."""
    here, there = parse_address(listen), parse_address(connect)
    if here.family != there.family:
        raise PortError(f"{listen} and {connect} are IPv4 and IPv6; use two addresses of one kind")
    if here == there:
        raise PortError(f"{listen} would talk to itself; connect: is the other side's address")
    return here, there


class UdpPort(Driver):
    """A switch port whose peer sends UDP from `connect` to `listen`; a `netvirt.ports.Port`.

    An address that this machine does not have (yet), and a network that it can't reach, are tried again every `retry`
    seconds, without carrier. Raises PortError here (no addresses) and in open() (the port is taken, or forbidden).
    """

    kind = "udp"

    def __init__(
        self,
        loop: Loop,
        listen: str,
        connect: str,
        queue: Queue,
        receive: Callable[[memoryview], None],
        carrier_changed: Callable[[bool], None],
        *,
        retry: float = 1.0,
    ) -> None:
        self._here, self._there = check_addresses(listen, connect)
        super().__init__(loop, queue, receive, carrier_changed)
        self._retry = Retry(loop, self._open_again, retry, retry)
        self._problem = ""
        self._strangers = 0
        self._frames = DatagramPath(loop, queue, receive, lambda error: None, lossy=True)

    def open(self) -> None:
        """Begins; whether anybody is at the other end is not asked."""
        try:
            sock = self._socket()
        except OSError as error:
            if error.errno in _OURS:
                raise PortError(f"cannot use UDP {self._here}: {_OURS[error.errno]}") from None
            self._problem = f"{self._here} to {self._there}: {error.strerror}; trying again"
            self._retry.later()
            return
        self._problem = ""
        self._frames.attach(sock)
        self._come_up()

    def flush(self) -> None:
        """Sends what the kernel takes now; goes on by itself when it takes more."""
        self._frames.flush()

    def close(self) -> None:
        """Closes the socket, stops trying."""
        self._retry.cancel()
        self._frames.detach()
        if self.carrier:
            self._go_down()

    def statistics(self) -> dict[str, int | str]:
        """Counters by name; `refused`: news that nobody was there for a frame. `problem`: why there is no carrier."""
        return {
            "listen": str(self._here),
            "connect": str(self._there),
            **self._frames.statistics(),
            "before-connect": self._strangers,
            **({"problem": self._problem} if self._problem else {}),
        }

    def _socket(self) -> socket.socket:
        """Bound and connected. What came in between, from anybody, is thrown away."""
        sock = socket.socket(self._here.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                sock.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
            sock.bind(self._here.name)
            sock.connect(self._there.name)
            self._strangers += _emptied(sock)
        except OSError:
            sock.close()
            raise
        return sock

    def _open_again(self) -> None:
        try:
            self.open()
        except PortError as error:  # it was free to take, and somebody has
            self._problem = str(error)
            self._retry.later()


def _emptied(sock: socket.socket) -> int:
    """How many datagrams have come so far; a flood of strangers ends with connect()."""
    count = 0
    with contextlib.suppress(BlockingIOError):
        while count < _MOST_STRANGERS:
            sock.recv(1)
            count += 1
    return count
