"""The compiled plane by hand-written tables: VLANs, drops and their reasons, captures, many ports, reused numbers."""

from __future__ import annotations

import pytest

from netvirt.burst import FLAG_IN, FLAG_OUT, Burst
from netvirt.dataplane.plane import Plane
from netvirt.dataplane.queue import Queue
from netvirt.switch import SECOND, PortSettings, Switch
from tests.support.forwarded import FORWARDED, S20, tag
from tests.support.switch_bench import ALL, IP, A, B, Bench, C, burst, taken

PORTS = {
    "a10": PortSettings("access", 10, frozenset(), priority=1),
    "b10": PortSettings("access", 10),
    "a20": PortSettings("access", 20),
    "t": PortSettings("trunk", 0, frozenset({10, 20})),
    "n": PortSettings("trunk", 20, frozenset({10, 20}), priority=5),
    "off": PortSettings("trunk", 10, frozenset({10, 20}), state="disabled"),
    "blk": PortSettings("trunk", 10, frozenset({10, 20}), state="blocked"),
}


@pytest.mark.parametrize(("port", "between", "leaving"), FORWARDED)
@pytest.mark.parametrize("destination", [ALL, C, bytes.fromhex("01005e000001"), bytes.fromhex("0180c2000010")])
def test_who_gets_what(port: str, between: bytes, leaving: dict[str, bytes], destination: bytes) -> None:
    got = Bench(PORTS).send(port, destination + A + between + IP)
    assert got == {name: [destination + A + middle + IP] for name, middle in leaving.items()}


DROPPED = [
    ("t", ALL + A + b"\x81\x00\x00\x0a\x08", "runt"),
    ("a10", ALL + A + b"\x81\x00", "runt"),
    ("a10", ALL + A + IP[:2] + bytes(9217), "oversize"),
    ("t", ALL + A + tag(10) + IP[:2] + bytes(9217), "oversize"),
    ("a10", ALL + b"\x03" + A[1:] + IP, "bad-source"),
    ("a10", ALL + ALL + IP, "bad-source"),
    ("a10", bytes.fromhex("0180c2000000") + A + IP, "reserved-address"),
    ("n", bytes.fromhex("0180c200000f") + A + tag(10) + IP, "reserved-address"),
    ("a10", ALL + A + tag(10) + IP, "tagged-not-accepted"),
    ("a10", ALL + A + tag(4095) + IP, "bad-vid"),
    ("t", ALL + A + tag(4095) + IP, "bad-vid"),
    ("t", ALL + A + IP, "untagged-not-accepted"),
    ("t", ALL + A + tag(0, 7) + IP, "untagged-not-accepted"),
    ("t", ALL + A + S20 + IP, "untagged-not-accepted"),
    ("t", ALL + A + tag(30) + IP, "vlan-not-allowed"),
    ("n", ALL + A + tag(4094) + IP, "vlan-not-allowed"),
    ("off", ALL + A + IP, "port-disabled"),
    ("blk", ALL + A + IP, "port-blocked"),
    ("a10", A + A + IP, "no-destination"),
]
TEACHES = {"reserved-address", "no-destination"}  # 802.1Q-2018: learning (8.7) stands before frame filtering (8.6.3)


@pytest.mark.parametrize(("port", "frame", "reason"), DROPPED)
def test_each_drop_has_its_reason(port: str, frame: bytes, reason: str) -> None:
    bench = Bench(PORTS)
    assert bench.send(port, frame) == {}
    assert bench.drops(port) == {reason: 1}
    assert sum(bool(bench.drops(name)) for name in PORTS) == 1
    assert bool(bench.stations()) == (reason in TEACHES)
    assert bench.send(port, frame, frame) == {}
    assert bench.drops(port) == {reason: 3}


