"""The compiled switch against the slow one (tests/support/reference.py) with generated ports, frames, changes and time.

What must be identical: the bytes that leave each port, in order; the MAC tables; the drops by reason.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from netvirt.burst import Burst
from netvirt.switch import SECOND, PortSettings, Switch
from tests.support import reference

LONG = bool(os.environ.get("VFAB_LONG"))

# Mostly the same VLAN, so that ports have somebody to talk to.
vids = st.sampled_from([1] * 6 + [2, 2, 63, 64, 4094])
NAMES = ("p0", "p1", "p2", "p3", "p4")

stations = st.sampled_from([bytes([2, 0, 0, 0, 0, n]) for n in range(1, 6)])
GROUPS = [
    b"\xff" * 6,
    *map(bytes.fromhex, ("01005e000001", "0180c2000000", "0180c200000f", "0180c2000010", "0180c2000021")),
]
destinations = st.one_of(stations, stations, st.sampled_from(GROUPS))
sources = st.one_of(*[stations] * 6, st.sampled_from([b"\xff" * 6, b"\x03" + bytes(5), bytes(6)]))
tcis = st.builds(
    lambda pcp, dei, vid: (pcp << 13 | dei << 12 | vid).to_bytes(2, "big"),
    st.integers(0, 7), st.integers(0, 1), st.one_of(vids, vids, st.sampled_from([0, 0, 5, 4095])),
)  # fmt: skip
tags = st.one_of(
    st.just(b""),
    tcis.map(lambda tci: b"\x81\x00" + tci),
    tcis.map(lambda tci: b"\x81\x00" + tci),
    st.tuples(tcis, tcis).map(lambda two: b"\x81\x00" + two[0] + b"\x81\x00" + two[1]),
    tcis.map(lambda tci: b"\x88\xa8" + tci),
    tcis.map(lambda tci: b"\x88\xa8" + tci + b"\x81\x00" + tci),
)
payloads = st.one_of(
    st.just(b"\x08\x00x"), st.binary(max_size=8), st.integers(96, 105).map(lambda size: b"\x08\x00" + bytes(size))
)


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    kind = draw(st.integers(0, 9))
    if kind == 8:
        return draw(st.binary(max_size=20))
    if kind == 9:  # just long enough for a tag, or not
        return (draw(stations) + draw(stations) + b"\x81\x00\x00\x01\x08\x00")[: draw(st.integers(12, 18))]
    return draw(destinations) + draw(sources) + draw(tags) + draw(payloads)


@st.composite
def ports(draw: st.DrawFn) -> PortSettings:
    mode, pvid, allowed = draw(st.sampled_from(["access", "trunk"])), draw(vids), draw(st.frozensets(vids))
    if mode == "trunk":
        pvid = draw(st.sampled_from([0, pvid]))
        allowed |= {pvid} - {0}
    state = draw(st.sampled_from(["forwarding"] * 6 + ["blocked", "disabled"]))
    mtu = draw(st.sampled_from([9216, 9216, 100, 103]))
    return PortSettings(mode, pvid, allowed, draw(st.integers(0, 7)), state, mtu)


def message(batch: list[bytes]) -> bytes:
    """A FRAMES message, also with frames that no Burst would take."""
    out = b"".join(len(frame).to_bytes(4, "little") + bytes(20) + frame for frame in batch)
    return b"VB\x01\x00" + len(batch).to_bytes(4, "little") + bytes(8) + out


class Both(RuleBasedStateMachine):
    """One switch twice. Time runs in whole seconds, which is what the compiled one knows of ages."""

    @initialize(all_ports=st.lists(ports(), min_size=2, max_size=5), ageing=st.sampled_from([5, 300]),
                limit=st.sampled_from([2, 4, 1000]))  # fmt: skip
    def begin(self, all_ports: list[PortSettings], ageing: int, limit: int) -> None:
        self.now = 1000
        self.fast = Switch("s1", ageing_s=ageing, mac_limit=limit)
        self.slow = reference.ReferenceSwitch({}, ageing_ns=ageing * SECOND, capacity=limit)
        self.gone: Counter[str] = Counter()  # drops that were counted at ports which are no more
        for name, settings_ in zip(NAMES, all_ports, strict=False):
            self.set_port(name, settings_)

    def set_port(self, name: str, new: PortSettings) -> None:
        old = self.slow.ports.get(name)
        self.fast.set_port(name, new)
        self.fast.set_carrier(name, True)
        port = reference.Port(new.mode, new.pvid, new.allowed, new.priority, new.state, new.mtu)
        if old is not None and self.tables(old) != self.tables(port):
            self.slow.forget_port(name)
        self.slow.ports[name] = port

    @staticmethod
    def tables(port: reference.Port) -> Any:
        return frozenset(filter(port.is_member, range(1, 4095))), port.pvid, port.state

    def drops(self) -> Counter[str]:
        found = Counter(self.gone)
        for name in self.fast.ports:
            found.update(self.fast.plane.statistics(self.fast.number(name))["drops"])
        return found

    @rule(pick=st.integers(0, 4), batch=st.lists(frames(), min_size=1, max_size=10))
    def send(self, pick: int, batch: list[bytes]) -> None:
        name = sorted(self.slow.ports)[pick % len(self.slow.ports)]
        wanted: dict[str, list[bytes]] = {}
        for frame in batch:
            for port, data in self.slow.process(name, frame, self.now * SECOND):
                wanted.setdefault(port, []).append(data)
        self.fast.process(self.fast.number(name), message(batch), self.now * SECOND, 1)
        got: dict[str, list[bytes]] = {}
        pending = [self.fast.port_name(number) for number in self.fast.plane.pending()]
        for port in pending:
            queue = self.fast.queue(port)
            while (head := queue.head()) is not None:
                got.setdefault(port, []).extend(Burst.parse(head).frames())
                queue.pop()
        assert got == wanted
        assert self.drops() == self.slow.drops
        self.compare_tables()

    def compare_tables(self) -> None:
        now = self.now * SECOND
        wanted = sorted(
            (vid, mac.hex(":"), entry.port, (now - entry.seen) // SECOND)
            for (vid, mac), entry in self.slow.table.items()
            if now - entry.seen < self.slow.ageing_ns
        )
        got = [(row["vid"], row["mac"], row["port"], row["age_s"]) for row in self.fast.stations(now)]
        assert got == wanted
        assert self.fast.plane.macs.statistics()["refused"] == self.slow.not_learned

    @rule(seconds=st.sampled_from([1, 4, 5, 5, 6, 299, 300]))
    def wait(self, seconds: int) -> None:
        self.now += seconds
        self.compare_tables()

    @rule()
    def tick(self) -> None:
        self.fast.tick(self.now * SECOND)
        self.compare_tables()

    @rule(name=st.sampled_from(NAMES), new=ports())
    def configure(self, name: str, new: PortSettings) -> None:
        self.set_port(name, new)
        self.compare_tables()

    @precondition(lambda self: len(self.slow.ports) > 2)
    @rule(pick=st.integers(0, 4))
    def remove(self, pick: int) -> None:
        name = sorted(self.slow.ports)[pick % len(self.slow.ports)]
        self.gone.update(self.fast.plane.statistics(self.fast.number(name))["drops"])
        self.fast.remove_port(name)
        self.slow.forget_port(name)
        del self.slow.ports[name]
        self.compare_tables()

    @rule(pick=st.integers(0, 4))
    def unplug_and_plug(self, pick: int) -> None:
        name = sorted(self.slow.ports)[pick % len(self.slow.ports)]
        self.fast.set_carrier(name, False)
        self.fast.set_carrier(name, True)
        self.slow.forget_port(name)


TestAgainstTheReference = Both.TestCase
TestAgainstTheReference.settings = settings(
    max_examples=3000 if LONG else 200, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
