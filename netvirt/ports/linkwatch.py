"""One network interface by name, as rtnetlink tells of it: there or not, up, running, its MTU.

Knows: RTM_GETLINK, RTM_NEWLINK, RTM_DELLINK (rtnetlink(7), linux/if_link.h). Refuses to know: what a port does with it.
Needs no privilege. Only interfaces of this process's own network namespace are seen.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from netvirt.ports import Loop
from netvirt.ports.errors import PortError

NLMSG_ERROR, RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 2, 16, 17, 18
NLM_F_REQUEST: Final = 1
RTMGRP_LINK: Final = 1
IFLA_IFNAME, IFLA_MTU = 3, 4
IFF_UP, IFF_RUNNING = 0x1, 0x40
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg
_ATTRIBUTE = struct.Struct("=HH")
_ENOUGH: Final = 1 << 16


class LinkState(NamedTuple):
    """An interface as it is now. `running`: up, with a carrier."""

    number: int
    up: bool
    running: bool
    mtu: int


class Message(NamedTuple):
    """One rtnetlink message about an interface; `state` is None where it says that there is none."""

    name: str
    number: int
    state: LinkState | None


def _aligned(size: int) -> int:
    return (size + 3) & ~3


def parse(data: bytes) -> Iterator[Message]:
    """The messages about interfaces in one datagram of the kernel; of the others none. Ends at what it can't read."""
    at = 0
    while len(data) - at >= _HEADER.size:
        size, kind, _, _, _ = _HEADER.unpack_from(data, at)
        if not _HEADER.size <= size <= len(data) - at:
            return
        if kind == NLMSG_ERROR:
            yield Message("", 0, None)
        elif kind in (RTM_NEWLINK, RTM_DELLINK) and size >= _HEADER.size + _LINK.size and data[at + _HEADER.size] == 0:
            # A family other than 0 is a bridge that speaks of its port: deleted there is not deleted.
            yield _link(data[at + _HEADER.size : at + size], kind == RTM_NEWLINK)
        at += _aligned(size)


def _link(body: bytes, there: bool) -> Message:
    _, _, index, flags, _ = _LINK.unpack_from(body)
    name, mtu, at = "", 0, _LINK.size
    while len(body) - at >= _ATTRIBUTE.size:
        size, kind = _ATTRIBUTE.unpack_from(body, at)
        if not _ATTRIBUTE.size <= size <= len(body) - at:
            break
        value = body[at + _ATTRIBUTE.size : at + size]
        if kind == IFLA_IFNAME:
            name = value.rstrip(b"\0").decode(errors="replace")
        elif kind == IFLA_MTU and len(value) == 4:
            (mtu,) = struct.unpack("=I", value)
        at += _aligned(size)
    state = LinkState(index, bool(flags & IFF_UP), flags & (IFF_UP | IFF_RUNNING) == IFF_UP | IFF_RUNNING, mtu)
    return Message(name, index, state if there else None)


def question(name: str) -> bytes:
    """RTM_GETLINK for one interface by name."""
    text = name.encode() + b"\0"
    attribute = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(text), IFLA_IFNAME) + text
    body = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + attribute + bytes(-len(attribute) % 4)
    return _HEADER.pack(_HEADER.size + len(body), RTM_GETLINK, NLM_F_REQUEST, 1, 0) + body


class LinkWatch:
    """Calls `changed(state)` with the interface's state as it is, and whenever it changes; None: there is none."""

    def __init__(self, loop: Loop, name: str, changed: Callable[[LinkState | None], None]) -> None:
        self.state: LinkState | None = None
        self._loop = loop
        self._name = name
        self._changed = changed
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Begins; the first call comes before this returns, if the interface is there. Raises PortError."""
        try:
            made = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
            )
            made.bind((0, RTMGRP_LINK))
        except OSError as error:
            raise PortError(f"cannot watch the interface {self._name}: {error.strerror}") from None
        self._socket = made
        self._loop.reader(made.fileno(), self.look)
        self.ask()
        self.look()

    def ask(self) -> None:
        """Asks the kernel again; its answer comes as any other message."""
        if self._socket is not None:
            self._socket.send(question(self._name))

    def again(self) -> None:
        """Forgets what it knew and asks: `changed` is called with what there is, soon, and not from in here."""
        self.state = None
        self.ask()

    def look(self) -> None:
        """Reads what the kernel has said."""
        while self._socket is not None:
            try:
                data = self._socket.recv(_ENOUGH)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self.ask()  # the kernel had more to say than the socket holds: only the newest state matters
                continue
            for message in parse(data):
                self._hear(message)

    def _hear(self, message: Message) -> None:
        ours = self.state is not None and message.number == self.state.number
        if message.name == self._name and message.state is not None:
            found: LinkState | None = message.state
        elif ours or (message.name == "" and self.state is not None):
            found = None  # gone, renamed, or in another namespace
        else:
            return
        if found != self.state:
            self.state = found
            self._changed(found)

    def close(self) -> None:
        """No more calls."""
        if self._socket is not None:
            self._loop.reader(self._socket.fileno(), None)
            self._socket.close()
            self._socket = None
        self.state = None