def test_offload_and_runts_and_a_cut_message_are_counted_and_the_rest_goes_on() -> None:
    bench = Bench(PORTS)
    mixed = Burst()
    mixed.append(ALL + A + IP, vnet=b"\0\x7f" + bytes(10))  # a gso_type that nobody knows
    mixed.append(ALL + A + IP)
    message = bytearray(mixed.message())
    message[4] = 3
    message += (5).to_bytes(4, "little") + bytes(20) + bytes(5)
    number = bench.switch.number("a10")
    assert bench.switch.process(number, bytes(message), 0, 0) == 3
    assert bench.out()["b10"] == [ALL + A + IP]
    assert bench.drops("a10") == {"offload-unsupported": 1, "runt": 1}
    for junk, done in ((b"", 0), (bytes(16), 0), (message[:-1], 2), (message + b"\0", 3), (message[:40], 0)):
        bench.switch.process(number, bytes(junk), 0, 0)
        before = bench.drops("a10")["malformed"]
        assert bench.switch.process(number, bytes(junk), 0, 0) == done
        assert bench.drops("a10")["malformed"] == before + 1


def test_the_largest_frame_passes_tagged_and_untagged_and_a_smaller_port_drops_its_copy() -> None:
    bench = Bench({**PORTS, "b10": PortSettings("access", 10, mtu=1500)})
    large = IP[:2] + bytes(9216)
    assert bench.send("a10", ALL + A + large) == {
        "t": [ALL + A + tag(10, 1) + large],
        "n": [ALL + A + tag(10, 1) + large],
    }
    assert bench.drops("b10") == {"oversize": 1}
    assert "a10" in bench.send("t", ALL + B + tag(10) + large)


def test_an_mtu_is_no_larger_than_what_a_burst_can_carry_with_tags() -> None:
    bench = Bench(
        {"a": PortSettings("access", 10, mtu=65_535), "t": PortSettings("trunk", 0, frozenset({10}), mtu=65_535)}
    )
    largest = ALL + A + IP[:2] + bytes(65_535)
    assert bench.send("a", largest) == {"t": [ALL + A + tag(10) + largest[12:]]}
    with pytest.raises(ValueError, match="65535"):
        bench.switch.set_port("a", PortSettings("access", 10, mtu=65_536))


def test_learning_ends_the_flood_and_follows_stations() -> None:
    bench = Bench(PORTS)
    bench.send("a10", ALL + A + IP)
    assert bench.send("t", A + B + tag(10) + IP) == {"a10": [A + B + IP]}
    assert set(bench.send("t", A + B + tag(20) + IP)) == {"a20", "n"}  # another VLAN knows nothing of it
    bench.send("b10", ALL + A + IP)
    assert bench.send("t", A + B + tag(10) + IP) == {"b10": [A + B + IP]}
    assert bench.stations() == [(10, "b10"), (10, "t"), (20, "t")]


def test_stations_age_and_the_switch_says_when_to_look() -> None:
    bench = Bench(PORTS, ageing_s=10)
    assert bench.switch.next_deadline() is None
    bench.send("a10", ALL + A + IP, now=100 * SECOND)
    assert bench.switch.next_deadline() == 105 * SECOND
    bench.send("b10", ALL + B + IP, now=104 * SECOND)
    bench.switch.tick(104 * SECOND)
    assert bench.switch.next_deadline() == 105 * SECOND
    assert len(bench.send("t", A + C + tag(10) + IP, now=109 * SECOND)) == 1
    assert len(bench.send("t", A + C + tag(10) + IP, now=110 * SECOND)) == 3
    bench.switch.tick(114 * SECOND)
    assert len(bench.switch.plane.macs) == 1  # C, seen at 110
    bench.switch.tick(200 * SECOND)
    assert len(bench.switch.plane.macs) == 0
    assert bench.switch.next_deadline() is None


def test_a_flood_passes_over_ports_without_carrier() -> None:
    """An empty socket is no loss (IEEE Std 802.1Q-2018, 8.4: a port whose MAC is not operational does not forward)."""
    bench = Bench(PORTS)
    bench.send("b10", ALL + B + IP)
    bench.switch.process(bench.switch.number("a10"), burst(ALL + A + IP), 0, 0)
    bench.switch.set_carrier("b10", False)  # what waited there is lost, and its stations are forgotten
    assert bench.drops("b10") == {"link-down": 1}
    assert bench.stations() == [(10, "a10")]
    got = bench.send("a10", ALL + A + IP)
    assert "b10" not in got
    assert bench.drops("b10") == {"link-down": 1}
    bench.switch.set_carrier("b10", True)
    assert "b10" in bench.send("a10", ALL + A + IP)


