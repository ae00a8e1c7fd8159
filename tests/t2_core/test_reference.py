"""The reference switch against tables written by hand from IEEE Std 802.1Q-2018: who judges must be judged too.

Here: VLANs, tags, ingress rules, learning. Isolation, mirrors, storms and changes: test_reference_more.py.
"""

from __future__ import annotations

import pytest

from tests.support.forwarded import FORWARDED, tag
from tests.support.reference_switch import SECOND, Port, ReferenceSwitch

A, B, C = (bytes([2, 0, 0, 0, 0, n]) for n in (1, 2, 3))
ALL = b"\xff" * 6
IP = b"\x08\x00" + b"payload"
BOTH = frozenset({10, 20})


def switch(**more: Port) -> ReferenceSwitch:
    return ReferenceSwitch(
        {
            "a10": Port("access", 10, priority=1),
            "b10": Port("access", 10),
            "a20": Port("access", 20),
            "t": Port("trunk", 0, BOTH),
            "n": Port("trunk", 20, BOTH, priority=5),
            **more,
        }
    )


@pytest.mark.parametrize(("port", "between", "leaving"), FORWARDED)
def test_a_broadcast_reaches_the_vlan_and_nobody_else(port: str, between: bytes, leaving: dict[str, bytes]) -> None:
    out = switch().process(port, ALL + A + between + IP, 0)
    assert dict(out) == {name: ALL + A + middle + IP for name, middle in leaving.items()}


# One port x with special settings beside those above: (its settings, ingress, between, egress, between there or None).
SPECIAL = [
    (Port("native-tagged", 10, BOTH), "a10", b"", "x", tag(10, 1)),
    (Port("native-tagged", 10, BOTH, priority=3), "x", b"", "t", tag(10, 3)),
    (Port("native-tagged", 10, BOTH), "x", tag(10), "b10", b""),
    (Port("native-untagged", 10, BOTH), "a10", b"", "x", b""),
    (Port("trunk", 0, BOTH, untagged=frozenset({10})), "a10", b"", "x", b""),
    (Port("trunk", 0, BOTH, untagged=frozenset({10})), "a20", b"", "x", tag(20)),
    (Port("trunk", 10, BOTH, untagged=frozenset()), "a10", b"", "x", tag(10, 1)),
    (Port("access", 10, priority_tags="always"), "b10", b"", "x", tag(0)),
    (Port("access", 10, priority_tags="if-nonzero"), "b10", b"", "x", b""),
    (Port("access", 10, priority_tags="if-nonzero"), "t", tag(10, 0, 1), "x", b""),
    (Port("access", 10, priority_tags="if-nonzero"), "a10", b"", "x", tag(0, 1)),
    (Port("trunk", 0, BOTH, tpid=0x88A8), "a10", b"", "x", tag(10, 1, 0, 0x88A8)),
    (Port("trunk", 0, BOTH, tpid=0x88A8), "x", tag(10, 2, 1, 0x88A8), "t", tag(10, 2, 1)),
    (Port("trunk", 10, BOTH, tpid=0x88A8), "x", tag(20), "b10", tag(20)),
    (Port("dot1q-tunnel", 10, priority=4), "x", tag(77, 7), "t", tag(10, 4) + tag(77, 7)),
    (Port("dot1q-tunnel", 10), "x", tag(0, 7), "b10", tag(0, 7)),
    (Port("dot1q-tunnel", 10), "t", tag(10, 3) + tag(77), "x", tag(77)),
    (Port("dot1q-tunnel", 10, customer=frozenset({77})), "x", tag(77), "b10", tag(77)),
    (Port("dot1q-tunnel", 10, customer=frozenset({0})), "x", b"", "b10", b""),
    (Port("dot1q-tunnel", 10, priority_tags="always"), "a10", b"", "x", b""),
    (Port("trunk", 0, BOTH, translate=((100, 10),)), "x", tag(100, 2), "t", tag(10, 2)),
    (Port("trunk", 0, BOTH, translate=((100, 10),)), "t", tag(10, 2), "x", tag(100, 2)),
    (Port("trunk", 0, BOTH, translate=((20, 10), (10, 20))), "x", tag(20), "b10", b""),
    (Port("access", 10, accept="all"), "x", tag(10, 3), "t", tag(10, 3)),
    (Port("access", 30, accept="all", ingress_filter=False), "x", tag(10), "b10", b""),
]


