"""What a trace says leaves a switch is what leaves it, byte for byte, whatever its settings, stations, frames are."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from netvirt.burst import Burst
from netvirt.dataplane.drops import REASONS
from netvirt.modes import tables
from netvirt.settings import Mirror, PortSettings, VlanSettings
from netvirt.switch import SECOND, Switch
from tests.support.switch_traffic import NAMES, STATIONS, frame, message, mirrors, ports, vlans
from tools.journey import Copy, Hop, pass_through
from tools.wiring import Wiring

NOBODY = Wiring({}, [])


def leaving(switch: Switch, port: str, data: bytes, now: int) -> dict[str, list[bytes]]:
    """What the switch itself sends because of one frame."""
    switch.process(switch.number(port), message([data]), now, 1)
    found: dict[str, list[bytes]] = {}
    for number in switch.plane.pending():
        name = switch.port_name(number)
        while (head := switch.queue(name).head()) is not None:
            found.setdefault(name, []).extend(Burst.parse(head).frames())
            switch.queue(name).pop()
    return found


def drops(switch: Switch) -> dict[tuple[str, str], int]:
    return {
        (name, why): count
        for name in switch.ports
        for why, count in switch.plane.statistics(switch.number(name))["drops"].items()
    }


def check(switch: Switch, port: str, data: bytes, now: int) -> None:
    """One frame: a trace on a copy first, then the switch itself."""
    value = json.loads(json.dumps(switch.snapshot(now)))
    copy = Switch.restore(value)
    assert json.loads(json.dumps(copy.snapshot(now))) == value
    hop = Hop("s1", port, data)
    pass_through(hop, Copy(copy, now), NOBODY)
    before = drops(switch)
    sent = leaving(switch, port, data, now)
    told: dict[str, list[bytes]] = {}
    for way in hop.ways:
        told.setdefault(way.port, []).append(way.frame)
    assert told == sent, (port, data[:40].hex(), len(data))
    counted = {key: count - before.get(key, 0) for key, count in drops(switch).items() if count > before.get(key, 0)}
    assert sum(counted.values()) == sum(line.rule in ("drop", "lost") for line in hop.lines)
    assert set(counted) == {(line.port, line.reason) for line in hop.lines if line.rule in ("drop", "lost")}
    assert any(line.rule == "drop" for line in hop.lines) or any(not way.mirror for way in hop.ways), (
        "it ends somewhere"
    )
    assert {line.reason for line in hop.lines if line.reason} <= set(REASONS)
    vid = next((int(line.text.split()[1].rstrip(",")) for line in hop.lines if line.rule == "vlan"), 0)
    for line in hop.left_out:
        member = tables(switch.ports[line.port], switch.vlans)["member"]
        assert (line.reason == "not-in-vlan") <= (vid not in member), line
    for line in (*hop.lines, *hop.left_out):
        assert line.text and line.text.isprintable() and "{" not in line.text + line.advice
    assert stations(copy, now) == stations(switch, now), "the copy has learned the same"


def stations(switch: Switch, now: int) -> set[tuple[int, str, str, str]]:
    return {(row["vid"], row["mac"], row["port"], row["kind"]) for row in switch.stations(now)}


@st.composite
def settings(draw: st.DrawFn) -> tuple[VlanSettings, dict[str, PortSettings], Sequence[Mirror]]:
    around = draw(vlans())
    made = {name: draw(ports(around)) for name in NAMES[: draw(st.integers(2, len(NAMES)))]}
    return around, made, draw(mirrors(list(made), around))


@given(settings(), st.integers(0, 2**32), st.lists(st.booleans(), min_size=6, max_size=6), st.integers(5, 25))
def test_a_copy_does_what_the_switch_does(
    configured: tuple[VlanSettings, dict[str, PortSettings], Sequence[Mirror]], seed: int, up: list[bool], count: int
) -> None:
    around, made, sessions = configured
    dice = random.Random(seed)
    switch = Switch("s1", ageing_s=30)
    switch.change(made, around, sessions)
    for name, connected in zip(made, up, strict=False):
        switch.set_carrier(name, connected or dice.random() < 0.8)
    if dice.random() < 0.5:
        switch.add_station(1, dice.choice(STATIONS), dice.choice(list(made)))
    now = 1000 * SECOND
    for _ in range(count):
        now += dice.choice((0, 1, SECOND // 20, SECOND, 20 * SECOND))
        port = dice.choice(list(made))
        data = frame(dice, made[port])
        if len(data) >= 14:
            check(switch, port, data, now)
        switch.tick(now)
        if dice.random() < 0.1:
            switch.flush_stations(port)


def test_a_switch_with_every_kind_of_ending() -> None:
    """That the frames above do not all fall at the first rule."""
    dice, seen = random.Random(4), set()
    made = {
        "p0": PortSettings(),
        "p1": PortSettings("trunk", 0, frozenset({1, 2, 63}), mtu=100),
        "p2": PortSettings("native-tagged", 2, frozenset({1, 63})),
    }
    switch = Switch("s1")
    switch.change(made, mirrors=[Mirror("m", frozenset({"p0"}), frozenset({"p1"}), to_port="p2")])
    for name in made:
        switch.set_carrier(name, True)
    copy = Copy(switch, 0)
    for _ in range(2000):
        port = dice.choice(list(made))
        data = frame(dice, made[port])
        if len(data) >= 14:
            hop = Hop("s1", port, data)
            pass_through(hop, copy, NOBODY)
            seen |= {line.reason or line.rule for line in hop.lines} | {
                "copy" if way.mirror else "left" for way in hop.ways
            }
    assert seen >= {
        "tag", "untagged", "vlan", "learn", "found", "flood", "left", "copy", "oversize", "bad-source", "bad-vid",
        "tagged-not-accepted", "untagged-not-accepted", "vlan-not-allowed", "reserved-address", "no-destination",
        "mirror-port",
    }  # fmt: skip
