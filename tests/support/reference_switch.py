"""A slow, obvious 802.1Q bridge, written from IEEE Std 802.1Q-2018, to hold the compiled data path against.

Knows: the order of things: ingress (6.9, 8.6.1 to 8.6.3), learning (8.7), the filtering database (8.8), egress (8.6.4,
6.9.2), mirrors; and what a change forgets. Its parts are in reference_*.py. Refuses to know: everything in netvirt. It
shares no code with it, not even the frame parser or the settings, so that a mistake has to be made twice to go unseen.

`process()` takes one frame and gives what leaves, by port, in the order of the ports' numbers (a new port takes the
lowest that is free). `drops` counts by (port, reason): what comes in and ends there by the port it came in at, a copy
that a port cannot take by that port.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tests.support.reference_passage import Passage
from tests.support.reference_settings import Configuration, Port, Session, Vlans
from tests.support.reference_storm import SECOND, Bucket
from tests.support.reference_table import Entry, Key, Table

__all__ = ["SECOND", "Port", "ReferenceSwitch", "Session", "Vlans"]


class ReferenceSwitch:
    """Time is nanoseconds that never run backwards; `ageing_s` seconds, `capacity` stations."""

    def __init__(self, ports: Mapping[str, Port] | None = None, *, ageing_s: int = 300, capacity: int = 16384) -> None:
        self.now_is = Configuration()
        self.numbers: list[str] = []  # by number; "" = free
        self.carriers: set[str] = set()
        self.table = Table(ageing_s, capacity)
        self.buckets: dict[tuple[str, str], Bucket] = {}
        self.drops: Counter[tuple[str, str]] = Counter()
        self.change(ports or {})
        self.carriers = set(self.now_is.ports)

    @property
    def ports(self) -> dict[str, Port]:
        return dict(self.now_is.ports)

    def process(self, port: str, data: bytes, now: int) -> list[tuple[str, bytes]]:
        """The frames that leave, `now` in nanoseconds."""
        return Passage(self, port, data, now).run()

    def add_station(self, vid: int, mac: bytes, port: str) -> None:
        """A static entry (8.8.1): it does not age, and nobody takes it by using its address."""
        key = (self.now_is.vlans.fid(vid), mac)
        self.table.entries[key] = Entry(port, 0, vid, "static")

    def set_carrier(self, port: str, up: bool) -> None:
        """What was learned at a port that goes down is forgotten (8.8.3)."""
        if up:
            self.carriers.add(port)
            return
        self.carriers.discard(port)
        self.table.forget(lambda _, entry: entry.port == port and entry.kind == "dynamic")

    def shut(self, port: str) -> None:
        """What on_limit=shutdown does: as if disabled, until recover() or another configuration of the port."""
        self._become(replace(self.now_is, shut=self.now_is.shut | {port}))

    def recover(self, port: str) -> None:
        self._become(replace(self.now_is, shut=self.now_is.shut - {port}))

    def change(
        self,
        ports: Mapping[str, Port | None],
        vlans: Vlans | None = None,
        sessions: Sequence[Session] | None = None,
    ) -> None:
        """Another configuration, at once. None removes a port. Forgets only the stations that it makes wrong."""
        before = self.now_is
        for name, port in sorted(ports.items(), key=lambda item: item[1] is not None):  # what goes makes room first
            self._number(name, port)
        kept = {**before.ports, **{name: port for name, port in ports.items() if port is not None}}
        self._become(
            Configuration(
                {name: kept[name] for name in self.numbers if name},
                before.vlans if vlans is None else vlans,
                before.sessions if sessions is None else tuple(sessions),
                frozenset(name for name in before.shut if kept[name] == before.ports[name] and name in self.numbers),
            )
        )

    def _become(self, new: Configuration) -> None:
        before, self.now_is = self.now_is, new
        self.carriers &= set(new.ports)
        self._forget_what_is_wrong(before)
        self._tell_table()
        self._set_buckets(before)

    def _number(self, name: str, port: Port | None) -> None:
        if port is None:
            self.numbers[self.numbers.index(name)] = ""
        elif name not in self.numbers and "" in self.numbers:
            self.numbers[self.numbers.index("")] = name
        elif name not in self.numbers:
            self.numbers.append(name)

    def _forget_what_is_wrong(self, before: Configuration) -> None:
        """Static stations go with their port and follow their VLAN to another FID; sticky ones wait for their port."""
        now = self.now_is
        stopped = {name for name in now.ports if not now.forwards(name)}
        moved = {key: entry for key, entry in self.table.entries.items() if now.vlans.fid(entry.vid) != key[0]}

        def wrong(key: Key, entry: Entry) -> bool:
            if entry.port not in now.ports or key in moved:
                return True
            if entry.kind == "static":
                return False
            if entry.port in stopped and entry.kind == "dynamic":
                return True
            return not now.admits(entry.port, entry.vid) and entry.vid not in now.carried(entry.port)

        self.table.forget(wrong)
        for (_, mac), entry in moved.items():
            if entry.kind == "static" and entry.port in now.ports:
                self.table.entries[now.vlans.fid(entry.vid), mac] = entry

    def _tell_table(self) -> None:
        ports = self.now_is.ports
        self.table.port_limits = {name: port.mac_limit for name, port in ports.items()}
        self.table.vlan_limits = dict(self.now_is.vlans.limits)
        self.table.sticky = {name for name, port in ports.items() if port.sticky}

    def _set_buckets(self, before: Configuration) -> None:
        """A port's buckets begin anew, full, when its storm control changes."""
        for name in {*before.ports, *self.now_is.ports}:
            old, new = before.ports.get(name), self.now_is.ports.get(name)
            if old is not None and new is not None and (old.storm, old.mtu) == (new.storm, new.mtu):
                continue
            for key in [key for key in self.buckets if key[0] == name]:
                del self.buckets[key]
            if new is not None:
                self.buckets.update({(name, kind): Bucket(rate, unit, new.mtu) for kind, rate, unit in new.storm})