def test_a_new_port_has_no_carrier_until_somebody_is_there() -> None:
    switch = Switch("s1")
    for name in ("a", "b"):
        switch.set_port(name, PortSettings())
    switch.process(switch.number("a"), burst(ALL + A + IP), 0, 0)
    assert switch.plane.statistics(switch.number("a"))["drops"] == {"no-destination": 1}
    assert switch.plane.statistics(switch.number("b"))["drops"] == {}


def test_what_is_for_a_station_behind_a_port_without_carrier_is_lost_and_counted_there() -> None:
    bench = Bench(PORTS)
    bench.switch.add_station(10, B, "b10")
    bench.switch.set_carrier("b10", False)
    assert bench.send("a10", B + A + IP) == {}
    assert bench.drops("b10") == {"link-down": 1}


def test_a_full_queue_drops_its_own_copies_only() -> None:
    bench = Bench(PORTS)
    frame = ALL + A + IP + bytes(1400)
    number, count = bench.switch.number("a10"), 3000
    for _ in range(count):
        bench.switch.process(number, burst(frame), 0, 0)
        taken(bench.switch.queue("t"))
        taken(bench.switch.queue("n"))
    statistics = bench.switch.plane.statistics(bench.switch.number("b10"))
    assert statistics["waiting_bytes"] <= 2 << 20
    assert statistics["drops"] == {"queue-full": count - statistics["waiting_frames"]}
    assert bench.drops("t") == bench.drops("n") == {}
    assert bench.switch.plane.statistics(bench.switch.number("t"))["tx_frames"] == count


def test_counters() -> None:
    bench = Bench(PORTS)
    bench.send("a10", ALL + A + IP, ALL + A + IP)
    statistics = bench.switch.plane.statistics(bench.switch.number("a10"))
    assert (statistics["rx_frames"], statistics["rx_bytes"]) == (2, 2 * len(ALL + A + IP))
    statistics = bench.switch.plane.statistics(bench.switch.number("t"))
    assert (statistics["tx_frames"], statistics["tx_bytes"]) == (2, 2 * (len(ALL + A + IP) + 4))


def test_time_and_identity_are_stamped_once_and_kept_after() -> None:
    bench = Bench(PORTS, epoch=5)
    number = bench.switch.number("a10")
    bench.switch.process(number, burst(ALL + A + IP, ALL + A + IP), 7, 1000)
    fresh = {name: [(f.time_ns, f.identity) for f in taken(bench.switch.queue(name))] for name in ("b10", "t", "n")}
    assert fresh["b10"] == fresh["t"] == fresh["n"]
    (time_one, one), (time_two, two) = fresh["t"]
    assert (time_one, time_two) == (1000, 1000) and one != two and 0 not in (one, two)
    bench.switch.process(number, burst(ALL + A + IP, time_ns=5, identity=6), 7, 1000)
    assert [(f.time_ns, f.identity) for f in taken(bench.switch.queue("t"))] == [(5, 6)]
    other = Bench(PORTS, epoch=6)
    other.switch.process(number, burst(ALL + A + IP), 7, 1000)
    assert taken(other.switch.queue("t"))[0].identity not in (one, two), "another life of the switch begins elsewhere"


def test_a_port_may_change_its_vlan_and_leaves_nothing_behind() -> None:
    bench = Bench(PORTS)
    bench.send("a10", ALL + A + IP)
    bench.send("b10", ALL + B + IP)
    bench.set("a10", PortSettings("access", 20))
    assert bench.stations() == [(10, "b10")]
    assert set(bench.send("b10", A + B + IP)) == {"t", "n"}
    assert set(bench.send("a10", ALL + A + IP)) == {"a20", "t", "n"}
    bench.set("a10", PortSettings("trunk", 0, frozenset({30})))
    assert bench.send("a10", ALL + A + tag(30) + IP) == {}
    assert bench.drops("a10") == {"no-destination": 1}


