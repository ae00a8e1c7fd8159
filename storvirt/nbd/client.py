"""One connected client, from its greeting to its last byte: reads, lets execute, sends, and stands still when it must.

Knows: when to read, when to send, how much may wait. It is handed a socket that is open already and only calls its recv
and send. Refuses to know: who else is connected, exports beyond their name, what a request does.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from storvirt.block import Block
from storvirt.loop import Loop, Timer
from storvirt.nbd.execute import AGAIN, HUNGRY, LATER, OUTPUT_LIMIT, execute
from storvirt.nbd.export import ExportInfo
from storvirt.nbd.handshake import Handshake
from storvirt.nbd.output import Output
from storvirt.nbd.session import Session
from storvirt.nbd.wire import NbdError

# Of the negotiation: a whole one has under 200 bytes, and what one read asks for is answered in memory.
_HANDSHAKE_READ: Final = 4096

Kick = Callable[[], None]


class Export(NamedTuple):
    """An export and what serves it.

    execute(session, kick): as `execute.execute` does, takes requests from the session and puts replies into its output,
    and returns HUNGRY, AGAIN or LATER. An engine that answers some requests later puts their replies on the loop's
    thread and calls `kick`, which sends them and, after LATER, goes on executing. It may not keep pointers to payloads.
    forget(session): that client is gone, and nothing of it is to be kept.
    """

    info: ExportInfo
    execute: Callable[[Session, Kick], int]
    forget: Callable[[Session], None] | None = None


def plain(info: ExportInfo, block: Block) -> Export:
    """Any Block, served in Python."""
    return Export(info, lambda session, kick: execute(session, block))


class Stream(Protocol):
    """What is used of a non-blocking socket."""

    def fileno(self) -> int: ...
    def recv(self, size: int, /) -> bytes: ...
    def recv_into(self, buffer: memoryview, /) -> int: ...
    def send(self, data: memoryview, /) -> int: ...
    def close(self) -> None: ...


class House(Protocol):
    """The server as a client sees it."""

    def find(self, name: str) -> Export: ...
    def greeted(self, client: Client) -> None:
        """The negotiation is over."""

    def weigh(self, client: Client, held: int) -> None:
        """The client makes this server hold that many bytes. May close it, or another one."""

    def widen(self, client: Client, stream: Stream) -> None:
        """The client does not take a reply at once: its stream may hold more, if there is some to spare. Once only."""

    def hung_up(self, fd: int) -> bool:
        """Whether nothing can come from there or go there any more."""

    def gone(self, client: Client, reason: str) -> None: ...


class Client:
    """`patience`: seconds for the whole negotiation, and for taking the last replies after DISC."""

    def __init__(self, loop: Loop, stream: Stream, house: House, handshake: Handshake, patience: float) -> None:
        self.session: Session | None = None
        self.closed = False
        self._loop = loop
        self._stream = stream
        self._fd = stream.fileno()
        self._house = house
        self._handshake: Handshake | None = handshake
        self._patience = patience
        self._output = Output()
        self._export: Export | None = None
        self._ending = ""
        self._reading = False
        self._writing = False
        self._narrow = True
        self._next = HUNGRY
        self._looked = False  # whether it is still there, since it waits for LATER's kick
        self._again: Timer | None = None
        self._timer: Timer | None = loop.call_later(patience, lambda: self.close("handshake-timeout"))
        self._output.append(handshake.greeting())

    @property
    def export(self) -> str:
        """The name of the export in use; "" before the negotiation is over."""
        return self._export.info.name if self._export is not None else ""

    def open(self) -> None:
        """Says the greeting and begins to listen."""
        self._settle()

    def close(self, reason: str) -> None:
        """At once; what was not sent is lost. `reason` is one word to count by."""
        if self.closed:
            return
        self.closed = True
        self._read(False)
        self._write(False)
        for timer in (self._timer, self._again):
            if timer is not None:
                timer.cancel()
        self._stream.close()
        if self.session is not None and self._export is not None and self._export.forget is not None:
            self._export.forget(self.session)
        self._house.gone(self, reason)

    def finish(self, reason: str) -> None:
        """Sends what the client takes now, then closes."""
        if not self.closed and self._send():
            self.close(reason)

    # --- in

    def _readable(self) -> None:
        if self._next == LATER:
            self._look()
            return
        try:
            count = self._receive()
        except BlockingIOError:
            return
        except OSError as error:
            self.close(_word(error))
            return
        if count == 0:
            self._end("eof")
        elif self.session is not None and self.session.held:
            self._execute()
        self._settle()

    def _look(self) -> None:
        """It has sent more, which is not read now, or it is gone: then what it asked for is not waited for."""
        self._looked = True
        self._read(False)
        if self._house.hung_up(self._fd):
            self.close("reset")

    def _receive(self) -> int:
        """How many bytes came; 0 is the end."""
        if self.session is not None:
            count = self._stream.recv_into(self.session.space())
            self.session.filled(count)
            return count
        data = self._stream.recv(_HANDSHAKE_READ)
        if data:
            self._negotiate(data)
        return len(data)

    def _negotiate(self, data: bytes) -> None:
        handshake = self._handshake
        assert handshake is not None
        self._output.append(handshake.receive(data))
        if handshake.state == "closed":
            self._end(handshake.reason)
        elif handshake.state == "transmission":
            self._begin(handshake)

    def _begin(self, handshake: Handshake) -> None:
        assert handshake.export is not None and self._timer is not None
        self._timer.cancel()
        self._timer = None
        self._handshake = None
        self._export = self._house.find(handshake.export.name)
        self.session = session = Session(handshake.export, handshake.structured, handshake.meta, self._output)
        self._house.greeted(self)
        left = handshake.leftover
        if left:
            session.space()[: len(left)] = left
            session.filled(len(left))

    def _execute(self) -> None:
        assert self.session is not None and self._export is not None
        self._looked = False
        try:
            self._next = self._export.execute(self.session, self.kick)
        except NbdError as error:
            self._next = HUNGRY
            self._end(error.reason)
        except Exception:  # our own mistake: its request will never be answered, so the client must not wait for it
            self.close("internal-error")
            raise
        if self.session.ended:
            self._end("disc")

    def kick(self) -> None:
        """The engine has put replies that came later than their turn, or can go on executing."""
        if not self.closed:
            if self._next != HUNGRY and not self._ending and self._output.pending < OUTPUT_LIMIT:
                self._execute()
            self._settle()

    def _go_on(self) -> None:
        self._again = None
        self.kick()

    # --- out

    def _writable(self) -> None:
        if self._send() and self._next == AGAIN:
            self.kick()
        else:
            self._settle()

    def _send(self) -> bool:
        """Sends what the client takes now; False if it is gone."""
        output = self._output
        if not output.pending:
            return True
        try:
            with memoryview(output) as view:
                sent = self._stream.send(view)
        except BlockingIOError:
            return True
        except OSError as error:
            self.close(_word(error))
            return False
        output.sent(sent)
        if output.pending and self._narrow and self.session is not None:
            self._narrow = False
            self._house.widen(self, self._stream)
        return True

    def _end(self, reason: str) -> None:
        """No more requests. Replies that wait are sent first, but not for ever to one who does not take them."""
        if not self._ending:
            self._ending = reason
            if self._timer is None:
                self._timer = self._loop.call_later(self._patience, lambda: self.close(reason))

    def _settle(self) -> None:
        """Sends, and decides what to wait for."""
        if self.closed or not self._send():
            return
        pending = self._output.pending
        if self._ending and not pending:
            self.close(self._ending)
            return
        room = pending < OUTPUT_LIMIT and not self._ending
        if self._next == AGAIN and room and self._again is None:
            self._again = self._loop.call_later(0, self._go_on)
        waits = self._next == LATER and not self._looked
        self._read(waits or (room and self._next == HUNGRY))
        self._write(pending > 0)
        held = 0
        if self.session is not None:
            self.session.release()
            held = self.session.held
        self._house.weigh(self, pending + held)

    def _read(self, wanted: bool) -> None:
        if wanted != self._reading:
            self._reading = wanted
            self._loop.reader(self._fd, self._readable if wanted else None)

    def _write(self, wanted: bool) -> None:
        if wanted != self._writing:
            self._writing = wanted
            self._loop.writer(self._fd, self._writable if wanted else None)


def _word(error: OSError) -> str:
    """ECONNRESET and EPIPE are one thing: the client went without a word."""
    if error.errno in (errno.ECONNRESET, errno.EPIPE):
        return "reset"
    return errno.errorcode.get(error.errno or 0, "error").lower()
