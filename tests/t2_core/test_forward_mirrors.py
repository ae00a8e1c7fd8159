"""Mirrors (SPAN, RSPAN) through the compiled rules: who gets a copy, in which form, and how often."""

from __future__ import annotations

from netvirt.settings import S_TAG, Mirror, PortSettings, VlanSettings
from netvirt.switch import Switch
from tests.support.forwarded import tag
from tests.support.switch_bench import ALL, IP, A, B, Bench, C

TRUNK = PortSettings("trunk", 0, frozenset({10, 20, 900}))
PORTS = {"a": PortSettings(pvid=10, priority=3), "b": PortSettings(pvid=10), "t": TRUNK, "m": PortSettings(pvid=10)}
REMOTE = VlanSettings(remote=frozenset({900}))


def names(*which: str) -> frozenset[str]:
    return frozenset(which)


def bench_of(*mirrors: Mirror, **more: PortSettings) -> Bench:
    bench = Bench({**PORTS, **more})
    bench.switch.change({}, REMOTE, mirrors)
    return bench


def test_what_comes_in_is_seen_as_it_came_even_if_it_is_dropped() -> None:
    bench = bench_of(Mirror("one", ports_in=names("a", "t"), to_port="m"))
    for port, frame in (("t", ALL + A + tag(10, 5) + IP), ("t", ALL + A + tag(30) + IP), ("a", ALL + A + tag(20) + IP),
                        ("a", A + A + IP), ("a", ALL + ALL + IP)):  # fmt: skip
        assert bench.send(port, frame)["m"] == [frame]
    assert "m" not in bench.send("b", ALL + B + IP)


def test_what_leaves_is_seen_as_it_left_and_only_if_it_did() -> None:
    bench = bench_of(Mirror("one", ports_out=names("t", "b"), to_port="m"))
    bench.send("b", ALL + B + IP)
    assert bench.send("a", B + A + IP) == {"b": [B + A + IP], "m": [B + A + IP]}
    got = bench.send("t", ALL + C + tag(20) + IP, B + C + tag(10, 1) + IP)
    assert got == {"b": [B + C + IP], "m": [B + C + IP]}
    bench.switch.set_carrier("t", False)
    bench.switch.set_mirrors([Mirror("one", ports_out=names("t"), to_port="m")])
    assert set(bench.send("a", ALL + A + IP)) == {"b"}
    bench.switch.set_carrier("t", True)
    assert bench.send("a", ALL + A + IP)["m"] == [ALL + A + tag(10, 3) + IP]


def test_one_frame_is_copied_once_per_session() -> None:
    both = Mirror("both", ports_in=names("a"), ports_out=names("b", "t"), vlans=frozenset({10}), to_port="m")
    second = Mirror("second", ports_out=names("b", "t"), to_port="m2")
    bench = bench_of(both, second, m2=PortSettings(pvid=10))
    frame = ALL + A + IP
    got = bench.send("a", frame)
    assert (got["m"], got["m2"]) == ([frame], [frame])
    assert got["b"] == [frame] and got["t"] == [ALL + A + tag(10, 3) + IP]


def test_a_vlan_is_seen_wherever_it_comes_in() -> None:
    bench = bench_of(Mirror("one", vlans=frozenset({10}), to_port="m"))
    assert bench.send("t", ALL + A + tag(10) + IP)["m"] == [ALL + A + tag(10) + IP]
    assert bench.send("b", ALL + A + IP)["m"] == [ALL + A + IP]
    assert "m" not in bench.send("t", ALL + A + tag(20) + IP)


def test_the_destination_of_a_mirror_is_a_port_for_copies_only() -> None:
    bench = bench_of()
    bench.send("m", ALL + C + IP)
    bench.switch.set_mirrors([Mirror("one", ports_in=names("a"), to_port="m")])
    assert bench.stations() == []
    assert bench.send("m", ALL + C + IP) == {}
    assert bench.drops("m") == {"mirror-port": 1}
    assert "m" not in bench.send("b", ALL + B + IP)
    bench.switch.set_port("m", PORTS["m"]._replace(state="blocked"))
    assert "m" not in bench.send("a", ALL + A + IP)
    bench.switch.change({"m": PORTS["m"]}, mirrors=())
    assert "m" in bench.send("a", ALL + A + IP)


