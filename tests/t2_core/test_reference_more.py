"""The reference switch by hand: limits and static stations, shared learning, private VLANs, protected ports, storms,
mirrors, and what a change forgets.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from tests.support.reference_switch import SECOND, Port, ReferenceSwitch, Session, Vlans
from tests.t2_core.test_reference import ALL, IP, A, B, C, tag

TRUNK = Port("trunk", 0, frozenset({10, 20}))
GROUP = bytes.fromhex("01005e000001")


def names(leaving: Iterable[tuple[str, bytes]]) -> list[str]:
    return [name for name, _ in leaving]


def three(**change: Any) -> ReferenceSwitch:
    """Ports p, q and r in VLAN 10; `change` is what is special about p."""
    plain = Port("access", 10)
    return ReferenceSwitch({"p": Port("access", 10, **change), "q": plain, "r": plain})


# The MAC table.


def test_a_full_table_makes_room_at_the_port_that_has_most() -> None:
    bridge = ReferenceSwitch({name: Port() for name in "pq"}, capacity=3)
    for when, (port, source) in enumerate((("q", A), ("p", B), ("p", C))):
        bridge.process(port, ALL + source + IP, when * SECOND)
    bridge.process("q", ALL + bytes(6) + IP, 3 * SECOND)
    assert {(mac, entry.port) for (_, mac), entry in bridge.table.entries.items()} == {
        (A, "q"), (C, "p"), (bytes(6), "q")
    }  # fmt: skip


def test_a_full_table_of_static_stations_learns_nobody() -> None:
    bridge = ReferenceSwitch({name: Port() for name in "pq"}, capacity=1)
    bridge.add_station(1, A, "p")
    assert names(bridge.process("q", ALL + B + IP, 0)) == ["p"]
    assert set(bridge.table.entries) == {(1, A)}


@pytest.mark.parametrize(("on_limit", "state", "taken"), [("flood", "forwarding", True), ("drop", "forwarding", False),
                                                          ("shutdown", "disabled", False)])  # fmt: skip
def test_a_port_with_a_limit(on_limit: str, state: str, taken: bool) -> None:
    bridge = three(mac_limit=1, on_limit=on_limit)
    assert bridge.process("p", ALL + A + IP, 0)
    assert bridge.process("p", ALL + A + IP, 0), "a known station is no new one"
    assert bool(bridge.process("p", ALL + B + IP, 0)) == taken
    assert bridge.drops == ({} if taken else {("p", "security"): 1})
    assert bridge.now_is.state("p") == state
    assert set(bridge.table.entries) == (set() if state == "disabled" else {(10, A)})


def test_a_vlan_with_a_limit_forwards_and_does_not_learn() -> None:
    bridge = three()
    bridge.change({}, Vlans(limits=((10, 1),)))
    bridge.process("p", ALL + A + IP, 0)
    assert bridge.process("q", ALL + B + IP, 0)
    assert set(bridge.table.entries) == {(10, A)}


def test_a_sticky_station_stays_and_nobody_takes_its_address() -> None:
    bridge = three(sticky=True)
    bridge.process("p", ALL + A + IP, 0)
    assert bridge.process("q", ALL + A + IP, 1000 * SECOND) == []
    assert bridge.drops == {("q", "security"): 1}
    assert names(bridge.process("q", A + B + IP, 1000 * SECOND)) == ["p"]


def test_a_static_station_seen_elsewhere_is_heard_and_not_moved() -> None:
    bridge = three()
    bridge.add_station(10, A, "p")
    assert names(bridge.process("q", ALL + A + IP, 1000 * SECOND)) == ["p", "r"]
    assert names(bridge.process("q", A + B + IP, 1000 * SECOND)) == ["p"]


def test_shared_learning_knows_a_station_in_every_vlan() -> None:
    bridge = ReferenceSwitch({"t": TRUNK, "u": TRUNK, "v": TRUNK})
    bridge.change({}, Vlans(shared=True))
    bridge.process("t", ALL + A + tag(10) + IP, 0)
    assert names(bridge.process("u", A + B + tag(20) + IP, 0)) == ["t"]


# Who may talk to whom.


def test_protected_ports_do_not_talk_to_each_other() -> None:
    bridge = three(protected=True)
    bridge.change({"q": Port("access", 10, protected=True)})
    assert names(bridge.process("p", ALL + A + IP, 0)) == ["r"]
    assert names(bridge.process("r", ALL + C + IP, 0)) == ["p", "q"]
    assert bridge.process("q", A + B + IP, 0) == []
    assert bridge.drops == {("q", "isolated"): 1}


PRIVATE = {
    "pro": Port("promiscuous", 10),
    "i1": Port("host", 11), "i2": Port("host", 11),
    "c1": Port("host", 12), "c2": Port("host", 12), "d1": Port("host", 13),
    "t": Port("trunk", 0, frozenset({10, 11, 12, 13})),
}  # fmt: skip
REACHED = {
    "pro": (b"", {"i1", "i2", "c1", "c2", "d1", "t"}, tag(10)),
    "i1": (b"", {"pro", "t"}, tag(11)),
    "c1": (b"", {"pro", "c2", "t"}, tag(12)),
    "d1": (b"", {"pro", "t"}, tag(13)),
}
FROM_TRUNK = {10: {"pro", "i1", "i2", "c1", "c2", "d1"}, 11: {"pro"}, 12: {"pro", "c1", "c2"}, 13: {"pro", "d1"}}


def private() -> ReferenceSwitch:
    bridge = ReferenceSwitch(PRIVATE)
    bridge.change({}, Vlans(private=((10, 11, (12, 13)),)))
    return bridge


@pytest.mark.parametrize("port", REACHED)
def test_private_vlans_reach_by_role(port: str) -> None:
    between, reached, on_trunk = REACHED[port]
    out = dict(private().process(port, ALL + A + between + IP, 0))
    assert set(out) == reached
    assert out["t"] == ALL + A + on_trunk + IP
    assert all(data == ALL + A + IP for name, data in out.items() if name != "t")


@pytest.mark.parametrize("vid", FROM_TRUNK)
def test_private_vlans_go_over_trunks(vid: int) -> None:
    assert set(names(private().process("t", ALL + A + tag(vid) + IP, 0))) == FROM_TRUNK[vid]


def test_private_vlans_share_what_they_learn() -> None:
    bridge = private()
    bridge.process("i1", ALL + A + IP, 0)
    assert names(bridge.process("pro", A + B + IP, 0)) == ["i1"]
    assert bridge.process("i2", A + C + IP, 0) == [], "known, and behind a port that this VLAN does not reach"
    assert bridge.drops == {("i2", "no-destination"): 1}


@pytest.mark.parametrize(("kind", "dst"), [("unicast", B), ("multicast", GROUP), ("broadcast", ALL)])
def test_flood_switches_and_storm_control_by_kind(kind: str, dst: bytes) -> None:
    others = {"unicast", "multicast", "broadcast"} - {kind}
    bridge = three(flood=frozenset(others), storm=((kind, 10, "fps"),))
    assert names(bridge.process("q", dst + A + IP, 0)) == ["r"]
    assert bridge.process("p", dst + C + IP, 0)
    assert not bridge.process("p", dst + C + IP, SECOND // 10 - 1)
    assert bridge.process("p", dst + C + IP, SECOND // 10)
    assert bridge.drops == {("p", "storm"): 1}


# Mirrors.


def spanned(session: Session, **more: Port) -> ReferenceSwitch:
    bridge = ReferenceSwitch({"a": Port("access", 10), "t": TRUNK, "m": Port("access", 10), **more})
    bridge.change({}, Vlans(remote=frozenset({99})), [session])
    return bridge


def test_a_mirror_sees_what_comes_in_even_if_it_is_dropped() -> None:
    bridge = spanned(Session("s", ports_in=frozenset({"a"}), to_port="m"))
    assert bridge.process("a", ALL + A + tag(10) + IP, 0) == [("m", ALL + A + tag(10) + IP)]
    assert bridge.process("m", ALL + B + IP, 0) == []
    assert bridge.drops == {("a", "tagged-not-accepted"): 1, ("m", "mirror-port"): 1}


def test_a_mirror_sees_what_goes_out_as_it_goes_out_and_once() -> None:
    bridge = spanned(Session("s", ports_out=frozenset({"a", "t"}), to_port="m"))
    assert bridge.process("t", ALL + A + tag(10) + IP, 0) == [("a", ALL + A + IP), ("m", ALL + A + IP)]
    both = spanned(Session("s", frozenset({"a"}), frozenset({"t"}), to_port="m"))
    assert names(both.process("a", ALL + A + IP, 0)) == ["m", "t"]


def test_a_mirror_of_a_vlan() -> None:
    bridge = spanned(Session("s", vlans=frozenset({20}), to_port="m"))
    assert bridge.process("t", ALL + A + tag(20) + IP, 0) == [("m", ALL + A + tag(20) + IP)]
    assert names(bridge.process("t", ALL + A + tag(10) + IP, 0)) == ["a"]


def test_a_remote_mirror_tags_once_more() -> None:
    session = Session("s", ports_in=frozenset({"t"}), to_vlan=99)
    bridge = spanned(session, up=Port("trunk", 0, frozenset({99})), end=Port("access", 99))
    frame = ALL + A + tag(10, 5) + IP
    assert bridge.process("t", frame, 0)[:2] == [("up", ALL + A + tag(99, 5) + tag(10, 5) + IP), ("end", frame)]
    assert bridge.process("up", B + C + tag(99) + IP, 0) == [("end", B + C + IP)]
    assert (99, C) not in bridge.table.entries


# Changes.


def test_a_change_forgets_only_what_it_makes_wrong() -> None:
    bridge = ReferenceSwitch({"t": TRUNK, "u": TRUNK})
    for vid in (10, 20):
        bridge.process("t", ALL + A + tag(vid) + IP, 0)
    bridge.process("u", ALL + B + tag(10) + IP, 0)
    bridge.change({"t": Port("trunk", 0, frozenset({20, 30}), priority=3)})
    assert set(bridge.table.entries) == {(20, A), (10, B)}
    bridge.change({"t": None})
    assert set(bridge.table.entries) == {(10, B)}


def test_a_port_that_goes_down_takes_its_addresses_along() -> None:
    bridge = three()
    bridge.process("p", ALL + A + IP, 0)
    bridge.process("q", ALL + B + IP, 0)
    bridge.set_carrier("p", False)
    assert set(bridge.table.entries) == {(10, B)}


def test_a_new_port_takes_the_lowest_free_number() -> None:
    bridge = three()
    bridge.change({"p": None})
    bridge.change({"z": Port("access", 10)})
    assert list(bridge.ports) == ["z", "q", "r"]
