"""The driver for VXLAN (RFC 7348): a tunnel end point whose VLANs are VNIs, and whose remotes are listed.

Knows: addresses, sockets, which MTU the way has, ageing in seconds of the loop's clock.
Refuses to know: the format and the stations (vxlan_table, vxlan_receive, vxlan_send: compiled), which switch it serves.

Carrier is up while the sockets are open: there is no sign of life of a remote. What must go to everybody goes to each
remote (head-end replication), and never from one remote to another: each has the others in a list of its own.
Nothing is ever fragmented (clause 4.3 forbids it): what is longer than the way carries is counted, and `needs` says
which MTU would do. What a veth leaves to a card that there is not (checksums, cutting up TCP) is done here.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from netvirt.ports import Loop, Queue
from netvirt.ports.driver import Driver
from netvirt.ports.errors import PortError
from netvirt.ports.retry import Retry
from netvirt.ports.udp import Address, parse_address
from netvirt.ports.vxlan_receive import Receiver
from netvirt.ports.vxlan_rules import check_tunnel
from netvirt.ports.vxlan_send import Sender
from netvirt.ports.vxlan_table import Table

AGEING: Final = 300
# Source ports to spread flows over: a descriptor each. From the range of RFC 7348 clause 4.1.
_SENDERS: Final = 8
_FIRST_PORT: Final = 49152
_TRIES: Final = 64
_BUFFER: Final = 1 << 20  # as udp.py
_HEADERS: Final = {socket.AF_INET: 20 + 8 + 8, socket.AF_INET6: 40 + 8 + 8}  # outside of the inner frame
_ETHERNET: Final = 14
# <linux/in.h>, <linux/in6.h>, <linux/udp.h>, asm-generic/socket.h: the socket module has them not, or not yet.
_MTU_DISCOVER: Final = {socket.AF_INET: (socket.IPPROTO_IP, 10), socket.AF_INET6: (socket.IPPROTO_IPV6, 23)}
_MTU: Final = {socket.AF_INET: (socket.IPPROTO_IP, 14), socket.AF_INET6: (socket.IPPROTO_IPV6, 24)}
_PMTUDISC_DO: Final = 2
_UDP_NO_CHECK6_RX: Final = 102
_SO_NO_CHECK: Final = 11
_OURS: Final = {
    errno.EADDRINUSE: "somebody uses it already (a VXLAN device of Linux?); choose another address or port",
    errno.EACCES: "ports under 1024 are for root; choose another",
}


class VxlanPort(Driver):
    """A switch port that is a VTEP at `local`; a `netvirt.ports.Port`. Meant for a trunk: the tag says which VNI.

    remotes: addresses of the other ends; others are not believed. vnis: VID -> VNI, VID 0 for frames without a tag.
    ageing: seconds after which a station is forgotten. inner_tags: frames with a tag inside may pass (clause 6.1: no).
    tpid: of the tags that frames get here. Raises PortError here (values) and in open() (the address is taken).
    """

    kind = "vxlan"

    def __init__(
        self,
        loop: Loop,
        local: str,
        remotes: Iterable[str],
        vnis: Mapping[int, int],
        queue: Queue,
        receive: Callable[[memoryview], None],
        carrier_changed: Callable[[bool], None],
        *,
        ageing: int = AGEING,
        inner_tags: bool = False,
        tpid: int = 0x8100,
        retry: float = 1.0,
    ) -> None:
        here, there = check_tunnel(local, remotes, vnis)
        self._here, self._there = parse_address(str(here)), [parse_address(str(each)) for each in there]
        super().__init__(loop, queue, receive, carrier_changed)
        self.mtu = 0
        self._retry = Retry(loop, self._open_again, retry, retry)
        self._problem = ""
        self._stalls = 0
        self._errors = 0
        self._waiting: int | None = None
        self._socket: socket.socket | None = None
        self._senders: list[socket.socket] = []
        self._fds: list[int] = []
        names = [_sockaddr(address) for address in self._there]
        self._table = Table(names, dict(vnis), inner_tags=inner_tags, ageing=ageing, tpid=tpid)
        self._receiver = Receiver(self._table)
        self._sender = Sender(self._table)

    def open(self) -> None:
        """Begins; an address that this machine does not have (yet) is tried again every `retry` seconds."""
        try:
            self._bind()
        except OSError as error:
            self._unbind()
            if error.errno in _OURS:
                raise PortError(f"cannot use UDP {self._here}: {_OURS[error.errno]}") from None
            self._problem = f"{self._here}: {error.strerror}; trying again"
            self._retry.later()
            return
        self._problem = ""
        self._look_at_mtu()
        self._come_up()

    def flush(self) -> None:
        """Sends what the kernel takes now; goes on by itself when it takes more."""
        if not self._fds or self._waiting is not None:
            return
        lost = self._sender.too_long
        while (message := self._queue.head()) is not None:
            if not self._sender.write(self._fds, message, self._seconds()):
                self._stalls += 1
                self._waiting = self._fds[self._sender.blocked]
                self._loop.writer(self._waiting, self._writable)
                break
            self._queue.pop()
        if self._sender.too_long != lost:
            self._look_at_mtu()

    def close(self) -> None:
        """Closes the sockets, stops trying."""
        self._retry.cancel()
        self._unbind()
        if self.carrier:
            self._go_down()

    def statistics(self) -> dict[str, int | str]:
        """Counters by name; `needs`: which MTU the way should have; `mtu`: the largest payload that it carries now."""
        come, gone = self._receiver, self._sender
        outside = _HEADERS[self._here.family]
        return {
            "local": str(self._here),
            "remotes": len(self._there),
            "stations": self._table.stations(self._seconds()),
            "rx_frames": come.frames,
            "rx_bytes": come.nbytes,
            "tx_frames": gone.frames,
            "tx_bytes": gone.nbytes,
            "tx_datagrams": gone.datagrams,
            "flooded": gone.floods,
            "unknown-remote": come.unknown_remote,
            "bad-flags": come.bad_flags,
            "unknown-vni": come.unknown_vni,
            "runt": come.runts,
            "oversize": come.oversize,
            "tag-inside": come.inner_tag + gone.inner_tag,
            "checksums-finished": come.finished,
            "large": come.large,
            "vlan-without-vni": gone.unmapped,
            "too-long-to-send": gone.too_long,
            "no-buffers": gone.no_buffers,
            "unreachable": gone.unreachable,
            "offload-unsupported": gone.offload_unsupported,
            "stations-full": self._table.table_full,
            "moves": self._table.moves,
            "stalls": self._stalls,
            "errors": self._errors,
            "mtu": self.mtu,
            **({"needs": f"an MTU of {gone.longest + outside} on the way to the remotes"} if gone.longest else {}),
            **({"problem": self._problem} if self._problem else {}),
        }

    # --- sockets

    def _bind(self) -> None:
        here = _udp(self._here.family)
        self._socket = here
        here.bind(self._here.name)
        for _ in range(_SENDERS):
            sender = _udp(self._here.family)
            self._senders.append(sender)
            _bind_high(sender, self._here)
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # nobody answers to it: strangers find no room
        self._sender.reset()
        self._fds = [sender.fileno() for sender in self._senders]
        self._loop.reader(here.fileno(), self._readable)

    def _unbind(self) -> None:
        if self._waiting is not None:
            self._loop.writer(self._waiting, None)
            self._waiting = None
        if self._socket is not None:
            self._loop.reader(self._socket.fileno(), None)
            self._socket.close()
            self._socket = None
        for sender in self._senders:
            sender.close()
        self._senders, self._fds = [], []

    def _open_again(self) -> None:
        try:
            self.open()
        except PortError as error:  # it was free to take, and somebody has
            self._problem = str(error)
            self._retry.later()

    def _look_at_mtu(self) -> None:
        """The largest payload of an inner frame without tags, on the narrowest way."""
        ways = []
        level, option = _MTU[self._here.family]
        for address in self._there:
            with socket.socket(self._here.family, socket.SOCK_DGRAM) as probe:
                try:
                    probe.connect(address.name)  # sends nothing
                    ways.append(probe.getsockopt(level, option))
                except OSError:
                    continue  # no way there now
        self.mtu = max(0, min(ways) - _HEADERS[self._here.family] - _ETHERNET) if ways else 0
        self._receiver.mtu = self.mtu

    # --- frames

    def _seconds(self) -> int:
        return self._loop.now() // 1_000_000_000 & 0xFFFFFFFF

    def _readable(self) -> None:
        """One call of the kernel, at most 64 frames: then it is another port's turn."""
        sock = self._socket
        if sock is None:
            return
        try:
            message = self._receiver.read(sock.fileno(), self._seconds())
        except OSError:
            self._errors += 1
            return
        while message is not None and self._socket is sock:  # receive() may have closed the port
            self._receive(message)
            message = self._receiver.rest()

    def _writable(self) -> None:
        if self._waiting is not None:
            self._loop.writer(self._waiting, None)
            self._waiting = None
            self.flush()


