"""The MAC table against a dict: learning, finding, ageing, flushing, bounds, deletion inside probe chains."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from netvirt.dataplane.fdb import MacTable

LONG = bool(os.environ.get("VFAB_LONG"))
GOLDEN = 0x9E37_79B9_7F4A_7C15


def home(key: int, slots: int) -> int:
    """The slot that fdb.pxd gives a key: to build collisions on purpose."""
    return (key * GOLDEN & 2**64 - 1) >> (65 - slots.bit_length())


def colliding(count: int, slots: int, wanted: int) -> list[bytes]:
    """MACs that all begin at the slot `wanted` in VLAN 1."""
    found = []
    for number in range(1 << 24):
        if home(1 << 48 | 0x02_00_00_000000 | number, slots) == wanted:
            found.append((0x02_00_00_000000 | number).to_bytes(6, "big"))
            if len(found) == count:
                break
    return found


# Few stations, so that they meet again; some that collide, some at the table's end, so that chains wrap around.
SLOTS = 16
MACS = [*colliding(4, SLOTS, 15), *colliding(3, SLOTS, 14), *colliding(3, SLOTS, 0), bytes(6), b"\xff" * 6]
macs = st.sampled_from(MACS)
vids = st.sampled_from([1, 2, 4094])
ports = st.integers(0, 3)


class Model(RuleBasedStateMachine):
    """The dict says what the table must say. Seconds only run forward."""

    @initialize(limit=st.integers(1, 8), ageing=st.integers(1, 20), now=st.sampled_from([0, 1, 1000, 2**32 - 40]))
    def begin(self, limit: int, ageing: int, now: int) -> None:
        self.table = MacTable(limit, ageing)
        self.known: dict[tuple[int, bytes], tuple[int, int]] = {}  # -> (port, seen)
        self.now = now

    def fresh(self) -> dict[tuple[int, bytes], tuple[int, int]]:
        return {key: value for key, value in self.known.items() if self.now - value[1] < self.table.ageing}

    @rule(vid=vids, mac=macs, port=ports)
    def learn(self, vid: int, mac: bytes, port: int) -> None:
        key = (vid, mac)
        self.table.learn(vid, mac, port, self.now & 2**32 - 1)
        self.known = self.fresh()
        if key in self.known or len(self.known) < self.table.limit:
            self.known[key] = (port, self.now)

    @rule(vid=vids, mac=macs)
    def find(self, vid: int, mac: bytes) -> None:
        wanted = self.fresh().get((vid, mac))
        assert self.table.find(vid, mac, self.now & 2**32 - 1) == (wanted[0] if wanted else None)

    @rule(seconds=st.integers(1, 25))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def sweep(self) -> None:
        held = len(self.table)
        dropped = self.table.sweep(self.now & 2**32 - 1)
        assert len(self.table) == held - dropped == len(self.fresh())

    @rule(port=st.none() | ports, vid=st.none() | vids)
    def flush(self, port: int | None, vid: int | None) -> None:
        self.table.flush(-1 if port is None else port, -1 if vid is None else vid)
        self.known = {
            key: value
            for key, value in self.known.items()
            if (port is not None and value[0] != port) or (vid is not None and key[0] != vid)
        }

    @invariant()
    def the_same_stations(self) -> None:
        rows = sorted(self.table.entries(self.now & 2**32 - 1))
        assert rows == sorted((vid, mac, port, self.now - seen) for (vid, mac), (port, seen) in self.fresh().items())
        assert len(self.fresh()) <= len(self.table) <= self.table.limit
        for (vid, mac), (port, _) in self.fresh().items():
            assert self.table.find(vid, mac, self.now & 2**32 - 1) == port


TestAgainstADict = Model.TestCase
TestAgainstADict.settings = settings(max_examples=1500 if LONG else 60, stateful_step_count=40, deadline=None)


def test_all_zero_is_a_station_like_any_other() -> None:
    table = MacTable(4)
    table.learn(1, bytes(6), 7, 0)
    assert table.find(1, bytes(6), 0) == 7
    assert table.find(2, bytes(6), 0) is None


@pytest.mark.parametrize(("first", "count"), [(3, 5), (14, 5), (15, 8), (0, 8)])
def test_any_one_may_leave_a_probe_chain(first: int, count: int) -> None:
    """Deletion shifts back: whoever comes later in the chain is still found, also around the table's end."""
    chain = colliding(count, SLOTS, first)
    for leaving in range(count):
        table = MacTable(8)
        for port, mac in enumerate(chain):
            table.learn(1, mac, port, 0)
        assert table.flush(port=leaving) == 1
        for port, mac in enumerate(chain):
            assert table.find(1, mac, 0) == (None if port == leaving else port)


def test_a_full_table_refuses_counts_and_makes_room_once_stations_are_old() -> None:
    table = MacTable(limit=100, ageing=10)
    for n in range(150):
        table.learn(1, n.to_bytes(6, "big"), 0, 5)
    assert (len(table), table.statistics()["refused"]) == (100, 50)
    assert table.find(1, (149).to_bytes(6, "big"), 5) is None
    table.learn(1, (0).to_bytes(6, "big"), 1, 14)  # known ones are still refreshed, and may move
    assert table.statistics()["moved"] == 1
    table.learn(1, (149).to_bytes(6, "big"), 2, 15)
    assert (len(table), table.statistics()["aged"]) == (2, 99)
    assert table.find(1, (149).to_bytes(6, "big"), 15) == 2


def test_the_shipped_limit_is_held_and_every_station_found() -> None:
    table = MacTable()
    assert (table.limit, table.ageing) == (16384, 300)
    for n in range(20_000):
        table.learn(1 + n % 4094, n.to_bytes(6, "big"), n % 48, 0)
    assert table.statistics() == {
        "stations": 16384, "limit": 16384, "learned": 16384, "moved": 0, "aged": 0, "refused": 20_000 - 16384,
    }  # fmt: skip
    assert all(table.find(1 + n % 4094, n.to_bytes(6, "big"), 299) == n % 48 for n in range(16384))
    assert table.flush() == 16384
    assert (len(table), table.entries(0)) == (0, [])


def test_ageing_may_change_under_way() -> None:
    table = MacTable(4, ageing=300)
    table.learn(1, MACS[0], 3, 0)
    table.ageing = 10
    assert table.find(1, MACS[0], 9) == 3
    assert table.find(1, MACS[0], 10) is None


@pytest.mark.parametrize(("vid", "mac"), [(0, bytes(6)), (4095, bytes(6)), (1, bytes(5)), (1, bytes(7)), (1, b"")])
def test_what_can_be_no_station_is_a_mistake(vid: int, mac: bytes) -> None:
    table = MacTable(4)
    with pytest.raises(ValueError):
        table.learn(vid, mac, 0, 0)
    with pytest.raises(ValueError):
        table.find(vid, mac, 0)
