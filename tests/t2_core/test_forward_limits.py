"""What a port may bring in: stations (port security), flooded frames (storm control), and to whom (protected ports)."""

from __future__ import annotations

import pytest

from netvirt.settings import PortSettings, VlanSettings
from netvirt.switch import SECOND
from tests.support.forwarded import tag
from tests.support.switch_bench import ALL, IP, A, B, Bench, C

GROUP = bytes.fromhex("01005e000001")
P10 = PortSettings(pvid=10)


# --- port security


@pytest.mark.parametrize("on_limit", ["flood", "drop", "shutdown"])
def test_a_station_too_many(on_limit: str) -> None:
    bench = Bench({"p": PortSettings(pvid=10, mac_limit=1, on_limit=on_limit), "q": P10})
    assert "q" in bench.send("p", ALL + A + IP)
    got = bench.send("p", ALL + B + IP, ALL + A + IP)
    flooded, known = ALL + B + IP, ALL + A + IP
    assert got.get("q", []) == {"flood": [flooded, known], "drop": [known], "shutdown": []}[on_limit]
    wanted = {"flood": {}, "drop": {"security": 1}, "shutdown": {"security": 1, "port-disabled": 1}}[on_limit]
    assert bench.drops("p") == wanted
    assert bench.stations() == ([] if on_limit == "shutdown" else [(10, "p")])


def test_a_shut_port_is_out_until_somebody_looks_into_it() -> None:
    shutting = PortSettings(pvid=10, mac_limit=1, on_limit="shutdown")
    bench = Bench({"p": shutting, "q": P10, "r": P10})
    switch = bench.switch
    bench.send("p", ALL + A + IP, ALL + B + IP)
    assert switch.violations() == ["p"]
    assert set(bench.send("q", A + C + IP)) == {
        "r"
    }  # it is no member of its VLAN any more, and its station is forgotten
    switch.set_port("p", shutting)  # the same settings again: nothing has been looked into
    switch.change({"r": P10._replace(priority=1)})
    assert switch.violations() == ["p"]
    switch.recover("p")
    assert switch.violations() == [] and set(bench.send("q", A + C + IP)) == {"p", "r"}
    bench.send("p", ALL + A + IP, ALL + B + IP)
    switch.set_port("p", shutting._replace(mac_limit=5))
    assert switch.violations() == [] and len(bench.send("p", ALL + A + IP, ALL + B + IP)["q"]) == 2


def test_a_sticky_station_stays_where_it_was() -> None:
    bench = Bench({"p": PortSettings(pvid=10, sticky=True), "q": P10, "r": P10}, ageing_s=10)
    bench.send("p", ALL + A + IP)
    assert bench.send("q", ALL + A + IP) == {}
    assert bench.drops("q") == {"security": 1}
    bench.switch.tick(1000 * SECOND)
    assert bench.send("q", A + B + IP, now=1000 * SECOND) == {"p": [A + B + IP]}
    assert [row["kind"] for row in bench.switch.stations(1000 * SECOND)] == ["sticky", "dynamic"]
    bench.switch.flush_stations("p", static=True)
    assert set(bench.send("q", A + B + IP, now=1000 * SECOND)) == {"p", "r"}


def test_a_static_station_does_not_move_but_its_frames_pass() -> None:
    bench = Bench({"p": P10, "q": P10, "r": P10})
    bench.switch.add_station(10, "02:00:00:00:00:01", "p")
    assert set(bench.send("q", ALL + A + IP)) == {"p", "r"}
    assert bench.send("r", A + B + IP) == {"p": [A + B + IP]}
    bench.switch.flush_stations()
    assert bench.stations() == [(10, "p")]
    for wrong in ("ff:ff:ff:ff:ff:ff", "nonsense"):
        with pytest.raises(ValueError, match=wrong):
            bench.switch.add_station(10, wrong, "p")
    with pytest.raises(ValueError, match="no port x"):
        bench.switch.add_station(10, "02:00:00:00:00:01", "x")


def test_a_vlan_may_have_a_limit_of_its_own() -> None:
    bench = Bench({"t": PortSettings("trunk", 0, frozenset({10, 20}), on_limit="drop"), "q": P10})
    bench.switch.set_vlans(VlanSettings(limits=((10, 1),)))
    bench.send("t", ALL + A + tag(10) + IP, ALL + B + tag(10) + IP, ALL + B + tag(20) + IP, ALL + C + tag(20) + IP)
    assert bench.drops("t") == {"security": 1, "no-destination": 2}
    assert bench.stations() == [(10, "t"), (20, "t"), (20, "t")]


# --- isolation


