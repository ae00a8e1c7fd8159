"""A member that is an export of somebody else's NBD server.

Knows: how a read or write of any size and alignment becomes requests that the server takes, what was asked for ahead.
Refuses to know: sockets (nbd_link), the protocol (storvirt.nbd), what a member that is lost means for its pool.

A write is answered by the server before it returns, all its pieces in flight at once: what the pool acknowledges is
there. Reads that fetch() announced are in flight together, those of one burst of requests and of several members.
There is no lock: an export that two pools write to is ruined, as a disk would be. What NBD has no word for is left out:
members elsewhere do not change their size.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from typing import Final

from storvirt.backing import nbd_former
from storvirt.backing.errors import UNHEARD, MemberError
from storvirt.backing.member import Member, PythonMember
from storvirt.backing.nbd_link import Link, LinkLost
from storvirt.nbd.replies import Asked
from storvirt.nbd.uri import UriError, parse
from storvirt.nbd.wire import Command, ExportFlag

_PIECE: Final = 1 << 20  # bytes of one request of several; more of them are in flight together
_FLYING: Final = 16  # of one read or write
_MOST_AHEAD: Final = 256  # reads that were announced and not fetched yet
_AHEAD_BYTES: Final = 32 << 20


class NbdExport:
    """The `inner` of a PythonMember. read_only: nothing but reads is ever asked of the server. Raises OSError."""

    def __init__(self, link: Link, read_only: bool = False) -> None:
        self.link = link
        self._read_only = read_only
        self.size = link.terms.size
        flags = link.terms.flags
        self._minimum = link.terms.minimum
        self._piece = max(min(_PIECE, link.terms.maximum) // self._minimum, 1) * self._minimum
        self._flushes = bool(flags & ExportFlag.SEND_FLUSH)
        self._fua = not self._flushes  # durable when answered, if it is not made so later
        self._gives_back = (
            Command.TRIM if flags & ExportFlag.SEND_TRIM
            else Command.WRITE_ZEROES if flags & ExportFlag.SEND_WRITE_ZEROES else None
        )  # fmt: skip
        self._ahead: dict[tuple[int, int], Asked] = {}
        self._ahead_bytes = 0
        self._ping: tuple[Asked, float] | None = None

    # --- reading

    def read(self, offset: int, length: int) -> bytes | bytearray:
        """Bytes of any place."""
        found = self._announced(offset, length)
        if found is not None:
            asked, start = found
            return self.link.wait(asked)[start : start + length]
        start = offset // self._minimum * self._minimum
        end = min(-(-(offset + length) // self._minimum) * self._minimum, self.size)
        data = self._all([(Command.READ, at, size, None) for at, size in self._pieces(start, end)])
        return data if (start, end) == (offset, offset + length) else data[offset - start : offset - start + length]

    def try_read(self, offset: int, length: int) -> bytes | bytearray | None:
        """None: it has not come yet, or was never announced."""
        asked = self._ahead.get((offset, length))
        if asked is None:
            return None
        if not asked.done:
            self.link.look()
        return self.read(offset, length) if asked.done else None

    def fetch(self, offset: int, length: int) -> bool:
        """Announce a read; True while it is on its way."""
        asked = self._ahead.get((offset, length))
        if asked is not None:
            return not asked.done
        if offset % self._minimum or length % self._minimum or not 0 < length <= self._piece:
            return False
        while len(self._ahead) >= _MOST_AHEAD or self._ahead_bytes > _AHEAD_BYTES:
            self._drop(next(iter(self._ahead)))
        self._ahead[offset, length] = self.link.send(Command.READ, offset, length)
        self._ahead_bytes += length
        return True

    def _announced(self, offset: int, length: int) -> tuple[Asked, int] | None:
        """What was announced that has these bytes, and where in it; forgotten if it was these and no others."""
        asked = self._ahead.get((offset, length))
        if asked is not None:
            self._drop((offset, length))
            return asked, 0
        for (start, size), other in self._ahead.items():
            if start <= offset and offset + length <= start + size:
                return other, offset - start
        return None

    def _drop(self, key: tuple[int, int]) -> None:
        del self._ahead[key]
        self._ahead_bytes -= key[1]

    def _forget(self, offset: int, length: int) -> None:
        """What was announced of these bytes is old from now on."""
        for start, size in [key for key in self._ahead if key[0] < offset + length and offset < key[0] + key[1]]:
            self._drop((start, size))

    # --- writing

    def write(self, offset: int, data: bytes) -> None:
        """The server has it when this returns."""
        end = offset + len(data)
        start, whole = offset // self._minimum * self._minimum, -(-end // self._minimum) * self._minimum
        if (start, whole) != (offset, end):  # a part of a block that the server takes only whole
            head = self.read(start, offset - start) if offset > start else b""
            whole = min(whole, self.size)
            data = bytes(head) + data + (bytes(self.read(end, whole - end)) if whole > end else b"")
        self._forget(start, len(data))
        view = memoryview(data)
        pieces = self._pieces(start, start + len(data))
        self._all([(Command.WRITE, at, size, view[at - start : at - start + size]) for at, size in pieces])

    def sync(self) -> None:
        if self._flushes and not self._read_only:
            self.link.wait(self.link.send(Command.FLUSH, 0, 0))

    def punch(self, offset: int, length: int) -> None:
        start = -(-offset // self._minimum) * self._minimum
        end = (offset + length) // self._minimum * self._minimum
        if self._gives_back is not None and start < end:
            self._forget(start, end - start)
            most = (1 << 31) // self._minimum * self._minimum  # a length has 32 bits
            for at in range(start, end, most):
                self._all([(self._gives_back, at, min(most, end - at), None)])

    # --- requests

    def _pieces(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        for at in range(start, end, self._piece):
            yield at, min(self._piece, end - at)

    def _all(self, requests: list[tuple[Command, int, int, memoryview | None]]) -> bytes | bytearray:
        """All of them, many at a time; what they read, joined. The first error counts, when all are answered."""
        if self._read_only and any(request[0] != Command.READ for request in requests):
            raise OSError(errno.EROFS, "it was opened for reading")
        flying: list[Asked] = []
        parts: list[bytearray] = []
        problem: OSError | None = None
        for index, (kind, at, size, payload) in enumerate(requests):
            flying.append(self.link.send(kind, at, size, payload, self._fua and kind != Command.READ))
            while flying and (len(flying) >= _FLYING or index == len(requests) - 1):
                try:
                    parts.append(self.link.wait(flying.pop(0)))
                except LinkLost:
                    raise
                except OSError as error:
                    problem = problem or error
        if problem is not None:
            raise problem
        return parts[0] if len(parts) == 1 else b"".join(parts)

    # --- looked after

    def check(self) -> str | None:
        """A sentence when the server is gone, or silent for too long: asked now and then, it is asked for a little."""
        link, now = self.link, time.monotonic()
        try:
            link.look()
            if self._ping is not None and not self._ping[0].done:
                if now - max(self._ping[1], link.heard) > link.patience:
                    raise link.lose(errno.EHOSTDOWN, f"its NBD server has not answered for {link.patience:g} seconds")
            elif self.size:
                self._ping = link.send(Command.READ, 0, min(self._minimum, self.size)), now
        except LinkLost as error:
            return f"{link.address.text}: {error.strerror}"
        return None

    def close(self) -> None:
        self.link.close()


def open_nbd(text: str, read_only: bool = False) -> Member:
    """Connects. Raises MemberError: the server can't be reached, hangs, refuses, or does not offer what is needed."""
    try:
        address = parse(text)
    except UriError as error:
        raise MemberError(errno.EINVAL, text, str(error)) from None
    try:
        link = Link(address)
    except LinkLost as error:
        raise MemberError(error.errno or errno.EIO, text, f"member {text}: {error.strerror}") from None
    flags = link.terms.flags
    if not read_only:
        problem = ""
        if flags & ExportFlag.READ_ONLY:
            problem = "the export is read-only"
        elif not flags & (ExportFlag.SEND_FLUSH | ExportFlag.SEND_FUA):
            problem = "its NBD server offers neither FLUSH nor FUA, so nothing on it could be made durable"
        elif link.terms.size % link.terms.minimum:
            problem = f"its size {link.terms.size} is no multiple of its blocks of {link.terms.minimum} bytes"
        if problem:
            link.close()
            raise MemberError(errno.EROFS, text, f"member {text}: {problem}")
        if not nbd_former.are_over(address):
            link.close()
            why = "its NBD server still does what the connection before had asked for"
            raise MemberError(errno.EHOSTDOWN, text, f"member {text}: {why}")
    return PythonMember(NbdExport(link, read_only), text, read_only)


def unheard(member: Member) -> str:
    """Why an export, also one behind a wrapper, was not heard any more: its server hung up, or was silent for too long.
    "" for one that was heard all the time, answered with errors, or broke the protocol, and for other members."""
    inner = getattr(member, "inner", None)
    below = getattr(inner, "member", None)
    if isinstance(below, Member):
        return unheard(below)
    lost = inner.link.lost if isinstance(inner, NbdExport) else None
    return str(lost.strerror) if lost is not None and lost.errno in UNHEARD else ""
