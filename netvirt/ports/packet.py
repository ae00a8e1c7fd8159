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
from netvirt.ports.wired import WiredPort

ETH_P_ALL: Final = 3
SOL_PACKET: Final = 263
PACKET_ADD_MEMBERSHIP, PACKET_STATISTICS, PACKET_AUXDATA, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 1, 6, 8, 15, 23
PACKET_MR_PROMISC: Final = 1
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
BUFFER: Final = 4 << 20
_USO_KERNEL = (6, 2)  # UDP segmentation in a virtio-net header


class PacketPort(WiredPort[PacketIo]):
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
        super().__init__(loop, queue, receive, carrier_changed, PacketIo())
        self.offload = OFFLOADS[0] if kernel() >= _USO_KERNEL else OFFLOADS[1]
        self._name = name
        self._watch = LinkWatch(loop, name, self._link)
        self._socket: socket.socket | None = None
        self._number = 0  # of the interface that the socket is bound to
        self._lost = 0

    def open(self) -> None:
        """Begins; an interface that is not there yet is no error, a missing right is one (PortError)."""
        _packet_socket().close()
        self._watch.open()

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
            **self._told(),
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
        self._socket = made
        self._number = state.number
        with contextlib.suppress(OSError):  # most virtual interfaces know none
            self.speed_mbit = get_speed(made.fileno(), self._name)
        self._plug(made.fileno())

    def _lose(self, reason: str) -> None:
        """The socket is good for nothing more; the interface may be."""
        self._count_end(reason)
        self._drop()
        self._watch.again()

    def _drop(self) -> None:
        if self._socket is None:
            return
        self._kernel_drops()
        self._counts["unplugged"] += 1
        made, self._socket, self._number = self._socket, None, 0
        self._unplug()
        made.close()

    # --- carrier

    def _restart(self) -> None:
        self._io.reset(self._fd)

    def _found_down(self) -> None:
        self._watch.ask()

    def _room_at_last(self) -> None:
        """Says nothing here: whether the interface runs is told by rtnetlink alone."""


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
