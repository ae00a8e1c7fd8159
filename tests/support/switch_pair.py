"""The compiled switch and the slow one (reference_switch.py) side by side: the same in, and the same must come out.

Knows: how a configuration is said to both, how the outcome of both is compared, how the choice that the standard leaves
open (who leaves a full MAC table) is told to the slow one. Refuses to know: which configurations and frames are tried.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from netvirt.burst import Burst
from netvirt.settings import Mirror, PortSettings, VlanSettings
from netvirt.switch import SECOND, Switch
from tests.support import reference_settings as slowly
from tests.support.reference_switch import ReferenceSwitch
from tests.support.reference_table import Key, Table
from tests.support.switch_traffic import message

Row = tuple[int, str, str, int, str]  # VID, MAC, port, age, kind


class Pair:
    """Time is nanoseconds, and runs where `now` is set."""

    def __init__(self, *, ageing_s: int = 300, capacity: int = 16384) -> None:
        self.now = 1000 * SECOND
        self.fast = Switch("s1", ageing_s=ageing_s, mac_limit=capacity)
        self.slow = ReferenceSwitch(ageing_s=ageing_s, capacity=capacity)
        self.slow.table.choose = self._who_went
        self.gone: Counter[tuple[str, str]] = Counter()  # drops that were counted at ports which are no more
        self.sessions: tuple[Mirror, ...] = ()

    @property
    def names(self) -> list[str]:
        return sorted(self.slow.ports)

    def change(
        self,
        ports: Mapping[str, PortSettings | None],
        vlans: VlanSettings | None = None,
        mirrors: Sequence[Mirror] | None = None,
    ) -> None:
        """The same change of both. A new port has nobody connected."""
        for name in [name for name, port in ports.items() if port is None]:
            self.gone.update({(name, why): count for why, count in self._drops_at(name).items()})
        self.fast.change(dict(ports), vlans=vlans, mirrors=mirrors)
        self.slow.change(
            {name: None if port is None else slowly.Port(**port._asdict()) for name, port in ports.items()},
            None if vlans is None else slowly.Vlans(**vlans._asdict()),
            None if mirrors is None else [slowly.Session(**mirror._asdict()) for mirror in mirrors],
        )
        self.compare()

    def set_carrier(self, name: str, up: bool) -> None:
        self.fast.set_carrier(name, up)
        self.slow.set_carrier(name, up)
        self.compare()

    def add_station(self, vid: int, mac: bytes, port: str) -> None:
        self.fast.add_station(vid, mac, port)
        self.slow.add_station(vid, mac, port)
        self.compare()

    def recover(self, name: str) -> None:
        self.fast.recover(name)
        self.slow.recover(name)
        self.compare()

    def send(self, port: str, batch: Sequence[bytes]) -> None:
        """One burst. Frame by frame where the MAC table may be full: who had to go is seen between two frames."""
        full = len(self.slow.table.entries) + len(batch) > self.slow.table.capacity
        for part in [[frame] for frame in batch] if full else [list(batch)]:
            self.fast.process(self.fast.number(port), message(part), self.now, 1)
            got = self._leaving()
            wanted: dict[str, list[bytes]] = {}
            for frame in part:
                for name, data in self.slow.process(port, frame, self.now):
                    wanted.setdefault(name, []).append(data)
            assert got == wanted, (port, _brief(part), _briefly(got), _briefly(wanted))
        self.compare()

    def _leaving(self) -> dict[str, list[bytes]]:
        got: dict[str, list[bytes]] = {}
        for number in self.fast.plane.pending():
            name = self.fast.port_name(number)
            queue = self.fast.queue(name)
            while (head := queue.head()) is not None:
                got.setdefault(name, []).extend(Burst.parse(head).frames())
                queue.pop()
        return got

    # What must be the same afterwards.

    def compare(self) -> None:
        fast, slow = self._fast_rows(), self._slow_rows()
        assert fast == slow, ("MAC table, compiled and slow", fast, slow)
        counted = self.drops()
        assert counted == self.slow.drops, (
            "drops, compiled and slow",
            counted - self.slow.drops,
            self.slow.drops - counted,
        )
        assert set(self.fast.violations()) == self.slow.now_is.shut

    def drops(self) -> Counter[tuple[str, str]]:
        found = Counter(self.gone)
        for name in self.fast.ports:
            found.update({(name, why): count for why, count in self._drops_at(name).items()})
        return found

    def _drops_at(self, name: str) -> dict[str, int]:
        return self.fast.plane.statistics(self.fast.number(name))["drops"]

    def _fast_rows(self) -> list[Row]:
        rows = self.fast.stations(self.now)
        return sorted(
            (row["vid"], row["mac"], row["port"], row["age_s"] if row["kind"] == "dynamic" else 0, row["kind"])
            for row in rows
        )

    def _slow_rows(self) -> list[Row]:
        now = self.now // SECOND
        self.slow.table.forget_old(now)
        return sorted(
            (entry.vid, mac.hex(":"), entry.port, now - entry.seen if entry.kind == "dynamic" else 0, entry.kind)
            for (_, mac), entry in self.slow.table.entries.items()
        )

    def _who_went(self, table: Table) -> Key | None:
        """Whom the compiled table let go for the station that it has just learned: one of those that may go."""
        candidates = table.may_go()
        if not candidates:
            return None
        vlans = self.slow.now_is.vlans
        there = {(vlans.fid(row[0]), row[1]) for row in self._fast_rows()}
        gone = [key for key in table.entries if (key[0], key[1].hex(":")) not in there]
        assert len(gone) == 1, "a full table makes room for one station"
        assert gone[0] in candidates, "room is made at the port that has most stations"
        return gone[0]


def _brief(frames: Sequence[bytes]) -> list[str]:
    return [f"{frame[:30].hex()} ({len(frame)})" for frame in frames]


def _briefly(leaving: Mapping[str, Sequence[bytes]]) -> dict[str, list[str]]:
    return {name: _brief(frames) for name, frames in sorted(leaving.items())}
