"""NBD clients that have many requests under way on many connections, one thread for all, and a server that may die.

Knows: sockets, the client's bytes (nbd_frames). Refuses to know: what requests are for.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tests.support.nbd_frames import HELLO, info, option, request

READ, WRITE, FLUSH, TRIM, ZEROES = 0, 1, 3, 4, 6
FUA, NO_HOLE = 1, 2
NAMES = {READ: "read", WRITE: "write", FLUSH: "flush", TRIM: "trim", ZEROES: "zero"}
SECONDS = 60.0
_GO, _MAGIC = 7, 0x67446698


class Request(NamedTuple):
    """flags: those of the command, FUA and NO_HOLE."""

    kind: int
    offset: int = 0
    length: int = 0
    data: bytes = b""
    flags: int = 0

    def __str__(self) -> str:
        return f"{NAMES[self.kind]} of {self.length} bytes at {self.offset}"


class Answer(NamedTuple):
    """error: 0, or the wire's number; data: of a read."""

    request: Request
    error: int
    data: bytes


class Link:
    """One connection. `waiting`: what was asked and not answered, by cookie; `lost`: the server is gone."""

    def __init__(self, path: str, name: str) -> None:
        self.waiting: dict[int, Request] = {}
        self.answers: list[Answer] = []
        self.lost = False
        self._cookie = 0
        self._out, self._in = bytearray(), bytearray()
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(SECONDS)
        try:
            self.socket.connect(path)
            self._greet(name)
        except BaseException:
            self.socket.close()
            raise
        self.socket.setblocking(False)

    def _greet(self, name: str) -> None:
        self._exactly(18)
        self.socket.sendall(HELLO + option(_GO, info(name)))
        kind = 0
        while kind != 1:
            _, _, kind, length = struct.unpack(">QIII", self._exactly(20))
            data = self._exactly(length)
            assert not kind & 1 << 31, data.decode(errors="replace")

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise ConnectionResetError
            data += piece
        return data

    def put(self, one: Request) -> None:
        """Under way as soon as pump() comes to it."""
        self._cookie += 1
        self.waiting[self._cookie] = one
        self._out += request(one.kind, one.offset, one.length, cookie=self._cookie, flags=one.flags, data=one.data)

    @property
    def sending(self) -> bool:
        return bool(self._out) and not self.lost

    def send(self) -> None:
        try:
            del self._out[: self.socket.send(memoryview(self._out)[: 1 << 18])]
        except BlockingIOError:
            pass
        except OSError:
            self.lost = True

    def receive(self) -> None:
        try:
            data = self.socket.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.lost = not data
        self._in += data
        while self._one():
            pass

    def _one(self) -> bool:
        if len(self._in) < 16:
            return False
        magic, error, cookie = struct.unpack_from(">IIQ", self._in)
        assert magic == _MAGIC, f"a reply begins with {magic:#x}"
        asked = self.waiting[cookie]
        end = 16 + (asked.length if asked.kind == READ and not error else 0)
        if len(self._in) < end:
            return False
        self.answers.append(Answer(asked, error, bytes(self._in[16:end])))
        del self.waiting[cookie], self._in[:end]
        return True

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.close()


def pump(links: Sequence[Link], enough: Callable[[], bool]) -> None:
    """Send and receive until `enough()`, or until no link that is left waits for anything. AssertionError when
    nothing comes for SECONDS."""
    deadline = time.monotonic() + SECONDS
    while not enough():
        busy = [link for link in links if link.waiting and not link.lost]
        if not busy:
            return
        by_fd = {link.socket.fileno(): link for link in busy}
        poll = select.poll()
        for fd, link in by_fd.items():
            poll.register(fd, select.POLLIN | (select.POLLOUT if link.sending else 0))
        ready = poll.poll(1000)
        for fd, events in ready:
            if events & select.POLLOUT:
                by_fd[fd].send()
            if events & ~select.POLLOUT:
                by_fd[fd].receive()
        if ready:
            deadline = time.monotonic() + SECONDS
        waits = [str(one) for link in busy for one in link.waiting.values()]
        assert time.monotonic() < deadline, f"no answer within {SECONDS:g} s to {waits[:3]} and {len(waits)} in all"
