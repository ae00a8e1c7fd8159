"""The MAC table against a dict: learning, kinds, limits, ageing, flushing, eviction; and its size."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from netvirt.dataplane.fdb import MacTable

LONG = bool(os.environ.get("VFAB_LONG"))

# Few stations, so that they meet again.
MACS = [bytes([2, 0, 0, 0, 0, n]) for n in range(9)] + [bytes(6), b"\xff" * 6]
macs = st.sampled_from(MACS)
fids = st.sampled_from([1, 2, 4095])
vids = st.sampled_from([1, 2, 4094])
ports = st.sampled_from([0, 1, 2, 40])
Key = tuple[int, bytes]


def address(number: int) -> bytes:
    return number.to_bytes(6, "big")


class Known(NamedTuple):
    port: int
    seen: int
    vid: int
    kind: str


class Model(RuleBasedStateMachine):
    """The dict says what the table must say; only whom a full table evicts is the table's choice, within the rule.

    Seconds only run forward, and past the end of 32 bits.
    """

    @initialize(limit=st.integers(1, 12), ageing=st.integers(1, 20), now=st.sampled_from([0, 1, 1000, 2**32 - 40]),
                seed=st.integers(0, 2**128 - 1))  # fmt: skip
    def begin(self, limit: int, ageing: int, now: int, seed: int) -> None:
        self.table = MacTable(limit, ageing, seed)
        self.known: dict[Key, Known] = {}
        self.port_limits: Counter[int] = Counter()
        self.vlan_limits: Counter[int] = Counter()
        self.sticky: set[int] = set()
        self.now = now

    @property
    def clock(self) -> int:
        return self.now & 2**32 - 1

    def age(self) -> None:
        for key, entry in list(self.known.items()):
            if entry.kind == "dynamic" and self.now - entry.seen >= self.table.ageing:
                del self.known[key]

    def limited(self, old: Known | None, port: int, vid: int) -> bool:
        at_port = sum(entry.port == port for entry in self.known.values())
        in_vlan = sum(entry.vid == vid for entry in self.known.values())
        too_many_there = (old is None or old.port != port) and 0 < self.port_limits[port] <= at_port
        return too_many_there or ((old is None or old.vid != vid) and 0 < self.vlan_limits[vid] <= in_vlan)

    def make_room(self, port: int) -> bool:
        """Whom did the table evict? One of a port that had the most, the newcomer's own if that is one of them."""
        count = Counter(entry.port for entry in self.known.values() if entry.kind == "dynamic")
        if not count:
            return False
        most = max(count.values())
        gone = [key for key in self.known if self.table.find(*key, self.clock) is None]
        assert len(gone) == 1
        entry = self.known.pop(gone[0])
        assert entry.kind == "dynamic" and count[entry.port] == most
        assert count[port] < most or entry.port == port
        return True

    def expected(self, key: Key, port: int, vid: int, full: bool) -> str:
        old = self.known.get(key)
        if old is not None and old.kind != "dynamic" and old.port != port:
            return "fixed" if old.kind == "static" else "stuck"
        if old is not None and old.kind == "static":
            return "learned"
        if self.limited(old, port, vid):
            return "limited"
        if old is None and full and all(entry.kind != "dynamic" for entry in self.known.values()):
            return "full"
        self.known[key] = Known(port, self.now, vid, "sticky" if port in self.sticky else "dynamic")
        return "learned"

    @rule(fid=fids, mac=macs, port=ports, vid=vids)
    def learn(self, fid: int, mac: bytes, port: int, vid: int) -> None:
        self.age()
        before = dict(self.known)
        full = len(self.known) >= self.table.limit
        verdict = self.expected((fid, mac), port, vid, full)
        assert self.table.learn(fid, mac, port, self.clock, vid) == verdict
        if verdict == "learned" and full and (fid, mac) not in before:
            new = self.known.pop((fid, mac))
            assert self.make_room(port)
            self.known[fid, mac] = new

    @rule(fid=fids, mac=macs, port=ports, vid=vids)
    def add_static(self, fid: int, mac: bytes, port: int, vid: int) -> None:
        self.age()
        self.table.sweep(self.clock)
        if (fid, mac) not in self.known and len(self.known) >= self.table.limit:
            if all(entry.kind != "dynamic" for entry in self.known.values()):
                with pytest.raises(ValueError, match="no room"):
                    self.table.add_static(fid, mac, port, vid)
                return
            self.table.add_static(fid, mac, port, vid)
            assert self.make_room(port)
        else:
            self.table.add_static(fid, mac, port, vid)
        self.known[fid, mac] = Known(port, self.now, vid, "static")

    @rule(fid=fids, mac=macs)
    def remove(self, fid: int, mac: bytes) -> None:
        self.age()
        self.table.sweep(self.clock)
        assert self.table.remove(fid, mac) == (self.known.pop((fid, mac), None) is not None)

    @rule(port=ports, limit=st.integers(0, 4), sticky=st.booleans())
    def set_port_limit(self, port: int, limit: int, sticky: bool) -> None:
        self.table.set_port_limit(port, limit, sticky)
        self.port_limits[port] = limit
        (self.sticky.add if sticky else self.sticky.discard)(port)

    @rule(vid=vids, limit=st.integers(0, 5))
    def set_vlan_limit(self, vid: int, limit: int) -> None:
        self.table.set_vlan_limit(vid, limit)
        self.vlan_limits[vid] = limit

    @rule(fid=fids, mac=macs)
    def find(self, fid: int, mac: bytes) -> None:
        self.age()
        entry = self.known.get((fid, mac))
        assert self.table.find(fid, mac, self.clock) == (entry.port if entry else None)

    @rule(seconds=st.integers(1, 25))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def sweep(self) -> None:
        self.age()
        held = len(self.table)
        assert len(self.table) - len(self.known) == self.table.sweep(self.clock) == held - len(self.table)

    @rule(port=st.none() | ports, fid=st.none() | fids, vid=st.none() | vids, static=st.booleans())
    def flush(self, port: int | None, fid: int | None, vid: int | None, static: bool) -> None:
        self.age()
        self.table.sweep(self.clock)
        going = {
            key
            for key, entry in self.known.items()
            if port in (None, entry.port) and fid in (None, key[0]) and vid in (None, entry.vid)
            and (static or entry.kind == "dynamic")
        }  # fmt: skip
        a, b, c = (-1 if value is None else value for value in (port, fid, vid))
        assert self.table.flush(a, b, c, static=static) == len(going)
        for key in going:
            del self.known[key]

    @invariant()
    def the_same_stations(self) -> None:
        self.age()
        rows = sorted(self.table.entries(self.clock))
        assert rows == sorted(
            (entry.vid, mac, entry.port, 0 if entry.kind == "static" else self.now - entry.seen, entry.kind)
            for (_, mac), entry in self.known.items()
        )
        assert len(self.known) <= len(self.table) <= self.table.limit
        for (fid, mac), entry in self.known.items():
            assert self.table.find(fid, mac, self.clock) == entry.port

    @invariant()
    def the_same_counts(self) -> None:
        self.age()
        counts = self.table.statistics(by_port=True)["ports"]
        assert sum(counts.values()) == len(self.table)
        if len(self.table) == len(self.known):
            assert counts == Counter(entry.port for entry in self.known.values())