def test_remote_mirroring_puts_one_more_tag_in_front() -> None:
    ports = {"far": TRUNK._replace(tpid=S_TAG), "tap": PortSettings(pvid=900)}
    bench = bench_of(Mirror("one", ports_in=names("a", "t"), to_vlan=900), **ports)
    frame = ALL + A + tag(20, 5, 1) + IP
    got = bench.send("t", frame)
    outer = tag(900, 5)
    assert got["t"] == [frame[:12] + outer + frame[12:]]  # a copy may go where its frame came from
    assert frame[:12] + b"\x88\xa8" + outer[2:] + frame[12:] in got["far"]
    assert got["tap"] == [frame]
    got = bench.send("a", B + A + IP)
    assert got["tap"] == [B + A + IP] and B + A + tag(900, 3) + IP in got["t"]


def test_copies_of_what_leaves_go_into_the_rspan_vlan_too() -> None:
    bench = bench_of(Mirror("one", ports_out=names("b"), to_vlan=900), tap=PortSettings(pvid=900))
    bench.send("b", ALL + B + IP)
    got = bench.send("t", B + A + tag(10, 6) + IP)
    assert got == {"b": [B + A + IP], "t": [B + A + tag(900, 6) + IP], "tap": [B + A + IP]}


def test_an_rspan_vlan_floods_learns_nothing_and_is_not_mirrored_again() -> None:
    mirror = Mirror("one", ports_in=names("t"), ports_out=names("t2"), vlans=frozenset({900}), to_vlan=900)
    bench = bench_of(mirror, t2=TRUNK)
    frame = B + A + tag(900) + tag(20) + IP
    for _ in range(2):
        assert bench.send("t", frame) == {"t2": [frame]}
    assert bench.stations() == []


def test_a_copy_that_would_be_too_long_is_dropped_where_it_would_leave() -> None:
    bench = bench_of(Mirror("one", ports_in=names("a"), to_vlan=900), a=PORTS["a"]._replace(mtu=65_535),
                     t=TRUNK._replace(mtu=65_535))  # fmt: skip
    longest = ALL + A + IP[:2] + bytes(65_557 - 14)
    assert bench.send("a", longest) == {}
    assert bench.drops("a") == {"oversize": 1} and bench.drops("t") == {"oversize": 1}


def test_mirrors_in_a_flood_do_not_disturb_the_frames_that_follow() -> None:
    """A copy may make the queue move from which the next port's bytes are taken."""
    ports = {f"p{n}": PortSettings(pvid=10) for n in range(40)}
    ports |= {f"t{n}": TRUNK for n in range(10)}
    switch_mirrors = [Mirror(f"m{n}", ports_out=names(f"p{n}", f"t{n}"), to_vlan=900) for n in range(8)]
    bench = Bench(ports)
    bench.switch.change({}, REMOTE, switch_mirrors)
    frame = ALL + A + IP + bytes(range(200))
    for _ in range(40):
        got = bench.send("p39", frame)
        assert all(got[f"p{n}"] == [frame] for n in range(39))
        assert all(frame[:12] + tag(10) + frame[12:] in got[f"t{n}"] for n in range(10))
        assert all(len(got[f"t{n}"]) == 9 for n in range(10))


def test_wrong_mirrors_change_nothing() -> None:
    switch: Switch = bench_of(Mirror("one", ports_in=names("a"), to_port="m")).switch
    wrong = {
        "nobody": Mirror("x", ports_in=names("nobody"), to_port="m"),
        "destination": Mirror("x", names("m"), to_port="m"),
        "one destination": Mirror("x", names("a")), "no RSPAN": Mirror("x", names("a"), to_vlan=20),
        "not a VLAN": Mirror("x", vlans=frozenset({4095}), to_port="m"),
    }  # fmt: skip
    for says, mirror in wrong.items():
        try:
            switch.set_mirrors([mirror])
        except ValueError as error:
            assert says in str(error)
        else:
            raise AssertionError(mirror)
    assert [mirror.name for mirror in switch.mirrors] == ["one"]
