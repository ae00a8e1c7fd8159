"""Changes of a running switch: everything or nothing, and no station forgotten that is still right."""

from __future__ import annotations

import pytest

from netvirt.settings import Mirror, PortSettings, VlanSettings
from netvirt.switch import SECOND, Switch
from tests.support.forwarded import tag
from tests.support.switch_bench import ALL, IP, A, B, Bench, C

TRUNK = PortSettings("trunk", 0, frozenset({10, 20}))
PORTS = {"a": PortSettings(pvid=10), "b": PortSettings(pvid=10), "t": TRUNK}
MIRROR = Mirror("one", frozenset({"a"}), to_port="b")
GOOD: dict[str, PortSettings | None] = {"a": PortSettings(pvid=20), "new": PortSettings(pvid=10), "t": None}


def learned() -> Bench:
    bench = Bench(PORTS)
    bench.send("a", ALL + A + IP)
    bench.send("t", ALL + B + tag(10) + IP, ALL + B + tag(20) + IP)
    return bench


WRONG = [
    ({**GOOD, "b": PortSettings("native-tagged", 0, frozenset({1}))}, None, None, "needs a VLAN"),
    (GOOD, VlanSettings(private=((30, 31, (31,)),)), None, "VLAN 31"),
    (GOOD, VlanSettings(limits=((10, 0),)), None, "limit of VLAN 10"),
    (GOOD, VlanSettings(private=((10, 11, ()),)), None, "VLAN 10 is a private VLAN"),
    (GOOD, None, [Mirror("x", frozenset({"t"}), to_port="b")], "port t"),
    (GOOD, None, [MIRROR, MIRROR], "two mirrors"),
    (GOOD, None, [MIRROR._replace(name=str(n)) for n in range(9)], "8 mirrors"),
    ({f"p{n}": PortSettings() for n in range(4095)}, None, None, "4096 ports"),
]


@pytest.mark.parametrize(("ports", "vlans", "mirrors", "says"), WRONG)
def test_one_mistake_and_nothing_has_changed(
    ports: dict[str, PortSettings | None], vlans: VlanSettings | None, mirrors: list[Mirror] | None, says: str
) -> None:
    bench = learned()
    before = bench.switch.snapshot(0)
    with pytest.raises(ValueError, match=says) as caught:
        bench.switch.change(ports, vlans, mirrors)
    assert "\n" not in str(caught.value)
    assert bench.switch.snapshot(0) == before
    assert bench.send("b", A + C + IP) == {"a": [A + C + IP]}


def test_a_change_of_everything_is_one_change() -> None:
    bench = learned()
    bench.switch.change(
        {**GOOD, "m": PortSettings()}, VlanSettings(shared=True), [Mirror("x", frozenset({"b"}), to_port="m")]
    )
    for name in ("new", "m"):
        bench.switch.set_carrier(name, True)
    assert list(bench.switch.ports) == ["a", "b", "new", "m"]
    assert bench.send("b", ALL + C + IP) == {"m": [ALL + C + IP], "new": [ALL + C + IP]}
    bench.switch.change({"m": None}, mirrors=())
    assert bench.send("b", ALL + C + IP) == {"new": [ALL + C + IP]}
    with pytest.raises(KeyError):
        bench.switch.remove_port("m")


def test_a_port_that_a_mirror_needs_can_not_go_alone() -> None:
    bench = learned()
    bench.switch.set_mirrors([MIRROR])
    with pytest.raises(ValueError, match="mirror one names port b"):
        bench.switch.remove_port("b")
    bench.switch.remove_port("t")
    assert bench.send("a", ALL + A + IP) == {"b": [ALL + A + IP]}  # the mirrors of the others are as they were


STATIONS = [(10, "a"), (10, "t"), (20, "t")]


@pytest.mark.parametrize(
    ("port", "settings", "kept"),
    [
        ("t", TRUNK._replace(mtu=1500, priority=3, protected=True), STATIONS),
        ("t", TRUNK._replace(allowed=frozenset({20, 30})), [(10, "a"), (20, "t")]),
        ("t", TRUNK._replace(allowed=frozenset({30}), ingress_filter=False), STATIONS),
        ("t", TRUNK._replace(state="blocked"), [(10, "a")]),
        ("a", PortSettings(pvid=20), [(10, "t"), (20, "t")]),
        ("a", TRUNK._replace(pvid=20), STATIONS),
        ("b", PortSettings(pvid=20), STATIONS),
    ],
)
def test_only_stations_that_are_wrong_are_forgotten(
    port: str, settings: PortSettings, kept: list[tuple[int, str]]
) -> None:
    bench = learned()
    assert bench.stations() == STATIONS
    bench.switch.set_port(port, settings)
    assert bench.stations() == kept