TestAgainstADict = Model.TestCase
TestAgainstADict.settings = settings(max_examples=1500 if LONG else 30, stateful_step_count=40, deadline=None)


def test_all_zero_is_a_station_like_any_other() -> None:
    table = MacTable(4)
    table.learn(1, bytes(6), 7, 0)
    assert table.find(1, bytes(6), 0) == 7
    assert table.find(2, bytes(6), 0) is None


def test_a_full_table_makes_room_from_old_stations_first() -> None:
    table = MacTable(limit=100, ageing=10)
    for n in range(100):
        table.learn(1, address(n), 0, 5)
    table.learn(1, address(0), 1, 14)  # known ones are still refreshed, and may move
    assert table.statistics()["moved"] == 1
    table.learn(1, address(149), 2, 15)
    assert (len(table), table.statistics()["aged"], table.statistics()["evicted"]) == (2, 99, 0)
    assert table.find(1, address(149), 15) == 2


def test_the_shipped_limit_is_held_and_every_station_found() -> None:
    table = MacTable()
    assert (table.limit, table.ageing) == (16384, 300)
    for n in range(20_000):
        table.learn(1 + n % 4094, address(n), n % 48, 0)
    counts = table.statistics()
    assert counts == {
        "stations": 16384, "limit": 16384, "learned": 20_000, "moved": 0, "aged": 0, "refused": 0, "limited": 0,
        "evicted": 20_000 - 16384,
    }  # fmt: skip
    found = [table.find(1 + n % 4094, address(n), 299) for n in range(20_000)]
    assert all(port in (None, n % 48) for n, port in enumerate(found))
    assert len(found) - found.count(None) == 16384
    assert table.flush() == 16384
    assert (len(table), table.entries(0)) == (0, [])