def _udp(family: socket.AddressFamily) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
    sock.setsockopt(*_MTU_DISCOVER[family], _PMTUDISC_DO)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_UDP, _UDP_NO_CHECK6_RX, 1)  # clause 4.3: a sum of 0 must be accepted
    else:
        sock.setsockopt(socket.SOL_SOCKET, _SO_NO_CHECK, 1)  # clause 4.3: it should be sent as 0
    return sock


def _bind_high(sock: socket.socket, here: Address) -> None:
    """To a source port of the upper range, or to any if so many are taken. Raises OSError."""
    host, _, *rest = here.name
    for _ in range(_TRIES):
        number = _FIRST_PORT + int.from_bytes(os.urandom(2), "big") % (65536 - _FIRST_PORT)
        try:
            sock.bind((host, number, *rest))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return
    sock.bind((host, 0, *rest))


def _sockaddr(address: Address) -> bytes:
    """As the kernel has it: struct sockaddr_in or sockaddr_in6."""
    packed = socket.inet_pton(address.family, address.name[0].partition("%")[0])
    family, number = struct.pack("=H", address.family), struct.pack(">H", address.name[1])
    if address.family == socket.AF_INET:
        return family + number + packed + bytes(8)
    return family + number + bytes(4) + packed + struct.pack("=I", address.name[3])
