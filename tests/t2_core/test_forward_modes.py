"""Port modes through the compiled rules: what each takes, and how it lets frames out (802.1Q-2018 6.9, 8.6)."""

from __future__ import annotations

import pytest

from netvirt.settings import S_TAG, PortSettings
from netvirt.switch import VlanSettings
from tests.support.forwarded import tag
from tests.support.switch_bench import ALL, IP, A, B, Bench, C

TRUNK = PortSettings("trunk", 0, frozenset({10, 20, 30}))
SEEN = {"t": TRUNK, "a10": PortSettings(pvid=10)}  # what becomes of a frame, seen inside and outside of its tag
ALLOWED = frozenset({10, 20})


def s_tag(vid: int, pcp: int = 0) -> bytes:
    return b"\x88\xa8" + tag(vid, pcp)[2:]


# settings of the port, what stands between addresses and type, how the trunk t shows it, or why it is dropped
COMING = [
    (PortSettings("native-untagged", 10, ALLOWED), b"", tag(10)),
    (PortSettings("native-untagged", 10, ALLOWED), tag(10, 3), tag(10, 3)),
    (PortSettings("native-tagged", 10, ALLOWED, priority=2), b"", tag(10, 2)),
    (PortSettings("native-tagged", 10, ALLOWED), tag(20), tag(20)),
    (PortSettings("native-tagged", 10, ALLOWED, accept="tagged"), b"", "untagged-not-accepted"),
    (PortSettings("native-tagged", 10, ALLOWED, accept="tagged"), tag(0, 5), "untagged-not-accepted"),
    (PortSettings("trunk", 10, ALLOWED, accept="untagged"), tag(20), "tagged-not-accepted"),
    (PortSettings("trunk", 10, ALLOWED, accept="untagged"), tag(0, 5, 1), tag(10, 5, 1)),
    (PortSettings("trunk", 0, ALLOWED, accept="all"), b"", "untagged-not-accepted"),
    (PortSettings(pvid=10, accept="all"), tag(10, 1), tag(10, 1)),
    (PortSettings(pvid=10, accept="all"), tag(20, 1), "vlan-not-allowed"),
    (PortSettings(pvid=10, accept="all", ingress_filter=False), tag(20, 1), tag(20, 1)),
    (PortSettings("trunk", 0, ALLOWED), tag(30), "vlan-not-allowed"),
    (PortSettings("trunk", 0, ALLOWED, ingress_filter=False), tag(30), tag(30)),
    (PortSettings("trunk", 0, ALLOWED, ingress_filter=False), tag(4095), "bad-vid"),
    (PortSettings("dot1q-tunnel", 10, priority=4), tag(99, 1), tag(10, 4) + tag(99, 1)),
    (PortSettings("dot1q-tunnel", 10), s_tag(99), tag(10) + s_tag(99)),
    (PortSettings("dot1q-tunnel", 10), tag(4095), tag(10) + tag(4095)),
    (PortSettings("dot1q-tunnel", 10, customer=frozenset({99})), tag(99), tag(10) + tag(99)),
    (PortSettings("dot1q-tunnel", 10, customer=frozenset({99})), tag(98), "customer-not-allowed"),
    (PortSettings("dot1q-tunnel", 10, customer=frozenset({99})), b"", "customer-not-allowed"),
    (PortSettings("dot1q-tunnel", 10, customer=frozenset({0})), b"", tag(10)),
    (PortSettings("dot1q-tunnel", 10, customer=frozenset({0})), tag(0), tag(10) + tag(0)),
    (PortSettings("trunk", 0, ALLOWED, tpid=S_TAG), s_tag(10, 6), tag(10, 6)),
    (PortSettings("trunk", 20, ALLOWED, tpid=S_TAG), tag(10), tag(20) + tag(10)),
    (PortSettings("trunk", 0, ALLOWED, translate=((110, 10),)), tag(110, 2), tag(10, 2)),
    (PortSettings("trunk", 0, ALLOWED, translate=((110, 10),)), tag(10), "vlan-not-allowed"),
    (PortSettings("trunk", 0, ALLOWED, translate=((10, 20), (20, 10))), tag(10), tag(20)),
    (PortSettings("trunk", 10, ALLOWED, translate=((110, 20),)), b"", tag(10)),
]