@pytest.mark.parametrize("noisy", [0, 47])
def test_a_flood_on_one_port_pushes_out_only_its_own(noisy: int) -> None:
    table = MacTable(limit=1000, seed=1)
    quiet = {address(port << 16 | n): port for port in range(48) if port != noisy for n in range(10)}
    for mac, port in quiet.items():
        table.learn(1, mac, port, 0)
    for n in range(50_000):
        assert table.learn(1, address(1 << 40 | n), noisy, 0) == "learned"
    assert all(table.find(1, mac, 0) == port for mac, port in quiet.items())
    assert table.statistics(by_port=True)["ports"][noisy] == 1000 - len(quiet)


def test_a_flood_spares_the_ports_own_stations_that_speak_again() -> None:
    table = MacTable(limit=100, seed=2)
    regulars = [address(n) for n in range(5)]
    for n in range(5000):
        table.learn(1, address(1 << 40 | n), 0, 0)
        table.learn(1, regulars[n % 5], 0, 0)
    assert [table.find(1, mac, 0) for mac in regulars] == [0] * 5
    assert table.statistics()["learned"] == 5005


def test_two_floods_share_and_a_third_port_gets_its_part() -> None:
    table = MacTable(limit=900, seed=3)
    for n in range(5000):
        table.learn(1, address(1 << 40 | n), 1, 0)
        table.learn(1, address(2 << 40 | n), 2, 0)
    assert table.statistics(by_port=True)["ports"] == {1: 450, 2: 450}
    for n in range(5000):
        table.learn(1, address(3 << 40 | n), 3, 0)
    assert table.statistics(by_port=True)["ports"] == {1: 300, 2: 300, 3: 300}


def test_a_table_full_of_static_stations_learns_nobody() -> None:
    table = MacTable(limit=3)
    for n in range(3):
        table.add_static(1, address(n), 0)
    assert table.learn(1, address(9), 1, 0) == "full"
    with pytest.raises(ValueError, match="its limit is 3"):
        table.add_static(1, address(9), 1)
    assert table.statistics()["refused"] == 1


def test_a_lower_limit_evicts_and_a_higher_one_keeps_everybody() -> None:
    table = MacTable(limit=500)
    for n in range(500):
        table.learn(1, address(n), n % 3, 0)
    table.limit = 5000
    assert len(table) == 500
    table.add_static(1, address(0), 0)
    table.limit = 10
    assert (len(table), table.find(1, address(0), 0)) == (10, 0)