def test_protected_ports_do_not_talk_to_each_other() -> None:
    protected = P10._replace(protected=True)
    bench = Bench({"p": protected, "q": protected, "r": P10})
    assert bench.send("p", ALL + A + IP) == {"r": [ALL + A + IP]}
    assert set(bench.send("r", ALL + B + IP)) == {"p", "q"}
    assert bench.send("q", A + C + IP) == {}
    assert bench.drops("q") == {"isolated": 1}
    assert bench.send("p", B + A + IP) == {"r": [B + A + IP]}


@pytest.mark.parametrize(("kind", "target"), [("unicast", C), ("multicast", GROUP), ("broadcast", ALL)])
def test_what_is_not_flooded_out_of_a_port(kind: str, target: bytes) -> None:
    bench = Bench(
        {"p": P10, "q": P10._replace(flood=frozenset({"unicast", "multicast", "broadcast"}) - {kind}), "r": P10}
    )
    assert set(bench.send("p", target + A + IP)) == {"r"}
    assert [set(bench.send("p", other + A + IP)) for other in (C, GROUP, ALL) if other != target] == [{"q", "r"}] * 2
    bench.send("q", ALL + B + IP)
    assert bench.send("p", B + A + IP) == {"q": [B + A + IP]}  # a known station's frames are not flooded
    bench.switch.remove_port("r")
    assert bench.send("p", target + A + IP) == {}
    assert bench.drops("p") == {"no-destination": 1}


# --- storm control


@pytest.mark.parametrize(("kind", "target"), [("unicast", C), ("multicast", GROUP), ("broadcast", ALL)])
def test_a_storm_of_frames(kind: str, target: bytes) -> None:
    bench = Bench({"p": P10._replace(storm=((kind, 100, "fps"),)), "q": P10})
    frame = target + A + IP

    def passed(count: int, now: int) -> int:
        return len(bench.send("p", *[frame] * count, now=now).get("q", []))

    start = 5 * SECOND
    assert passed(15, start) == 10  # a tenth of a second's worth
    assert passed(5, start + 9_999_999) == 0
    assert passed(5, start + 10_000_000) == 1  # exact: 100 a second is one each 10 ms
    assert passed(5, start + 25_000_000) == 1
    assert passed(5, start + 30_000_000) == 1
    assert passed(50, start + 10 * SECOND) == 10
    assert passed(50, start) == 0  # a clock that goes back gives nothing
    others = [other + A + IP for other in (C, GROUP, ALL) if other != target]
    assert len(bench.send("p", *others * 50, now=start)["q"]) == 100
    assert bench.drops("p") == {"storm": 5 + 5 + 4 + 4 + 4 + 40 + 50}


def test_a_storm_of_bits_and_a_bucket_that_holds_the_largest_frame() -> None:
    bench = Bench({"p": P10._replace(mtu=100, storm=(("broadcast", 1180, "bps"),)), "q": P10})
    frame = ALL + A + tag(0) + IP[:2] + bytes(100)  # 118 bytes
    assert len(bench.send("p", frame, frame, now=SECOND)["q"]) == 1  # 944 bits are all that the bucket holds
    assert bench.send("p", frame, now=SECOND + 799_999_999) == {}
    assert bench.send("p", frame, now=SECOND + 800_000_000) != {}
    assert bench.drops("p") == {"storm": 2}


def test_a_bucket_survives_other_changes_and_is_filled_by_its_own() -> None:
    settings = P10._replace(storm=(("broadcast", 10, "fps"),))
    bench = Bench({"p": settings, "q": P10})
    frame = ALL + A + IP
    bench.send("p", frame, now=SECOND)
    bench.switch.set_port("p", settings._replace(priority=3))
    assert bench.send("p", frame, now=SECOND) == {}
    bench.switch.set_port("p", settings._replace(storm=(("broadcast", 20, "fps"),)))
    assert len(bench.send("p", *[frame] * 5, now=SECOND)["q"]) == 2
    for changed in (
        settings,
        settings._replace(mtu=1500),
        settings._replace(storm=(*settings.storm, ("unicast", 5, "fps"))),
    ):
        bench.switch.set_port("p", changed)
        assert len(bench.send("p", *[frame] * 5, now=SECOND)["q"]) == 1


def test_the_fastest_limit_and_the_longest_wait_do_not_overflow() -> None:
    bench = Bench({"p": P10._replace(storm=(("broadcast", 10**11, "bps"), ("unicast", 1, "bps"))), "q": P10})
    for now in (0, 1, 2**62, 2**63 + 5, 2**64 - 1):
        assert len(bench.send("p", *[ALL + A + IP] * 9, now=now)["q"]) == 9
    sent = sum(len(bench.send("p", C + A + bytes(9000), now=2**64 - 1).get("q", [])) for _ in range(3))
    assert sent == 1
