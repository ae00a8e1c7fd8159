"""From what switches have counted at two moments to how much passes each port per second. Pure.

Knows: counters, differences, sorting, the table. Refuses to know: files, clocks, terminals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from netvirt.dataplane.counters import PortCounters, SwitchCounters
from tools.output import table

Looked = Mapping[str, SwitchCounters]  # by switch

HEADER = ("PORT", "LINK", "RX FRAMES/S", "RX BIT/S", "TX FRAMES/S", "TX BIT/S", "DROPS/S", "MOSTLY", "WAITING")
_UNITS = (("G", 1e9), ("M", 1e6), ("k", 1e3))


class PortRate(NamedTuple):
    """Of one port, per second; `reason` is that of most drops, "" without any. `waiting`: frames in its queue now."""

    switch: str
    port: str
    carrier: bool
    rx_frames: float
    rx_bits: float
    tx_frames: float
    tx_bits: float
    drops: float
    reason: str
    waiting: int

    @property
    def busy(self) -> float:
        return self.rx_frames + self.tx_frames


def rates(before: Looked, after: Looked, seconds: float) -> list[PortRate]:
    """Every port that is there now, the busiest first. A switch or port that is new has counted from 0."""
    found = [
        _rate(switch, _same(before.get(switch), counted, port), port, seconds)
        for switch, counted in after.items()
        for port in counted.ports
    ]
    return sorted(found, key=lambda rate: (-rate.busy, -rate.drops, rate.switch, rate.port))


def _same(before: SwitchCounters | None, after: SwitchCounters, port: PortCounters) -> PortCounters | None:
    """What the same port had counted; None for one of a process that is no more."""
    if before is None or (before.pid, before.epoch) != (after.pid, after.epoch):
        return None
    return next((old for old in before.ports if (old.number, old.name) == (port.number, port.name)), None)


def _rate(switch: str, old: PortCounters | None, new: PortCounters, seconds: float) -> PortRate:
    def per_second(now: int, then: int) -> float:
        return max(0, now - then) / seconds  # a port that was removed and made again under its name has begun anew

    drops = {reason: per_second(count, old.drops.get(reason, 0) if old else 0) for reason, count in new.drops.items()}
    most = max(drops, key=lambda reason: drops[reason], default="")
    return PortRate(
        switch,
        new.name,
        new.carrier,
        per_second(new.rx_frames, old.rx_frames if old else 0),
        per_second(new.rx_bytes, old.rx_bytes if old else 0) * 8,
        per_second(new.tx_frames, old.tx_frames if old else 0),
        per_second(new.tx_bytes, old.tx_bytes if old else 0) * 8,
        sum(drops.values()),
        most if drops and drops[most] else "",
        new.waiting,
    )


def short(number: float) -> str:
    """`0`, `0.4`, `12`, `999`, `1.23k`, `45.6M`: three digits are enough to look at."""
    for unit, size in _UNITS:
        if number >= 0.9995 * size:
            scaled = number / size
            return f"{scaled:.{2 if scaled < 9.995 else 1 if scaled < 99.95 else 0}f}{unit}"
    return f"{number:.1f}" if 0 < number < 9.95 and number != int(number) else f"{number:.0f}"


def shown(rows: Iterable[PortRate]) -> str:
    """The rows as a table."""
    return table(
        HEADER,
        [
            (
                f"{row.switch}:{row.port}",
                "up" if row.carrier else "down",
                *(short(value) for value in row[3:8]),
                row.reason,
                row.waiting or "",
            )
            for row in rows
        ],
    )