@pytest.mark.parametrize(("special", "ingress", "between", "egress", "there"), SPECIAL)
def test_what_a_port_can_do_to_a_tag(special: Port, ingress: str, between: bytes, egress: str, there: bytes) -> None:
    out = switch(x=special).process(ingress, ALL + A + between + IP, 0)
    assert dict(out)[egress] == ALL + A + there + IP


REFUSED = [
    (Port("access", 10, accept="tagged"), b"", "untagged-not-accepted"),
    (Port("access", 10, accept="all"), tag(20), "vlan-not-allowed"),
    (Port("trunk", 10, BOTH, accept="untagged"), tag(10), "tagged-not-accepted"),
    (Port("trunk", 10, BOTH, accept="tagged"), tag(0), "untagged-not-accepted"),
    (Port("trunk", 0, BOTH, tpid=0x88A8), tag(10), "untagged-not-accepted"),
    (Port("trunk", 0, BOTH, translate=((100, 10),)), tag(10), "vlan-not-allowed"),
    (Port("dot1q-tunnel", 10, customer=frozenset({77})), tag(78), "customer-not-allowed"),
    (Port("dot1q-tunnel", 10, customer=frozenset({77})), b"", "customer-not-allowed"),
    (Port("dot1q-tunnel", 10, customer=frozenset({77})), tag(77, tpid=0x88A8), "customer-not-allowed"),
]


@pytest.mark.parametrize(("special", "between", "reason"), REFUSED)
def test_what_a_port_may_refuse(special: Port, between: bytes, reason: str) -> None:
    bridge = switch(x=special)
    assert bridge.process("x", ALL + A + between + IP, 0) == []
    assert bridge.drops == {("x", reason): 1}
    assert not bridge.table.entries


def test_a_customer_gets_only_its_own_vlans_back() -> None:
    bridge = switch(x=Port("dot1q-tunnel", 10, customer=frozenset({77})))
    assert "x" not in dict(bridge.process("a10", ALL + A + IP, 0))
    assert dict(bridge.process("t", ALL + A + tag(10) + tag(77, 3) + IP, 0))["x"] == ALL + A + tag(77, 3) + IP
    bridge.process("x", ALL + C + tag(77) + IP, 0)
    assert bridge.process("a10", C + A + IP, 0) == []
    assert bridge.drops == {("a10", "no-destination"): 1}


def to(last: int) -> bytes:
    return bytes.fromhex("0180c20000") + bytes([last])


DROPPED = [
    ("a10", b"", "runt"),
    ("a10", (ALL + A + b"\x08")[:13], "runt"),
    ("t", ALL + A + b"\x81\x00\x00\x0a\x08", "runt"),
    ("a10", ALL + A + bytes(9217 + 2), "oversize"),
    ("t", ALL + A + tag(10) + bytes(9217 + 2), "oversize"),
    ("a10", B + b"\x03" + A[1:] + IP, "bad-source"),
    ("a10", to(0x00) + A + IP, "reserved-address"),
    ("a10", to(0x0F) + A + IP, "reserved-address"),
    ("a10", ALL + A + tag(10) + IP, "tagged-not-accepted"),
    ("a10", ALL + A + tag(4095) + IP, "bad-vid"),
    ("t", ALL + A + IP, "untagged-not-accepted"),
    ("t", ALL + A + tag(0) + IP, "untagged-not-accepted"),
    ("t", ALL + A + tag(30) + IP, "vlan-not-allowed"),
]


