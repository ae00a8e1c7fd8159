"""A connection to an NBD server that several threads share: many requests in flight, none waited for without end.

Knows: sockets, who of the waiting threads reads for all of them, how long a silent server is believed.
Refuses to know: what is asked for, what a lost connection means. It is never made anew: what the server had not made
durable may be gone, so whoever wants it again opens it again and looks.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
import time
from typing import Final

from storvirt.backing import nbd_former
from storvirt.nbd.replies import Asked, Replies
from storvirt.nbd.terms import Greeting, ServerError, Terms
from storvirt.nbd.uri import Address
from storvirt.nbd.wire import REQUEST, REQUEST_MAGIC, Command, CommandFlag

_FLUSH_PATIENCE: Final = 6  # times that of other requests: a disk's own fsync takes seconds when it is busy
_AT_MOST: Final = 12  # times the patience, however much else the server answers meanwhile
_TOGETHER: Final = 65536  # bytes of payload that are copied behind their header, so that one call sends both
_RECEIVE: Final = 1 << 20
_SLICE: Final = 0.25  # seconds after which who reads looks whether another thread has given the connection up


class LinkLost(OSError):
    """The connection is gone, and `errno` and sentence say how."""


class Link:
    """An export in use. Everything may be called from any thread and raises LinkLost."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.lost: LinkLost | None = None
        self.patience = address.patience
        self.heard = time.monotonic()
        self._socket = self._connect()
        try:
            self.terms = self._greet()
        except BaseException:
            self._socket.close()
            raise
        self._socket.setblocking(False)
        self._replies = Replies(self.terms.structured)
        self._cookie = 0
        self._sending = threading.Lock()
        self._turn = threading.Condition(threading.Lock())
        self._reading = False  # some thread reads, for all
        self._buffer = memoryview(bytearray(_RECEIVE))

    # --- beginning

    def _connect(self) -> socket.socket:
        where = self.address
        try:
            if where.socket:
                made = socket.socket(socket.AF_UNIX)
                try:
                    made.settimeout(self.patience)
                    made.connect(where.socket)
                except BaseException:
                    made.close()
                    raise
                return made
            made = socket.create_connection((where.host, where.port), self.patience)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return made
        except (TimeoutError, BlockingIOError):  # the latter: a unix socket whose queue is full
            raise LinkLost(errno.EHOSTDOWN, "its NBD server does not answer") from None
        except (OSError, ValueError) as error:
            number = error.errno if isinstance(error, OSError) and error.errno and error.errno > 0 else 0
            why = os.strerror(number) if number else str(error)
            raise LinkLost(number or errno.EHOSTUNREACH, f"its NBD server can't be reached ({why})") from None

    def _greet(self) -> Terms:
        greeting, deadline = Greeting(self.address.export), time.monotonic() + self.patience
        try:
            while greeting.terms is None:
                self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
                data = self._socket.recv(4096)
                if not data:
                    raise LinkLost(errno.ENOTCONN, "its NBD server hung up during the negotiation")
                self._socket.sendall(greeting.receive(data))
        except ServerError as error:
            raise LinkLost(errno.EPROTO, f"its NBD server can't be used: {error}") from None
        except TimeoutError:
            raise LinkLost(errno.EHOSTDOWN, "its NBD server does not answer") from None
        except LinkLost:
            raise
        except OSError as error:
            raise LinkLost(error.errno or errno.EIO, "its NBD server hung up during the negotiation") from None
        return greeting.terms

    # --- requests

    @property
    def idle(self) -> bool:
        return not self._replies.waiting

    def send(
        self, kind: Command, offset: int, length: int, payload: memoryview | None = None, fua: bool = False
    ) -> Asked:
        """Returns when it is sent; see wait()."""
        asked = Asked(kind, offset, length)
        with self._sending:
            self._must_live()
            self._cookie += 1
            self._replies.waiting[self._cookie] = asked
            head = REQUEST.pack(REQUEST_MAGIC, CommandFlag.FUA if fua else 0, kind, self._cookie, offset, length)
            if payload is None:
                self._push(memoryview(head))
            elif len(payload) <= _TOGETHER:
                self._push(memoryview(head + payload))
            else:
                self._push(memoryview(head))
                self._push(payload)
        return asked

    def _push(self, data: memoryview) -> None:
        moved = time.monotonic()
        while data:
            try:
                sent = self._socket.send(data)
            except BlockingIOError:
                # Whoever does not take requests may wait for us to take its replies, so these are read meanwhile.
                self._read_or_wait(max(moved, self.heard) + self.patience, select.POLLOUT)
                continue
            except OSError as error:
                raise self.lose(errno.ENOTCONN, _gone(error)) from None
            data = data[sent:]
            moved = time.monotonic()

    def wait(self, asked: Asked) -> bytearray:
        """The content of a read. Raises OSError with the server's own errno, too."""
        begun = time.monotonic()
        patience = self.patience * (_FLUSH_PATIENCE if asked.kind == Command.FLUSH else 1)
        while not asked.done:
            self._must_live()
            until = min(max(begun, self.heard) + patience, begun + _AT_MOST * self.patience)
            self._read_or_wait(until, 0, asked)
        if asked.error:
            raise OSError(asked.error, f"the NBD server says: {os.strerror(asked.error)}")
        return asked.content

    def look(self) -> None:
        """Take what has come, without waiting; notices a server that has hung up."""
        self._must_live()
        self._read_or_wait(None, 0)

    # --- reading: one thread for all

    def _read_or_wait(self, until: float | None, more: int, asked: Asked | None = None) -> None:
        """Read something, or wait for the one who reads; not beyond `until`, when the server is given up. None: only
        what is there already. more: POLLOUT to return when there is room, too. asked: return when it is done."""
        with self._turn:
            if asked is not None and asked.done:
                return
            if self._reading:
                if until is not None:
                    self._follow(until, more)
                return
            self._reading = True
        try:
            self._receive(until, more)
        finally:
            with self._turn:
                self._reading = False
                self._turn.notify_all()

    def _follow(self, until: float, more: int) -> None:
        left = until - time.monotonic()
        if left <= 0:
            raise self.lose(errno.EHOSTDOWN, self._silent)
        # Who waits for room is told by nobody: he looks again soon.
        self._turn.wait(min(left, 0.005 if more else 1.0))

    def _receive(self, until: float | None, more: int) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN | more)
        left = 0.0 if until is None else max(until - time.monotonic(), 0.0)
        ready = poll.poll(min(left, _SLICE) * 1000)
        if not ready:
            if until is not None and left <= _SLICE:
                raise self.lose(errno.EHOSTDOWN, self._silent)
            return
        if not ready[0][1] & ~select.POLLOUT:
            return
        try:
            count = self._socket.recv_into(self._buffer)
        except BlockingIOError:
            return
        except OSError as error:
            raise self.lose(errno.ENOTCONN, _gone(error)) from None
        if not count:
            raise self.lose(errno.ENOTCONN, "its NBD server hung up")
        self.heard = time.monotonic()
        try:
            self._replies.feed(self._buffer[:count])
        except ServerError as error:
            raise self.lose(errno.EPROTO, f"its NBD server broke the protocol: {error}") from None

    # --- the end

    @property
    def _silent(self) -> str:
        return f"its NBD server has not answered for {self.patience:g} seconds"

    def _must_live(self) -> None:
        if self.lost is not None:
            raise LinkLost(self.lost.errno, self.lost.strerror)

    def lose(self, number: int, sentence: str) -> LinkLost:
        """No more of it: who waits is told. The first reason is kept, and given back."""
        if self.lost is None:
            self.lost = LinkLost(number, sentence)
            try:
                self._socket.shutdown(socket.SHUT_WR)
                if self._replies.waiting:
                    nbd_former.keep(self.address, self._socket.dup())
            except OSError:
                pass  # its server has hung up: nothing more is done there
        return LinkLost(self.lost.errno, self.lost.strerror)

    def __del__(self) -> None:
        """A member that is out is dropped and not closed, as a file is."""
        if hasattr(self, "_socket"):
            self._socket.close()

    def close(self) -> None:
        """Says goodbye if nothing is in flight. Not while another thread is inside."""
        if self.lost is None:
            try:
                self._socket.send(REQUEST.pack(REQUEST_MAGIC, 0, Command.DISC, self._cookie + 1, 0, 0))
            except OSError:
                pass
        self.lost = self.lost or LinkLost(errno.EBADF, "it is closed")
        self._socket.close()


def _gone(error: OSError) -> str:
    if error.errno in (errno.EPIPE, errno.ECONNRESET):
        return "its NBD server hung up"
    return f"its NBD server is gone ({os.strerror(error.errno or errno.EIO)})"