@pytest.mark.parametrize(("settings", "between", "expected"), COMING)
def test_what_comes_in(settings: PortSettings, between: bytes, expected: bytes | str) -> None:
    bench = Bench({"p": settings, "t": TRUNK})
    got = bench.send("p", ALL + A + between + IP)
    if isinstance(expected, str):
        assert (got, bench.drops("p")) == ({}, {expected: 1})
    else:
        assert got == {"t": [ALL + A + expected + IP]}
        assert bench.drops("p") == {}


# settings of the port, a tag as it comes from the trunk t, what leaves the port; None = nothing
LEAVING = [
    (PortSettings("native-untagged", 10, ALLOWED), tag(10, 3), b""),
    (PortSettings("native-untagged", 10, ALLOWED), tag(20, 3), tag(20, 3)),
    (PortSettings("native-tagged", 10, ALLOWED), tag(10, 3, 1), tag(10, 3, 1)),
    (PortSettings("trunk", 0, ALLOWED), tag(30), None),
    (PortSettings("trunk", 10, ALLOWED, untagged=frozenset({20})), tag(10), tag(10)),
    (PortSettings("trunk", 10, ALLOWED, untagged=frozenset({20})), tag(20), b""),
    (PortSettings("trunk", 10, ALLOWED, untagged=frozenset()), tag(10), tag(10)),
    (PortSettings("trunk", 0, ALLOWED, tpid=S_TAG), tag(10, 7, 1), b"\x88\xa8" + tag(10, 7, 1)[2:]),
    (PortSettings("trunk", 0, ALLOWED, translate=((110, 10),)), tag(10, 2), tag(110, 2)),
    (PortSettings("trunk", 10, ALLOWED, translate=((110, 10),)), tag(10, 2), b""),
    (PortSettings("dot1q-tunnel", 10), tag(10, 3) + tag(99, 1), tag(99, 1)),
    (PortSettings(pvid=10, priority_tags="if-nonzero"), tag(10), b""),
    (PortSettings(pvid=10, priority_tags="if-nonzero"), tag(10, 0, 1), b""),
    (PortSettings(pvid=10, priority_tags="if-nonzero"), tag(10, 1), tag(0, 1)),
    (PortSettings(pvid=10, priority_tags="always"), tag(10), tag(0)),
    (PortSettings(pvid=10, priority_tags="always", tpid=S_TAG), tag(10, 2, 1), b"\x88\xa8" + tag(0, 2, 1)[2:]),
    (PortSettings("trunk", 10, ALLOWED, priority_tags="always"), tag(20), tag(20)),
    (PortSettings(pvid=10, ingress_filter=False), tag(20), None),
]


@pytest.mark.parametrize(("settings", "between", "expected"), LEAVING)
@pytest.mark.parametrize("known", [False, True])
def test_what_leaves(settings: PortSettings, between: bytes, expected: bytes | None, known: bool) -> None:
    """Once flooded, once to a known station: two ways through the code."""
    bench = Bench({"p": settings, "t": TRUNK})
    if known:
        bench.switch.add_station(int.from_bytes(between[2:4]) & 0xFFF, B, "p")
    got = bench.send("t", B + A + between + IP)
    assert got == ({} if expected is None else {"p": [B + A + expected + IP]})


def test_each_form_of_a_flooded_frame_is_its_own() -> None:
    """Ports that share a form are given copies of one another's bytes: nobody gets a wrong one, in any order."""
    forms = [(PortSettings(pvid=10), b""), *((settings, out) for settings, tag_, out in LEAVING if tag_ == tag(10, 2))]
    forms += [
        (PortSettings("trunk", 0, ALLOWED), tag(10, 2)),
        (PortSettings("trunk", 0, ALLOWED, tpid=S_TAG), s_tag(10, 2)),
    ]
    forms += [(PortSettings(pvid=10, priority_tags="always"), tag(0, 2))]
    ports = {f"p{n}": forms[n * 7 % len(forms)] for n in range(70)}
    bench = Bench({"in": TRUNK, **{name: settings for name, (settings, _) in ports.items()}})
    for _ in range(3):
        got = bench.send("in", ALL + A + tag(10, 2) + IP)
        assert got == {name: [ALL + A + (out or b"") + IP] for name, (_, out) in ports.items()}