@pytest.mark.parametrize(("port", "frame", "reason"), DROPPED)
def test_each_drop_has_its_reason_and_teaches_nothing_before_ingress_is_passed(
    port: str, frame: bytes, reason: str
) -> None:
    bridge = switch()
    assert bridge.process(port, frame, 0) == []
    assert bridge.drops == {(port, reason): 1}
    assert bool(bridge.table.entries) == (reason == "reserved-address"), "frame filtering stands behind learning"


@pytest.mark.parametrize(("last", "passes"), [(0x10, True), (0x20, True), (0x21, True), (0x0E, False)])
def test_which_addresses_are_reserved_at_first(last: int, passes: bool) -> None:
    assert bool(switch().process("a10", to(last) + A + IP, 0)) == passes


def test_a_port_may_tunnel_a_reserved_address_or_take_it_for_the_switch() -> None:
    bridge = switch(x=Port("access", 10, peer=frozenset({0x02, 0x21}), tunnel=frozenset({0x0E})))
    assert bridge.process("x", to(0x0E) + A + IP, 0)
    assert not bridge.process("x", to(0x02) + B + tag(4095) + IP, 0), "it belongs to no VLAN"
    assert not bridge.process("x", to(0x21) + B + IP, 0)
    assert bridge.drops == {("x", "for-switch"): 2}
    assert set(bridge.table.entries) == {(10, A)}


@pytest.mark.parametrize(("state", "reason"), [("blocked", "port-blocked"), ("disabled", "port-disabled")])
def test_a_port_that_is_not_forwarding_neither_takes_nor_gives(state: str, reason: str) -> None:
    bridge = switch()
    bridge.change({"a10": Port("access", 10, state=state)})
    assert bridge.process("a10", ALL + A + IP, 0) == []
    assert bridge.drops == {("a10", reason): 1}
    assert {name for name, _ in bridge.process("b10", ALL + B + IP, 0)} == {"t", "n"}
    assert set(bridge.table.entries) == {(10, B)}


def test_the_largest_frame_passes_with_and_without_tag() -> None:
    payload = b"\x08\x00" + bytes(9216)
    assert switch().process("a10", ALL + A + payload, 0)
    assert switch().process("t", ALL + A + tag(10) + payload, 0)


def test_a_smaller_egress_port_drops_its_own_copy_only() -> None:
    bridge = switch()
    bridge.change({"b10": Port("access", 10, mtu=1500)})
    out = bridge.process("a10", ALL + A + b"\x08\x00" + bytes(1501), 0)
    assert [name for name, _ in out] == ["t", "n"]
    assert bridge.drops == {("b10", "oversize"): 1}


def test_a_flood_passes_over_a_port_without_carrier() -> None:
    bridge = switch()
    bridge.set_carrier("b10", False)
    assert [name for name, _ in bridge.process("a10", ALL + A + IP, 0)] == ["t", "n"]
    assert bridge.drops == {}


def test_learning_is_per_vlan_follows_stations_and_ends_the_flood() -> None:
    bridge = switch()
    bridge.process("a10", ALL + A + IP, 0)
    assert bridge.process("t", A + B + tag(10) + IP, 1) == [("a10", A + B + IP)]
    assert {name for name, _ in bridge.process("t", A + B + tag(20) + IP, 1)} == {"a20", "n"}
    assert bridge.process("a10", A + C + IP, 2) == []
    assert bridge.drops == {("a10", "no-destination"): 1}
    bridge.process("b10", ALL + A + IP, 3)
    assert bridge.process("t", A + B + tag(10) + IP, 4) == [("b10", A + B + IP)]


def test_an_address_is_forgotten_after_the_ageing_time_without_a_word() -> None:
    bridge = switch()
    bridge.process("a10", ALL + A + IP, 0)
    assert len(bridge.process("t", A + B + tag(10) + IP, 300 * SECOND - 1)) == 1
    assert len(bridge.process("t", A + B + tag(10) + IP, 300 * SECOND)) == 3


def test_nobody_to_flood_to() -> None:
    bridge = ReferenceSwitch({"only": Port()})
    assert bridge.process("only", ALL + A + IP, 0) == []
    assert bridge.drops == {("only", "no-destination"): 1}