@pytest.mark.parametrize(
    "settings",
    [
        PortSettings("access", 0), PortSettings("access", 4095), PortSettings("access", 10, priority=8),
        PortSettings("hybrid", 10), PortSettings("trunk", 0, frozenset({0})),
        PortSettings("trunk", 0, frozenset({4095})),
        PortSettings("access", 10, state="asleep"), PortSettings("access", 10, mtu=70_000),
    ],
)  # fmt: skip
def test_what_can_not_be_changes_nothing(settings: PortSettings) -> None:
    bench = Bench(PORTS)
    with pytest.raises(ValueError) as caught:
        bench.switch.set_port("a10", settings)
    assert "tuple" not in str(caught.value)
    with pytest.raises(ValueError):
        bench.switch.set_port("new", settings)
    assert bench.switch.ports == PORTS
    assert set(bench.send("a10", ALL + A + IP)) == {"b10", "t", "n"}
    bench.set("new", PortSettings("access", 10))
    assert bench.switch.number("new") == len(PORTS)


# --- many ports, reused numbers


def test_flooding_to_forty_seven_ports() -> None:
    bench = Bench({f"e{n}": PortSettings("access", 10) for n in range(48)})
    frame = ALL + A + IP
    got = bench.send("e17", *[frame] * 100)
    assert got == {f"e{n}": [frame] * 100 for n in range(48) if n != 17}
    assert bench.switch.plane.pending() == [n for n in range(48) if n != 17]
    assert bench.switch.plane.pending() == []


