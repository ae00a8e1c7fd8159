"""Settings as JSON, both ways, and the sentences for what can't be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from netvirt.modes import check_vlans, tables
from netvirt.settings import S_TAG, Mirror, PortSettings, VlanSettings

EVERYTHING = PortSettings(
    "trunk", 10, frozenset({10, 20, 21}), 3, "blocked", 1500, False, "tagged", "if-nonzero", S_TAG,
    frozenset({0, 5, 6}), frozenset({20}), ((120, 20),), frozenset({"unicast"}), (("broadcast", 100, "fps"),),
    True, 5, "drop", True, frozenset({2, 14}), frozenset(),
)  # fmt: skip
VALUES: list[Any] = [
    PortSettings(), EVERYTHING, EVERYTHING._replace(untagged=frozenset(), customer=frozenset({0})),
    VlanSettings(), VlanSettings(True, ((10, 0, (11, 12)), (20, 21, ())), ((10, 5),), frozenset({900, 901})),
    Mirror("m", frozenset({"a"}), frozenset({"b"}), frozenset({10}), "", 900),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES)
def test_both_ways(value: Any) -> None:
    assert type(value).from_json(json.loads(json.dumps(value.to_json()))) == value
    hash(value)


def test_what_is_missing_is_the_default_and_what_is_unknown_is_somebody_elses() -> None:
    assert PortSettings.from_json({"peer": "h1:eth0", "kind": "listen", "pvid": 7}) == PortSettings(pvid=7)
    assert VlanSettings.from_json({}) == VlanSettings()
    with pytest.raises(ValueError, match="needs a name"):
        Mirror.from_json({"to_port": "a"})


JUNK = [None, True, -1, 1.5, 10**30, "x" * 200, [], {}, [1], [[1]], [["a", "b", "c"]], "0-5000", "5,,6", {"a": 1}]


@pytest.mark.parametrize("key", sorted(EVERYTHING.to_json()))
def test_junk_is_one_sentence(key: str) -> None:
    refused = 0
    for junk in JUNK:
        try:
            tables(PortSettings.from_json({key: junk}))
        except ValueError as error:
            refused += 1
            assert "\n" not in str(error) and len(str(error)) < 300
    assert refused >= 8
    for junk in JUNK:
        if not isinstance(junk, dict):
            with pytest.raises(ValueError):
                PortSettings.from_json(junk)


TRUNK = PortSettings("trunk", 0, frozenset({10, 20}))
WRONG: list[tuple[PortSettings, str]] = [
    (PortSettings("native-tagged", 0), "needs a VLAN"),
    (PortSettings("host", 10), "isolated or community"),
    (PortSettings("promiscuous", 10), "primary"),
    (PortSettings(accept="some"), "'some'"),
    (PortSettings(translate=((1, 2),)), "translate"),
    (PortSettings(untagged=frozenset({1})), "trunks"),
    (TRUNK._replace(customer=frozenset({1})), "dot1q-tunnel"),
    (TRUNK._replace(untagged=frozenset({30})), "VLAN 30"),
    (PortSettings("dot1q-tunnel", 10, accept="tagged"), "untagged"),
    (PortSettings("dot1q-tunnel", 10, priority_tags="always"), "as it came"),
    (TRUNK._replace(translate=((110, 10), (110, 20))), "twice"),
    (TRUNK._replace(translate=((1, 10), (2, 10))), "twice"),
    (TRUNK._replace(translate=((110, 30),)), "VLAN 30"),
    (TRUNK._replace(translate=((10, 20),)), "VLAN 10 could not leave"),
    (TRUNK._replace(translate=((4095, 20),)), "4095"),
    (TRUNK._replace(tpid=0x9100), "0x9100"),
    (TRUNK._replace(storm=(("unicast", 0, "fps"),)), "storm limit"),
    (TRUNK._replace(storm=(("unicast", 1, "pps"),)), "pps"),
    (TRUNK._replace(storm=(("anycast", 1, "fps"),)), "anycast"),
    (TRUNK._replace(flood=frozenset({"all"})), "all"),
    (TRUNK._replace(storm=(("unicast", 1, "fps"), ("unicast", 2, "fps"))), "twice"),
    (TRUNK._replace(peer=frozenset({0x10})), "no reserved"),
    (TRUNK._replace(peer=frozenset({0x21})), "both|too"),
    (TRUNK._replace(mac_limit=1 << 40), "MAC limit"),
    (TRUNK._replace(on_limit="panic"), "panic"),
]


@pytest.mark.parametrize(("settings", "says"), WRONG)
def test_what_can_not_be(settings: PortSettings, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        tables(settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("vlans", "says"),
    [
        (VlanSettings(private=((10, 11, (10,)),)), "VLAN 10"),
        (VlanSettings(private=((10, 4095, ()),)), "4095"),
        (VlanSettings(private=((10, 11, ()), (20, 11, ()))), "VLAN 11"),
        (VlanSettings(limits=((10, 1), (10, 2))), "two"),
        (VlanSettings(private=((10, 11, ()),), remote=frozenset({11})), "mirrored"),
        (VlanSettings(limits=((0, 1),)), "0"),
    ],
)
def test_vlans_that_can_not_be(vlans: VlanSettings, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        check_vlans(vlans)