@pytest.mark.parametrize("size", [14, 15, 16, 17])
def test_a_tag_cut_short_is_a_runt_only_where_it_is_a_tag(size: int) -> None:
    ports = {"t": TRUNK, "s": TRUNK._replace(tpid=S_TAG, pvid=10), "q": PortSettings("dot1q-tunnel", 10)}
    frame = (ALL + A + tag(10) + b"\x08\x00")[:size]
    bench = Bench(ports)
    assert bench.send("t", frame) == {}
    assert bench.drops("t") == {"runt": 1}
    assert bench.send("s", frame) == {"t": [frame[:12] + tag(10) + frame[12:]], "q": [frame]}
    assert bench.send("q", frame)["s"] == [frame]


# --- reserved addresses


@pytest.mark.parametrize("octet", [*range(16), 0x21])
def test_reserved_addresses_are_kept_forwarded_or_dropped_as_the_port_says(octet: int) -> None:
    group = bytes.fromhex("0180c20000") + bytes([octet])
    mine, others = frozenset({octet}), frozenset({*range(16), 0x21}) - {octet}
    bench = Bench({
        "peer": PortSettings(pvid=10, peer=mine, tunnel=others),
        "tunnel": PortSettings(pvid=10, peer=others, tunnel=mine),
        "drop": PortSettings(pvid=10, peer=others, tunnel=frozenset()), "t": TRUNK,
    })  # fmt: skip
    assert bench.send("peer", group + A + IP) == {}
    assert bench.drops("peer") == {"for-switch": 1} and bench.stations() == []
    assert set(bench.send("tunnel", group + B + IP)) == {"peer", "drop", "t"}
    assert bench.send("drop", group + C + tag(0) + IP) == {}
    assert bench.drops("drop") == {"reserved-address": 1}
    assert bench.stations() == [(10, "tunnel"), (10, "drop")]
    assert bench.send("peer", group + A + tag(4095)) == {}  # before its tag is looked at
    assert bench.drops("peer") == {"for-switch": 2}


# --- private VLANs (RFC 5517)

PRIVATE = VlanSettings(private=((10, 11, (12, 13)),))
HOSTS = {
    "prom": PortSettings("promiscuous", 10), "iso1": PortSettings("host", 11), "iso2": PortSettings("host", 11),
    "com1": PortSettings("host", 12), "com2": PortSettings("host", 12), "other": PortSettings("host", 13),
    "t": PortSettings("trunk", 0, frozenset({10, 11, 12, 13})),
}  # fmt: skip
REACHED = {
    "prom": ({"iso1", "iso2", "com1", "com2", "other"}, 10), "iso1": ({"prom"}, 11), "com1": ({"prom", "com2"}, 12),
    "other": ({"prom"}, 13),
}  # fmt: skip


def private_bench() -> Bench:
    bench = Bench({})
    bench.switch.set_vlans(PRIVATE)
    for name, settings in HOSTS.items():
        bench.set(name, settings)
    return bench


@pytest.mark.parametrize("origin", REACHED)
def test_private_vlans_reach_whom_they_may(origin: str) -> None:
    bench = private_bench()
    reached, vid = REACHED[origin]
    got = bench.send(origin, ALL + A + IP)
    assert got == {**{name: [ALL + A + IP] for name in reached}, "t": [ALL + A + tag(vid) + IP]}
    # And what comes over the trunk in that VLAN reaches the same ones, and the port itself where its VLAN lets it.
    over = bench.send("t", ALL + B + tag(vid) + IP)
    assert set(over) - {origin} == reached


def test_private_vlans_know_each_others_stations_but_not_around_the_isolation() -> None:
    bench = private_bench()
    for name, mac in (("prom", A), ("iso1", B), ("iso2", C)):
        bench.send(name, ALL + mac + IP)
    assert bench.send("prom", B + A + IP) == {"iso1": [B + A + IP]}
    assert bench.send("iso1", A + B + IP) == {"prom": [A + B + IP]}
    assert bench.send("iso1", C + B + IP) == {}
    assert bench.drops("iso1") == {"no-destination": 1}
