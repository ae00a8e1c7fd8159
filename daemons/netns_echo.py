"""ICMP echo through a datagram socket of a namespace (icmp(7): "ping sockets", Linux 3.0 and for IPv6 3.11).

Knows: requests, replies, the socket's error queue. Refuses to know: hosts, pacing, how long one waits.
The kernel puts in the identifier and the checksum, and gives us the replies to our own requests only.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from typing import Final

from daemons.loop import Loop

ECHO = {socket.AF_INET: (8, 0), socket.AF_INET6: (128, 129)}  # request and reply: RFC 792, RFC 4443
RECVERR = {socket.AF_INET: (0, 11), socket.AF_INET6: (41, 25)}  # level and option: linux/in.h, in6.h
MAX_PAYLOAD: Final = 65507 - 8
_HEADER = struct.Struct("!BBHHH")
_ERROR = struct.Struct("=IBBBxII")  # struct sock_extended_err
_ENOUGH: Final = 1 << 17
Answered = Callable[[int | None, str], None]


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def request(family: socket.AddressFamily, sequence: int, size: int) -> bytes:
    """`size` bytes of payload."""
    return _HEADER.pack(ECHO[family][0], 0, 0, 0, sequence) + bytes(at & 0xFF for at in range(size))


def sequence_of(family: socket.AddressFamily, message: bytes, which: int) -> int | None:
    """The number of a request (which: 0) or a reply (1); None: it is neither."""
    if len(message) < _HEADER.size:
        return None
    kind, _, _, _, sequence = _HEADER.unpack_from(message)
    return int(sequence) if kind == ECHO[family][which] else None


class EchoSocket:
    """Echo requests of one host in one family. `made`: an open socket, which is closed with this."""

    def __init__(self, loop: Loop, family: socket.AddressFamily, made: socket.socket) -> None:
        self._loop = loop
        self._family = family
        self._socket = made
        self._next = 0
        self._waiting: dict[int, tuple[int, Answered]] = {}
        made.setblocking(False)
        made.setsockopt(*RECVERR[family], 1)
        loop.reader(made.fileno(), self._readable)

    def reserve(self) -> int:
        """The number of the next request."""
        self._next = (self._next + 1) & 0xFFFF
        return self._next

    def send(self, sequence: int, address: str, size: int, answered: Answered) -> None:
        """One request. `answered(round trip in ns or None, why not)` comes once at most, and not after forget().

        Raises OSError: there is no way to that address.
        """
        self._waiting[sequence] = (self._loop.now(), answered)
        try:
            self._send(request(self._family, sequence, size), address)
        except OSError:
            self._waiting.pop(sequence, None)
            raise

    def _send(self, message: bytes, address: str) -> None:
        """The error of an earlier request may come out of this call instead of its own: then it is made again."""
        try:
            self._socket.sendto(message, (address, 0))
        except OSError:
            if not self._read_errors():
                raise
            self._socket.sendto(message, (address, 0))

    def forget(self, sequence: int) -> None:
        """Nobody waits for this one any more."""
        self._waiting.pop(sequence, None)

    def close(self) -> None:
        self._waiting.clear()
        self._loop.reader(self._socket.fileno(), None)
        self._socket.close()

    def _readable(self) -> None:
        while self._socket.fileno() >= 0:
            try:
                message = self._socket.recv(_ENOUGH)
            except BlockingIOError:
                return
            except OSError:
                self._read_errors()
                continue
            self._answer(sequence_of(self._family, message, 1), "")

    def _read_errors(self) -> int:
        """How many were there."""
        for count in range(len(self._waiting) + 1):
            try:
                message, extra, _, _ = self._socket.recvmsg(_ENOUGH, 512, socket.MSG_ERRQUEUE)
            except OSError:
                return count
            level, option = RECVERR[self._family]
            numbers = [_ERROR.unpack_from(data)[0] for where, kind, data in extra if (where, kind) == (level, option)]
            self._answer(sequence_of(self._family, message, 0), os.strerror(numbers[0]) if numbers else "it failed")
        return len(self._waiting) + 1

    def _answer(self, sequence: int | None, why: str) -> None:
        if sequence is not None and sequence in self._waiting:
            began, answered = self._waiting.pop(sequence)
            answered(None if why else self._loop.now() - began, why)


def open_echo(family: socket.AddressFamily) -> socket.socket:
    """In the namespace: the socket for an EchoSocket. Raises OSError."""
    protocol = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
    return socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, protocol)