@pytest.mark.parametrize("count", [63, 64, 65, 130, 700])
def test_any_number_of_ports(count: int) -> None:
    bench = Bench({f"e{n}": PortSettings("access", 1 + n % 2) for n in range(count)})
    for origin in (0, 1, count // 2, count - 1):
        got = bench.send(f"e{origin}", ALL + A + IP)
        assert set(got) == {f"e{n}" for n in range(origin % 2, count, 2)} - {f"e{origin}"}
    bench.send(f"e{count - 1}", ALL + B + IP)
    to = "e0" if (count - 1) % 2 == 0 else "e1"
    assert bench.send(to, B + C + IP) == {f"e{count - 1}": [B + C + IP]}


def test_a_switch_has_an_end() -> None:
    plane = Plane()
    with pytest.raises(ValueError, match="4096 ports"):
        for _ in range(4097):
            plane.add_port()


def test_adding_ports_in_the_middle_of_traffic_loses_nothing() -> None:
    bench = Bench({f"e{n}": PortSettings("access", 10) for n in range(64)})
    frame = ALL + A + IP
    bench.switch.process(0, burst(frame), 0, 0)
    bench.set("late", PortSettings("access", 10))  # the tables move to a larger place
    bench.switch.process(0, burst(frame), 0, 0)
    assert bench.switch.plane.pending() == list(range(1, 65))
    got = bench.out()
    assert got.pop("late") == [frame]
    assert got == {f"e{n}": [frame, frame] for n in range(1, 64)}


def test_a_number_is_used_again_and_remembers_nothing() -> None:
    bench = Bench(PORTS)
    number = bench.switch.number("b10")
    assert bench.switch.plane.add_capture([number]) is not None
    bench.send("b10", ALL + B + IP)
    bench.switch.process(bench.switch.number("a10"), burst(ALL + A + IP), 0, 0)
    old = bench.switch.queue("b10")
    bench.switch.remove_port("b10")
    assert number not in bench.switch.plane.pending()
    assert len(old) == 1, "whoever still holds the queue has it whole"
    with pytest.raises(KeyError):
        bench.switch.plane.forward(number, burst(ALL + A + IP), 0, 0)
    assert (10, "b10") not in bench.stations()
    bench.set("fresh", PortSettings("access", 20))
    assert bench.switch.number("fresh") == number
    statistics = bench.switch.plane.statistics(number)
    assert (statistics["rx_frames"], statistics["tx_frames"], statistics["drops"]) == (0, 0, {})
    assert set(bench.send("fresh", ALL + C + IP)) == {"a20", "t", "n"}
    assert bench.stations() == [(10, "a10"), (20, "fresh")]


@pytest.mark.parametrize("number", [-1, 7, 64, 10**6])
def test_a_port_that_is_not_there(number: int) -> None:
    plane = Bench(PORTS).switch.plane
    for call in (plane.remove_port, plane.queue, plane.statistics, lambda n: plane.forward(n, b"", 0, 0)):
        with pytest.raises(KeyError):
            call(number)
    with pytest.raises(KeyError):
        plane.add_capture([0, number])


# --- captures


def captured(queue: Queue) -> list[tuple[int, int, bytes]]:
    return [(frame.port, frame.flags, frame.data) for frame in taken(queue)]


def test_a_capture_sees_both_ways_with_tags_times_and_identities_as_they_are() -> None:
    bench = Bench(PORTS)
    number = bench.switch.number("t")
    session = bench.switch.plane.add_capture([number], epoch=3)
    assert session is not None
    which, queue = session
    bench.send("t", ALL + A + tag(10, 3) + IP)
    bench.send("a10", A + B + IP)
    assert bench.switch.plane.pending_captures() == [which]
    assert bench.switch.plane.pending_captures() == []
    head = queue.head()
    assert head is not None and Burst.parse(head).epoch == 3
    frames = list(Burst.parse(head))
    assert [(f.port, f.flags, f.data) for f in frames] == [
        (number, FLAG_IN, ALL + A + tag(10, 3) + IP),
        (number, FLAG_OUT, A + B + tag(10, 1) + IP),
    ]
    assert all(f.time_ns == 1 and f.identity for f in frames)


def test_one_frame_has_one_identity_wherever_it_is_seen() -> None:
    bench = Bench(PORTS)
    session = bench.switch.plane.add_capture([bench.switch.number(name) for name in PORTS])
    assert session is not None
    bench.send("a10", ALL + A + IP)
    frames = taken(session[1])
    assert len(frames) == 4 and len({frame.identity for frame in frames}) == 1


def test_a_capture_sees_what_is_dropped_on_the_way_in_and_not_what_never_left() -> None:
    bench = Bench({**PORTS, "b10": PortSettings("access", 10, mtu=100)})
    bench.switch.set_carrier("n", False)
    numbers = {bench.switch.number(name): name for name in PORTS}
    session = bench.switch.plane.add_capture(list(numbers))
    assert session is not None
    for port, frame, _ in DROPPED:
        bench.send(port, frame)
        assert captured(session[1]) == [(bench.switch.number(port), FLAG_IN, frame)]
    bench.send("a10", ALL + A + IP + bytes(200))
    seen = [(numbers[port], flags) for port, flags, _ in captured(session[1])]
    assert seen == [("a10", FLAG_IN), ("t", FLAG_OUT)]


def test_sessions_are_few_and_each_has_its_own_ports() -> None:
    bench = Bench(PORTS)
    plane, number = bench.switch.plane, bench.switch.number
    sessions = [plane.add_capture([number("a10")]) for _ in range(8)]
    assert [session[0] for session in sessions if session] == list(range(8))
    assert plane.add_capture([number("a10")]) is None
    plane.remove_capture(3)
    again = plane.add_capture([number("t")])
    assert again is not None and again[0] == 3
    bench.send("a10", ALL + A + IP)
    assert plane.pending_captures() == list(range(8))
    assert captured(again[1]) == [(number("t"), FLAG_OUT, ALL + A + tag(10, 1) + IP)]
    for session in sessions:
        assert session is not None
        expected = [] if session[0] == 3 else [(number("a10"), FLAG_IN, ALL + A + IP)]
        assert captured(session[1]) == expected
    for session in (-1, 8, 99):
        with pytest.raises(KeyError):
            plane.remove_capture(session)


def test_a_capture_that_nobody_reads_costs_its_own_copies_only() -> None:
    bench = Bench(PORTS)
    session = bench.switch.plane.add_capture([bench.switch.number("a10")], queue_bytes=1000)
    assert session is not None
    for _ in range(100):
        assert len(bench.send("a10", ALL + A + IP)) == 3
    assert session[1].nbytes <= 1000
    assert session[1].statistics()["drops"]["queue-full"] == 100 - len(session[1])
    assert bench.drops("a10") == {}
