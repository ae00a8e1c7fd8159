"""One switch: names and modes on top of the compiled plane. The only place where dataplane and control protocols meet.

Knows: ports by name, the order in which a change is made, when the MAC table is to be swept.
Refuses to know: sockets, clocks (`now` comes in), processes, the lab around it; what a mode means (modes.py).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from netvirt import modes
from netvirt.addr import MAC_SIZE, check_vid, is_group, mac_bytes
from netvirt.dataplane.plane import Plane
from netvirt.dataplane.queue import Queue
from netvirt.dataplane.tracing import Step, steps
from netvirt.settings import Mirror, PortSettings, VlanSettings

__all__ = ["SECOND", "Mirror", "PortSettings", "Step", "Switch", "VlanSettings"]

SECOND = 1_000_000_000
MOST_PORTS = 4096


class Switch:
    """A VLAN switch without sockets. Ports have names outside and numbers inside; numbers are reused, names are not.

    epoch goes into every message that leaves; ageing_s: seconds; mac_limit: stations known at the most; counters and
    seed: see Plane. Everything here is called between bursts, so no frame sees half a change.
    """

    def __init__(
        self,
        name: str,
        *,
        epoch: int = 0,
        ageing_s: int = 300,
        mac_limit: int = 16384,
        counters: Callable[[int], Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.name = name
        self.epoch = epoch
        # Frame identities: 16 bits of the switch's name, 8 of its epoch, then a count. Never 0, which means "none yet".
        base = (zlib.crc32(name.encode()) & 0xFFFF) << 48 | (epoch & 0xFF) << 40 | 1
        self.plane = Plane(mac_limit, ageing_s, base, counters, seed)
        self._numbers: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._settings: dict[str, PortSettings] = {}
        self._vlans = VlanSettings()
        self._mirrors: tuple[Mirror, ...] = ()
        self._sweep_at: int | None = None

    @property
    def ports(self) -> dict[str, PortSettings]:
        return dict(self._settings)

    @property
    def vlans(self) -> VlanSettings:
        return self._vlans

    @property
    def mirrors(self) -> tuple[Mirror, ...]:
        return self._mirrors

    def number(self, name: str) -> int:
        return self._numbers[name]

    def port_name(self, number: int) -> str:
        return self._names[number]

    def queue(self, name: str) -> Queue:
        return self.plane.queue(self._numbers[name])

    # --- changes

    def set_port(self, name: str, settings: PortSettings) -> None:
        """Add a port or change one; an unchanged one is not touched. ValueError says what can't be."""
        if self._settings.get(name) != settings:
            self.change({name: settings})

    def remove_port(self, name: str) -> None:
        """KeyError: there is none of this name. ValueError: a mirror needs it."""
        if name not in self._numbers:
            raise KeyError(name)
        self.change({name: None})

    def set_vlans(self, vlans: VlanSettings) -> None:
        self.change({}, vlans=vlans)

    def set_mirrors(self, mirrors: Sequence[Mirror]) -> None:
        self.change({}, mirrors=mirrors)

    def change(
        self,
        ports: Mapping[str, PortSettings | None],
        vlans: VlanSettings | None = None,
        mirrors: Sequence[Mirror] | None = None,
    ) -> None:
        """Everything or nothing: ports to be as said (None: gone), the others as they are; ValueError has one sentence.

        A change forgets only the stations that it makes wrong: those of a port in VLANs that it has no more part in,
        all if it stops forwarding, and those of VLANs that are looked up under another FID. A port that was shut works
        again if its settings change.
        """
        vlans = self._vlans if vlans is None else vlans
        mirrors = self._mirrors if mirrors is None else tuple(mirrors)
        settings = {**self._settings, **ports}
        wanted = {name: value for name, value in settings.items() if value is not None}
        gone = [name for name in self._settings if name not in wanted]
        tables = self._checked(wanted, vlans, mirrors)
        # From here on nothing can be wrong any more.
        if gone and self._mirrors:
            self.plane.set_mirrors(())
        for name in gone:
            self._remove(name)
        if vlans != self._vlans:
            self.plane.set_vlans(modes.fids(vlans), vlans.remote, vlans.limits)
        for name, table in tables.items():
            self._set(name, wanted[name], table)
        if mirrors != self._mirrors or (gone and mirrors):
            self.plane.set_mirrors([self._numbered(mirror) for mirror in mirrors])
        self._vlans, self._mirrors = vlans, mirrors

    def _checked(
        self, wanted: Mapping[str, PortSettings], vlans: VlanSettings, mirrors: Sequence[Mirror]
    ) -> dict[str, dict[str, Any]]:
        """The tables of the ports that are new or change. Raises ValueError, and has changed nothing."""
        if len(wanted) > MOST_PORTS:
            raise ValueError(f"a switch has at most {MOST_PORTS} ports")
        if vlans != self._vlans:
            modes.check_vlans(vlans)
        modes.check_mirrors(mirrors, wanted, vlans)
        return {
            name: modes.tables(settings, vlans)
            for name, settings in wanted.items()
            if vlans != self._vlans or self._settings.get(name) != settings
        }

    def _set(self, name: str, settings: PortSettings, table: dict[str, Any]) -> None:
        number = self._numbers.get(name)
        if number is None:
            number = self.plane.add_port(epoch=self.epoch)
            self._numbers[name] = number
            self._names[number] = name
        elif self._settings[name] != settings:
            self.plane.recover(number)
        self._settings[name] = settings
        self.plane.set_port(number, **table)

    def _remove(self, name: str) -> None:
        number = self._numbers.pop(name)
        del self._names[number], self._settings[name]
        self.plane.remove_port(number)

    def _numbered(self, mirror: Mirror) -> tuple[list[int], list[int], frozenset[int], int, int]:
        return (
            [self._numbers[name] for name in mirror.ports_in],
            [self._numbers[name] for name in mirror.ports_out],
            mirror.vlans,
            self._numbers[mirror.to_port] if mirror.to_port else -1,
            mirror.to_vlan,
        )

    def violations(self) -> list[str]:
        """Ports that were shut because of a station too many (on_limit = shutdown)."""
        return [self._names[number] for number in self.plane.violations()]

    def recover(self, name: str) -> None:
        """Let a port that was shut work again."""
        self.plane.recover(self._numbers[name])

    def set_carrier(self, name: str, up: bool) -> None:
        """Somebody is connected, or not any more: then what waits and the port's dynamic stations are forgotten."""
        number = self._numbers[name]
        self.plane.set_carrier(number, up)
        if not up:
            self.plane.macs.flush(port=number)

    def set_offload(self, name: str, bits: int) -> None:
        """Which frames with a virtio-net header the port's peer takes as they are: bits of TUNSETOFFLOAD, 0 = none."""
        self.plane.set_offload(self._numbers[name], bits)

    # --- frames and time

    def process(self, number: int, message: bytes | memoryview, now: int, wall: int) -> int:
        """Forward every frame of a FRAMES message; what comes out waits in the ports' queues (see `plane.pending`).

        now: monotonic ns; wall: ns since the epoch for frames without a time. Returns the number of frames.
        """
        self.passed(now)
        return self.plane.forward(number, message, now, wall)

    def passed(self, now: int) -> None:
        """Frames go through the plane, here or past us (netvirt.ports.shortcut): stations will have to be swept."""
        if self._sweep_at is None:
            self._sweep_at = now + self.plane.macs.ageing * SECOND // 2

    def next_deadline(self) -> int | None:
        """When tick() has something to do, in monotonic ns; None while nobody is known."""
        return self._sweep_at

    def tick(self, now: int) -> None:
        """Forget stations that have aged out, bring the counters up to date. Called late it does the same, later."""
        if self._sweep_at is None or now < self._sweep_at:
            return
        self.plane.count_waiting()
        macs = self.plane.macs
        macs.sweep(now // SECOND)
        self._sweep_at = now + macs.ageing * SECOND // 2 if len(macs) else None

    # --- stations

    def stations(self, now: int) -> list[dict[str, Any]]:
        """The MAC table: {vid, mac (text), port, age_s, kind (dynamic | sticky | static)}, sorted."""
        rows = [
            {"vid": vid, "mac": mac.hex(":"), "port": self._names[port], "age_s": age, "kind": kind}
            for vid, mac, port, age, kind in self.plane.macs.entries(now // SECOND)
            if port in self._names
        ]
        return sorted(rows, key=lambda row: (row["vid"], row["mac"]))

    def add_station(self, vid: int, mac: str | bytes, port: str) -> None:
        """A static station: it stays there until it is flushed or the port removed. Raises ValueError."""
        address = mac_bytes(mac) if isinstance(mac, str) else mac
        if len(address) != MAC_SIZE or is_group(address):
            raise ValueError(f"{address.hex(':')} is not the address of one station")
        if port not in self._numbers:
            raise ValueError(f"{self.name} has no port {port}")
        self.plane.macs.add_static(self.plane.fid(check_vid(vid)), address, self._numbers[port], vid)

    def flush_stations(self, port: str | None = None, vid: int | None = None, static: bool = False) -> int:
        """Forget dynamic stations of a port, a VLAN, both together, or all; `static`: sticky and static ones, too."""
        if port is not None and port not in self._numbers:
            raise ValueError(f"{self.name} has no port {port}")
        number = -1 if port is None else self._numbers[port]
        return self.plane.macs.flush(port=number, vid=-1 if vid is None else check_vid(vid), static=static)

    # --- a frame's journey: on a copy, so that nobody notices

    def trace(self, port: str, frame: bytes, now: int, wall: int) -> list[Step]:
        """What happens to one frame of 14 to 65,557 bytes, rule by rule, and why. It happens: ask a copy.

        Raises ValueError. What leaves waits in the ports' queues.
        """
        if port not in self._numbers:
            raise ValueError(f"{self.name} has no port {port}")
        notes = self.plane.trace(self._numbers[port], frame, now, wall)
        return steps(notes, self._names.__getitem__, [mirror.name for mirror in self._mirrors])

    def snapshot(self, now: int, stations: bool = True) -> dict[str, Any]:
        """Settings, storm control's buckets and stations (or []) as a value for JSON; without counters and queues."""
        return {
            "name": self.name,
            "epoch": self.epoch,
            "ageing_s": self.plane.macs.ageing,
            "mac_limit": self.plane.macs.limit,
            "now": now,
            "vlans": self._vlans.to_json(),
            "mirrors": [mirror.to_json() for mirror in self._mirrors],
            "ports": [self._port_snapshot(name) for name in sorted(self._settings, key=self._numbers.__getitem__)],
            "shut": self.violations(),
            "stations": self.stations(now) if stations else [],
        }

    def _port_snapshot(self, name: str) -> dict[str, Any]:
        levels = self.plane.storm_levels(self._numbers[name])
        return {
            "name": name,
            "up": self.queue(name).open,
            "storm_levels": [list(level) for level in levels],
            **self._settings[name].to_json(),
        }

    @staticmethod
    def restore(value: Mapping[str, Any]) -> Switch:
        """The switch of a snapshot, as it was at its `now`. Raises ValueError or KeyError for a value that is none."""
        options = {key: value[key] for key in ("epoch", "ageing_s", "mac_limit")}
        switch = Switch(value["name"], **options)
        switch.change(
            {port["name"]: PortSettings.from_json(port) for port in value["ports"]},
            VlanSettings.from_json(value["vlans"]),
            [Mirror.from_json(mirror) for mirror in value["mirrors"]],
        )
        for port in value["ports"]:
            switch.set_carrier(port["name"], port["up"])
            if port["storm_levels"]:
                switch.plane.set_storm_levels(switch.number(port["name"]), port["storm_levels"])
        for name in value["shut"]:
            switch.plane.shut(switch.number(name))
        # The oldest first, as they were learned.
        for row in sorted(value["stations"], key=lambda row: -row["age_s"]):
            mac, vid, number = mac_bytes(row["mac"]), row["vid"], switch.number(row["port"])
            if row["kind"] == "static":
                switch.add_station(vid, mac, row["port"])
            else:
                switch.plane.macs.learn(switch.plane.fid(vid), mac, number, value["now"] // SECOND - row["age_s"], vid)
        return switch
