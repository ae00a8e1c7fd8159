"""The driver for TAP devices: one that is there, one that it makes, or one that somebody hands over.

Knows: where the TAP comes from, when its interface is up, when it is gone and comes back, and what it is set to.
Refuses to know: what a read and a write look like (tap_io, compiled), what is in a frame, which switch it serves.

Carrier to the peer: TUNSETCARRIER, always up while the port has the TAP (see `set_link`). Carrier from the peer: the
interface is up. The kernel tells that by rtnetlink in our own namespace, and in any other by POLLOUT (it comes up)
and EIO (a write found it down).
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable

from netvirt.ports import Loop, Queue, Timer
from netvirt.ports.errors import PortError
from netvirt.ports.handover import Handover
from netvirt.ports.linkwatch import LinkState, LinkWatch
from netvirt.ports.tap_io import TapIo
from netvirt.ports.tuntap import Tap, check_name, describe, open_tap, set_carrier, set_link
from netvirt.ports.wired import WiredPort

SPEED_MBIT = 10_000
_RETRY_SECONDS = 1.0


class TapPort(WiredPort[TapIo]):
    """A switch port whose peer is a kernel's network stack behind a TAP; a `netvirt.ports.Port`.

    name: the interface. create: made where there is none (needs CAP_NET_ADMIN), set up, and gone with the port unless
    `persistent`; else it is waited for. path, in place of a name: a unix socket where a TAP is handed over.
    fd, in place of both: an open TAP, which the port owns from now on.
    offload: take and give large frames, and frames without checksums. mtu: bytes, 0 leaves it as it is.
    Raises PortError here (names) and in open() (privileges, paths).
    """

    kind = "tap"

    def __init__(
        self,
        loop: Loop,
        queue: Queue,
        receive: Callable[[memoryview], None],
        carrier_changed: Callable[[bool], None],
        *,
        name: str = "",
        path: str = "",
        fd: int = -1,
        create: bool = False,
        persistent: bool = False,
        offload: bool = True,
        mtu: int = 0,
        speed_mbit: int = SPEED_MBIT,
    ) -> None:
        if name:
            check_name(name)
        super().__init__(loop, queue, receive, carrier_changed, TapIo())
        self.mtu = mtu
        self.speed_mbit = speed_mbit
        self._name = name
        self._create = create
        self._persistent = persistent
        self._wants_offload = offload
        self._given = fd
        self._watch = LinkWatch(loop, name, self._link) if name else None
        self._handover = Handover(loop, path, self._take, self._unplugged) if path else None
        self._tap: Tap | None = None
        self._linked = True
        self._timer: Timer | None = None

    def open(self) -> None:
        """Begins; a TAP that is not there yet is no error, a missing right is one (PortError)."""
        if self._given >= 0:
            fd, self._given = self._given, -1
            self._take(fd)
        if self._handover is not None:
            self._handover.open()
        if self._watch is not None:
            if self._create:
                self._make()
            self._watch.open()

    def close(self) -> None:
        """Lets the TAP go, stops waiting for one, and removes what the driver made."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._watch is not None:
            self._watch.close()
        if self._handover is not None:
            self._handover.close()
        self._drop()
        if self._given >= 0:
            os.close(self._given)
            self._given = -1

    def set_link(self, up: bool) -> None:
        """The cable as the TAP's side sees it (TUNSETCARRIER): down, its stack sends nothing and knows why."""
        self._linked = up
        if self._tap is not None:
            set_carrier(self._tap.fd, up)

    def statistics(self) -> dict[str, int | str]:
        """Counters by name: frames and bytes both ways, what was cut off and why, ends by reason; the last problem."""
        return {
            "tap": self._tap.name if self._tap is not None and self._tap.name else self._name,
            "offload": self.offload,
            **self._io.statistics(),
            **self._counts,
            **({"refused-plugs": self._handover.refused} if self._handover is not None else {}),
            **({"kept": 1} if self._handover is not None and self._handover.kept else {}),
            **self._told(),
        }

    # --- where the TAP comes from

    def _make(self) -> None:
        """Opens the TAP by name. Raises PortError; one that somebody else has open is tried again later."""
        self._timer = None
        try:
            fd = open_tap(self._name, self._persistent)
        except BlockingIOError:
            self.problem = f"{self._name} is in use by another program; it is tried again until that one lets it go"
            self._timer = self._loop.call_later(_RETRY_SECONDS, self._try)
            return
        self._take(fd)
        self.problem = set_link(self._name, self.mtu, self.speed_mbit, self._create)

    def _try(self) -> None:
        """As _make(), where nobody is there to hear of an error."""
        self._timer = None
        try:
            self._make()
        except PortError as error:
            self.problem = str(error)

    def _link(self, state: LinkState | None) -> None:
        """rtnetlink has something to say about the interface of our name."""
        if state is not None and self._tap is None and not self._create and self._timer is None:
            self._try()
        if self._tap is None:
            return
        if state is None:  # deleted, or moved to another namespace: reading tells which
            self._readable()
            return
        self.mtu = state.mtu
        if not state.up:
            self._set_carrier(False)
        self._await_up()

    def _take(self, fd: int) -> None:
        """This is the TAP now. Raises PortError for a descriptor that is none; it is the caller's again then."""
        tap = describe(fd, self._wants_offload)
        self._tap = tap
        self._plug(fd)
        set_carrier(fd, self._linked)
        self.offload = tap.takes
        self._await_up()

    def _unplugged(self) -> None:
        self._counts["unplugged"] += 1
        self._drop()

    def _lose(self, reason: str) -> None:
        """The descriptor is good for nothing more."""
        self._count_end(reason)
        self._drop()
        if self._handover is not None:
            if self._handover.kept:
                self.problem = "the TAP that was left here is gone, its namespace too perhaps"
            self._handover.unplug()
        if self._create and self._timer is None:
            self._timer = self._loop.call_later(_RETRY_SECONDS, self._try)

    def _drop(self) -> None:
        if self._tap is None:
            return
        fd, self._tap = self._tap.fd, None
        self._unplug()
        os.close(fd)

    # --- carrier

    def _restart(self) -> None:
        assert self._tap is not None
        self._io.reset(self._fd, self._tap.vnet)

    def _await_up(self) -> None:
        """A TAP can be written to when its interface is up, and says so when it comes up."""
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        if any(mask & select.POLLOUT for _, mask in poll.poll(0)):
            self._set_carrier(True)
        else:
            self._loop.writer(self._fd, self._writable)

    _room_at_last = _await_up

    def _found_down(self) -> None:
        self._set_carrier(False)
        self._await_up()
