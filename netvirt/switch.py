"""One switch: names and modes on top of the compiled plane. The only place where dataplane and control protocols meet.

Knows: ports by name, what a port mode means in the plane's tables, when the MAC table is to be swept.
Refuses to know: sockets, clocks (`now` comes in), processes, the lab around it.
"""

from __future__ import annotations

import zlib
from typing import Any, NamedTuple

from netvirt.dataplane.plane import Plane
from netvirt.dataplane.queue import Queue

SECOND = 1_000_000_000


class PortSettings(NamedTuple):
    """What a port does with VLANs (IEEE 802.1Q-2018 clause 6.9).

    mode access: untagged and priority-tagged frames only, they belong to `pvid`.
    mode trunk: tagged frames of the `allowed` VIDs; untagged ones belong to the native VLAN `pvid` (0 = dropped), and
    the native VLAN leaves untagged. priority: PCP for frames that come untagged. state: forwarding, blocked, disabled.
    mtu: largest payload in bytes, tags not counted.
    """

    mode: str = "access"
    pvid: int = 1
    allowed: frozenset[int] = frozenset()
    priority: int = 0
    state: str = "forwarding"
    mtu: int = 9216


class Switch:
    """A VLAN switch without sockets. Ports have names outside and numbers inside; numbers are reused, names are not.

    epoch goes into every message that leaves; ageing_s: seconds; mac_limit: stations known at the most.
    """

    def __init__(self, name: str, *, epoch: int = 0, ageing_s: int = 300, mac_limit: int = 16384) -> None:
        self.name = name
        self.epoch = epoch
        # Frame identities: 16 bits of the switch's name, 8 of its epoch, then a count. Never 0, which means "none yet".
        base = (zlib.crc32(name.encode()) & 0xFFFF) << 48 | (epoch & 0xFF) << 40 | 1
        self.plane = Plane(mac_limit, ageing_s, base)
        self._numbers: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._settings: dict[str, PortSettings] = {}
        self._sweep_at: int | None = None

    @property
    def ports(self) -> dict[str, PortSettings]:
        return dict(self._settings)

    def number(self, name: str) -> int:
        return self._numbers[name]

    def port_name(self, number: int) -> str:
        return self._names[number]

    def queue(self, name: str) -> Queue:
        return self.plane.queue(self._numbers[name])

    def set_port(self, name: str, settings: PortSettings) -> None:
        """Add a port or change one; an unchanged one is not touched. ValueError says what can't be."""
        if self._settings.get(name) == settings:
            return
        tables = _tables(settings)
        new = name not in self._numbers
        number = self.plane.add_port(epoch=self.epoch) if new else self._numbers[name]
        try:
            self.plane.set_port(number, state=settings.state, priority=settings.priority, mtu=settings.mtu, **tables)
        except ValueError:
            if new:
                self.plane.remove_port(number)
            raise
        self._numbers[name] = number
        self._names[number] = name
        self._settings[name] = settings

    def remove_port(self, name: str) -> None:
        number = self._numbers.pop(name)
        del self._names[number], self._settings[name]
        self.plane.remove_port(number)

    def set_carrier(self, name: str, up: bool) -> None:
        """Somebody is connected, or not any more: then what waits is dropped and the port's stations are forgotten."""
        number = self._numbers[name]
        queue = self.plane.queue(number)
        queue.open = up
        if not up:
            queue.clear("link-down")
            self.plane.macs.flush(port=number)

    def process(self, number: int, message: bytes | memoryview, now: int, wall: int) -> int:
        """Forward every frame of a FRAMES message; what comes out waits in the ports' queues (see `plane.pending`).

        now: monotonic ns; wall: ns since the epoch for frames without a time. Returns the number of frames.
        """
        if self._sweep_at is None:
            self._sweep_at = now + self.plane.macs.ageing * SECOND // 2
        return self.plane.forward(number, message, now, wall)

    def next_deadline(self) -> int | None:
        """When tick() has something to do, in monotonic ns; None while nobody is known."""
        return self._sweep_at

    def tick(self, now: int) -> None:
        """Forget stations that have aged out. Called late it does the same, later."""
        if self._sweep_at is None or now < self._sweep_at:
            return
        macs = self.plane.macs
        macs.sweep(now // SECOND)
        self._sweep_at = now + macs.ageing * SECOND // 2 if len(macs) else None

    def stations(self, now: int) -> list[dict[str, Any]]:
        """The MAC table: {vid, mac (text), port, age_s}, sorted."""
        rows = [
            {"vid": vid, "mac": mac.hex(":"), "port": self._names[port], "age_s": age}
            for vid, mac, port, age in self.plane.macs.entries(now // SECOND)
            if port in self._names
        ]
        return sorted(rows, key=lambda row: (row["vid"], row["mac"]))


def _tables(settings: PortSettings) -> dict[str, Any]:
    """A mode as the plane's tables."""
    native = {settings.pvid} if settings.pvid else set()
    if settings.mode == "access":
        if not native:
            raise ValueError("an access port needs a VLAN")
        return {"takes_tagged": False, "pvid": settings.pvid, "member": native, "untagged": native}
    if settings.mode == "trunk":
        member = settings.allowed | native
        return {"takes_tagged": True, "pvid": settings.pvid, "member": member, "untagged": native}
    raise ValueError(f"unknown port mode {settings.mode!r}; there are access and trunk")
