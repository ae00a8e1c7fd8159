"""The reference switch's filtering database: learning (IEEE Std 802.1Q-2018 clause 8.7), ageing (8.8.3), static ones.

Knows: who is known where, how many may be, who stays. Refuses to know: frames, ports' modes, and everything in netvirt.

Ages run in whole seconds of the clock, which is how finely 8.8.3 tells the ageing time. Who has to go when the
table is full, the standard leaves open: whoever runs this says it (`choose`), and the rule of virtfab, one of the port
that has most of them, is checked with `may_go()`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

Key = tuple[int, bytes]  # FID, MAC


@dataclass
class Entry:
    port: str
    seen: int  # seconds
    vid: int
    kind: str = "dynamic"  # dynamic | static | sticky


def first_that_may_go(table: Table) -> Key | None:
    candidates = table.may_go()
    return min(candidates, key=lambda key: table.entries[key].seen) if candidates else None


@dataclass
class Table:
    """`learn()` answers with a word: learned, full, limited, fixed (static elsewhere) or stuck (sticky elsewhere)."""

    ageing: int = 300
    capacity: int = 16384
    port_limits: dict[str, int] = field(default_factory=dict)
    vlan_limits: dict[int, int] = field(default_factory=dict)
    sticky: set[str] = field(default_factory=set)
    entries: dict[Key, Entry] = field(default_factory=dict)
    choose: Callable[[Table], Key | None] = first_that_may_go

    def learn(self, key: Key, vid: int, port: str, now: int) -> str:
        self.forget_old(now)
        entry = self.entries.get(key)
        if entry is not None and entry.port != port and entry.kind != "dynamic":
            return "fixed" if entry.kind == "static" else "stuck"
        if entry is not None and entry.kind == "static":
            return "learned"
        if self._limited(entry, vid, port):
            return "limited"
        if entry is None and len(self.entries) >= self.capacity:
            gone = self.choose(self)
            if gone is None:
                return "full"
            del self.entries[gone]
        kind = "sticky" if port in self.sticky else "dynamic"
        self.entries[key] = Entry(port, now, vid, kind)
        return "learned"

    def _limited(self, entry: Entry | None, vid: int, port: str) -> bool:
        """Would the port, or the VLAN, have one more than it may?"""
        if entry is None or entry.port != port:
            limit = self.port_limits.get(port, 0)
            if limit and sum(known.port == port for known in self.entries.values()) >= limit:
                return True
        if entry is None or entry.vid != vid:
            limit = self.vlan_limits.get(vid, 0)
            if limit and sum(known.vid == vid for known in self.entries.values()) >= limit:
                return True
        return False

    def find(self, key: Key, now: int) -> str | None:
        self.forget_old(now)
        entry = self.entries.get(key)
        return entry.port if entry is not None else None

    def may_go(self) -> set[Key]:
        """The dynamic stations of the ports that have the most of them."""
        count = Counter(entry.port for entry in self.entries.values() if entry.kind == "dynamic")
        most = max(count.values(), default=0)
        return {key for key, entry in self.entries.items() if entry.kind == "dynamic" and count[entry.port] == most}

    def forget_old(self, now: int) -> None:
        self.forget(lambda _, entry: entry.kind == "dynamic" and now - entry.seen >= self.ageing)

    def forget(self, which: Callable[[Key, Entry], bool]) -> None:
        for key in [key for key, entry in self.entries.items() if which(key, entry)]:
            del self.entries[key]
