"""The driver for a network interface of this machine: AF_PACKET on a veth or a real NIC, all frames of it both ways.

Knows: the socket and its options (packet(7)), when the interface runs, goes, and comes back under the same name.
Refuses to know: what a read and a write look like (packet_io, compiled), what is in a frame, which switch it serves.

Carrier to the peer: none but the interface's own. Carrier from the peer: IFF_RUNNING, told by rtnetlink. The host goes
on using the interface for itself; a port that should have it alone takes one without addresses.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
from collections.abc import Callable
from typing import Final

from netvirt.ports import Loop, Queue
from netvirt.ports.errors import PortError
from netvirt.ports.linkwatch import LinkState, LinkWatch
from netvirt.ports.packet_io import PacketIo
from netvirt.ports.tap_io import get_speed
from netvirt.ports.tuntap import OFFLOADS, check_name
from netvirt.ports.wire import Wire

ETH_P_ALL: Final = 3
SOL_PACKET: Final = 263
PACKET_ADD_MEMBERSHIP, PACKET_STATISTICS, PACKET_AUXDATA, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 1, 6, 8, 15, 23
PACKET_MR_PROMISC: Final = 1
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
BUFFER: Final = 4 << 20
_USO_KERNEL = (6, 2)  # UDP segmentation in a virtio-net header


class PacketPort:
    """A switch port whose peer is whatever is behind the interface `name`; a `netvirt.ports.Port`.

    It waits for an interface that is not there. Raises PortError here (a name that can't be) and in open() (no
    CAP_NET_RAW).
    """

    kind = "packet"

    def __init__(
        self,
        loop: Loop,
        queue: Queue,
        receive: Callable[[memoryview], None],
        carrier_changed: Callable[[bool], None],
        *,
        name: str,
    ) -> None:
        check_name(name)
        self.carrier = False
        self.offload = OFFLOADS[0] if kernel() >= _USO_KERNEL else OFFLOADS[1]
        self.mtu = 0
        self.speed_mbit = 0
        self.problem = ""
        self._loop = loop
        self._queue = queue
        self._receive = receive
        self._carrier_changed = carrier_changed
        self._name = name
        self._io = PacketIo()
        self._watch = LinkWatch(loop, name, self._link)
        self._socket: socket.socket | None = None
        self._number = 0  # of the interface that the socket is bound to
        self._blocked = False
        self._lost = 0
        self._counts = {"plugged": 0, "unplugged": 0}
        self._ends: dict[str, int] = {}

    @property
    def wire(self) -> Wire:
        """For a shortcut, while there is a carrier."""
        return self._io

    def open(self) -> None:
        """Begins; an interface that is not there yet is no error, a missing right is one (PortError)."""
        _packet_socket().close()
        self._watch.open()

    def flush(self) -> None:
        """Sends what the interface takes now; goes on by itself when it takes more."""
        sock = self._socket
        if sock is None or self._blocked or not self.carrier:
            return
        while (message := self._queue.head()) is not None:
            if not self._io.drain(message):
                self._blocked = True
                self._loop.writer(sock.fileno(), self._writable)
                return
            if self._io.ended:
                self._lose(self._io.ended)
                return
            self._queue.pop()
        if self._io.down:
            self._watch.ask()

    def close(self) -> None:
        """Lets the interface go."""
        self._watch.close()
        self._drop()

    def statistics(self) -> dict[str, int | str]:
        """Counters by name: frames and bytes both ways, what was lost and why, ends by reason; the last problem."""
        return {
            "interface": self._name,
            "offload": self.offload,
            **self._io.statistics(),
            "kernel-dropped": self._kernel_drops(),
            **self._counts,
            **{f"ended-{reason}": count for reason, count in self._ends.items()},
            **({"problem": self.problem} if self.problem else {}),
        }

    def _kernel_drops(self) -> int:
        """Frames that found the socket's buffer full; the kernel forgets the number when it has told it."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                _, lost = struct.unpack("II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
                self._lost += lost
        return self._lost

    # --- the interface

    def _link(self, state: LinkState | None) -> None:
        if state is None or state.number != self._number:
            self._drop()
        if state is not None and self._socket is None:
            self._bind(state)
        if state is not None:
            self.mtu = state.mtu
            self._set_carrier(state.running and self._socket is not None)

    def _bind(self, state: LinkState) -> None:
        try:
            made = _packet_socket()
        except PortError as error:
            self.problem = str(error)
            return
        try:
            _set_up(made, self._name, state.number)
        except OSError as error:
            made.close()
            self.problem = f"cannot use the interface {self._name}: {error.strerror}"
            return
        self.problem = ""
        self._socket = made
        self._number = state.number
        self._counts["plugged"] += 1
        with contextlib.suppress(OSError):  # most virtual interfaces know none
            self.speed_mbit = get_speed(made.fileno(), self._name)
        self._io.reset(made.fileno())
        self._loop.reader(made.fileno(), self._readable)

    def _lose(self, reason: str) -> None:
        """The socket is good for nothing more; the interface may be."""
        self._ends[reason] = self._ends.get(reason, 0) + 1
        self._drop()
        self._watch.again()

    def _drop(self) -> None:
        if self._socket is None:
            return
        self._kernel_drops()
        self._loop.reader(self._socket.fileno(), None)
        self._loop.writer(self._socket.fileno(), None)
        self._counts["unplugged"] += 1
        made, self._socket, self._number = self._socket, None, 0
        self._set_carrier(False)
        made.close()

    # --- carrier and frames

    def _set_carrier(self, up: bool) -> None:
        if up == self.carrier:
            return
        self.carrier = up
        if not up:
            self._queue.clear("link-down")
            if self._socket is not None:
                if self._blocked:
                    self._loop.writer(self._socket.fileno(), None)
                self._io.reset(self._socket.fileno())
            self._blocked = False
        self._carrier_changed(up)
        if up:
            self.flush()

    def _readable(self) -> None:
        sock = self._socket
        if sock is None:
            return
        message = self._io.fill()
        if message is not None:
            self._receive(message)
        if self._io.ended and self._socket is sock:
            self._lose(self._io.ended)

    def _writable(self) -> None:
        if self._socket is not None:
            self._loop.writer(self._socket.fileno(), None)
            self._blocked = False
            self.flush()


def kernel() -> tuple[int, int]:
    """The running kernel's (major, minor)."""
    found = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _packet_socket() -> socket.socket:
    try:
        # Protocol 0: no frame of any interface before it is bound to ours.
        return socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
    except PermissionError:
        sentence = "a packet port needs CAP_NET_RAW, or a user namespace with a network of its own"
        raise PortError(f"{sentence}; give it to the program, or use a TAP that root makes for you") from None
    except OSError as error:
        raise PortError(f"no packet sockets here: {error.strerror}") from None


def _set_up(made: socket.socket, name: str, number: int) -> None:
    for option in (PACKET_VNET_HDR, PACKET_AUXDATA, PACKET_IGNORE_OUTGOING):
        made.setsockopt(SOL_PACKET, option, 1)
    for forced, usual in ((SO_RCVBUFFORCE, socket.SO_RCVBUF), (SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        try:
            made.setsockopt(socket.SOL_SOCKET, forced, BUFFER)
        except PermissionError:
            made.setsockopt(socket.SOL_SOCKET, usual, BUFFER)
    made.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, struct.pack("iHH8s", number, PACKET_MR_PROMISC, 0, b""))
    made.bind((name, ETH_P_ALL))