def test_stations_of_vlans_with_another_fid_are_forgotten_and_static_ones_move_along() -> None:
    bench = learned()
    bench.switch.add_station(20, C, "t")
    bench.switch.set_vlans(VlanSettings(limits=((10, 5),), remote=frozenset({900})))
    assert bench.stations() == [*STATIONS, (20, "t")]
    bench.switch.set_vlans(VlanSettings(shared=True))
    assert bench.stations() == [(20, "t")]
    assert bench.send("a", C + A + IP) == {"t": [C + A + tag(10) + IP]}  # shared: VLAN 10 knows it, too
    bench.switch.set_vlans(VlanSettings())
    assert bench.stations() == [(20, "t")]
    assert set(bench.send("a", C + A + IP)) == {"b", "t"}


def test_frames_of_unaffected_vlans_go_on_while_others_change() -> None:
    bench = learned()
    for n in range(50):
        bench.switch.change({"new": None if n % 2 else PortSettings(pvid=30), "t": TRUNK._replace(priority=n % 8)})
        assert bench.send("b", A + C + IP) == {"a": [A + C + IP]}


# --- copies for those who ask what would happen


def test_a_snapshot_becomes_the_same_switch() -> None:
    sticky = PortSettings(pvid=10, sticky=True, storm=(("broadcast", 5, "fps"),))
    shutting = PortSettings(pvid=10, mac_limit=1, on_limit="shutdown")
    bench = Bench({**PORTS, "s": sticky, "x": shutting}, ageing_s=30)
    now = 100 * SECOND
    bench.send("a", ALL + A + IP, now=now)
    bench.send("s", ALL + B + IP, now=now + 5 * SECOND)
    bench.send("x", ALL + b"\x02" + bytes(5) + IP, ALL + b"\x06" + bytes(5) + IP, now=now)
    bench.switch.add_station(20, C, "t")
    bench.switch.set_carrier("b", False)
    bench.switch.change({}, VlanSettings(remote=frozenset({900}), private=((30, 31, (32,)),)), [MIRROR])
    value = bench.switch.snapshot(now + 9 * SECOND)
    copy = Switch.restore(value)
    assert copy.snapshot(now + 9 * SECOND) == value
    assert copy.violations() == ["x"] and copy.vlans == bench.switch.vlans and copy.mirrors == bench.switch.mirrors
    assert [row["mac"] for row in copy.stations(now + 31 * SECOND)] == [B.hex(":"), C.hex(":")]


def test_a_trace_says_rule_by_rule_what_happens_and_a_copy_keeps_it_to_itself() -> None:
    bench = learned()
    before = bench.switch.snapshot(0)
    copy = Switch.restore(before)
    assert copy.trace("a", B + A + IP, 0, 1) == [
        ("untagged", "a", ""), ("vlan", "a", "VLAN 10"), ("learn", "a", "learned"), ("found", "t", ""),
        ("leave", "t", "tag 0x8100, VID 10, PCP 0"),
    ]  # fmt: skip
    assert copy.trace("t", C + B + tag(20, 5, 1) + IP, 0, 1) == [
        ("tag", "t", "VID 20, PCP 5, DEI"), ("vlan", "t", "VLAN 20"), ("learn", "t", "learned"),
        ("flood", "t", "unknown unicast"), ("drop", "t", "no-destination"),
    ]  # fmt: skip
    assert copy.trace("b", ALL + C + tag(10) + IP, 0, 1) == [("drop", "b", "tagged-not-accepted")]
    assert [step.detail for step in copy.trace("b", ALL + C + IP, 0, 1)[-2:]] == [
        "without a tag",
        "tag 0x8100, VID 10, PCP 0",
    ]
    assert bench.switch.snapshot(0) == before
    for port, frame in (("nobody", ALL + A + IP), ("a", b"short"), ("a", bytes(70_000))):
        with pytest.raises(ValueError):
            copy.trace(port, frame, 0, 1)


def test_a_trace_of_a_frame_that_goes_everywhere_has_an_end() -> None:
    switch = Switch("s1")
    switch.change({f"p{n}": PortSettings() for n in range(1500)})
    for n in range(1500):
        switch.set_carrier(f"p{n}", True)
    notes = switch.trace("p0", ALL + A + IP, 0, 1)
    assert [step.rule for step in notes] == ["untagged", "vlan", "learn", "flood"] + ["leave"] * 1499