# What an attacker, or a rack of equal machines, would send: runs, strides, few bits, the same low or high octets.
PATTERNS: dict[str, Callable[[int], int]] = {
    "a run": lambda n: n,
    "a stride of 256": lambda n: n << 8,
    "a stride of 65536": lambda n: n << 16,
    "a stride of 2**24": lambda n: (n << 24 | n >> 16) & 2**48 - 1,
    "Fibonacci": lambda n: n * 0x9E37_79B9_7F4A & 2**48 - 1,
    "reversed bits": lambda n: int(f"{n:048b}"[::-1], 2),
}


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("seed", [0, 1, 2**128 - 1, 0x0123_4567_89AB_CDEF << 64, random.Random(4).getrandbits(128)])
def test_no_pattern_of_addresses_costs_more(pattern: str, seed: int) -> None:
    """A lookup is two cache lines, always. What bad hashing would cost is memory, and then refusals."""
    table = MacTable(limit=32768, seed=seed)
    for n in range(32768):
        table.learn(1 + n % 3, address(PATTERNS[pattern](n)), 0, 0)
    assert (len(table), table.statistics()["refused"]) == (32768, 0)
    assert table.nbytes < 64 * 32768
    assert all(table.find(1 + n % 3, address(PATTERNS[pattern](n)), 0) == 0 for n in range(0, 32768, 7))


def test_memory_grows_with_use_and_comes_back() -> None:
    table = MacTable(limit=1 << 20)
    idle = table.nbytes
    assert idle < 8192
    for n in range(30_000):
        table.learn(1, address(n), n % 100, 0)
        if n in (100, 1000, 10_000):
            assert table.nbytes < 16384 + 64 * n
    assert table.flush(port=1) == 300
    assert table.sweep(300) == 29_700
    assert table.nbytes < idle + 8192
    table.learn(1, address(7), 3, 300)
    assert table.find(1, address(7), 300) == 3


def test_pages_are_all_stations_once_and_may_be_of_a_port_a_vlan_an_address() -> None:
    table = MacTable(limit=5000, ageing=10)
    for n in range(3000):
        table.learn(1 + n % 3, address(n // 2), n % 5, n % 2)
    table.add_static(4, address(7), 9)
    place: int | None = 0
    rows, pages = [], 0
    while place is not None:
        found, place = table.page(5, place, 100)
        assert len(found) < 100 + 256
        rows += found
        pages += 1
    assert pages > 5 and sorted(rows) == sorted(table.entries(5)) and len(set(rows)) == 3001
    assert {row for row in rows if row[2] == 3} == set(table.page(5, 0, 9999, port=3)[0])
    assert {row for row in rows if row[0] == 2} == set(table.page(5, 0, 9999, vid=2)[0])
    assert {row for row in rows if row[1] == address(7)} == set(table.page(5, 0, 9999, mac=address(7))[0])
    assert table.page(5, 1 << 31, 10) == ([], None)
    assert table.by_vlan(5) == {1: 1000, 2: 1000, 3: 1000, 4: 1}
    assert table.by_vlan(10) == {1: 500, 2: 500, 3: 500, 4: 1}  # half of them have aged, swept or not


def test_ageing_may_change_under_way() -> None:
    table = MacTable(4, ageing=300)
    table.learn(1, MACS[0], 3, 0)
    table.ageing = 10
    assert table.find(1, MACS[0], 9) == 3
    assert table.find(1, MACS[0], 10) is None


@pytest.mark.parametrize(
    ("fid", "mac", "vid"),
    [(0, bytes(6), 1), (4096, bytes(6), 1), (1, bytes(5), 1), (1, bytes(7), 1), (1, b"", 1), (1, bytes(6), 0),
     (1, bytes(6), 4095)],
)  # fmt: skip
def test_what_can_be_no_station_is_a_mistake(fid: int, mac: bytes, vid: int) -> None:
    table = MacTable(4)
    with pytest.raises(ValueError):
        table.learn(fid, mac, 0, 0, vid)
    with pytest.raises(ValueError):
        table.add_static(fid, mac, 0, vid)
    with pytest.raises(ValueError):
        table.learn(1, bytes(6), 65535, 0)
