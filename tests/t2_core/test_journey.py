"""Journeys through little labs: what each switch says of a frame, whom it reaches, and what to do where it does not."""

from __future__ import annotations

import pytest

from netvirt.dataplane.drops import REASONS
from netvirt.settings import Mirror, PortSettings, VlanSettings
from tests.support.journeys import NOW, Lab, host
from tools.journey import MOST_HOPS, Hop, Journey
from tools.journey_tree import lines, value
from tools.journey_words import _VARIANTS, WHY

OFFICE, LAB = PortSettings(pvid=10), PortSettings(pvid=20)
TRUNK = PortSettings("trunk", 0, frozenset({10, 20}))


def two(**changed: PortSettings) -> Lab:
    """h1 (10) and h2 (20) at s1, h3 (10) and h4 (20) at s2, a trunk; keys such as s1_eth9 change ports."""
    ports = {"s1:eth1": OFFICE, "s1:eth2": LAB, "s1:eth9": TRUNK, "s2:eth1": OFFICE, "s2:eth2": LAB, "s2:eth9": TRUNK}
    ports |= {place.replace("_", ":"): settings for place, settings in changed.items()}
    links = [("s1:eth1", "h1:eth0"), ("s1:eth2", "h2:eth0"), ("s2:eth1", "h3:eth0"), ("s2:eth2", "h4:eth0")]
    return Lab(ports, [*links, ("s1:eth9", "s2:eth9")])


def rules(hop: Hop) -> list[str]:
    return [line.rule if line.rule != "drop" else line.reason for line in hop.lines]


def ends(journey: Journey) -> list[tuple[str, str, str, str]]:
    """(switch, port, mirror, end) of all that left anywhere."""
    return [(hop.switch, way.port, way.mirror, way.end) for hop in journey.hops() for way in hop.ways]


def text(journey: Journey) -> str:
    return "\n".join(lines(journey))


def test_through_two_switches_and_a_trunk() -> None:
    lab = two()
    journey, end = lab.trace("h1", "dst=h3 icmp")
    assert end.good and end.sentence == "reaches h3:eth0 (untagged)"
    first, second = journey.hops()
    assert (first.switch, first.port, rules(first)) == ("s1", "eth1", ["untagged", "vlan", "learn", "flood"])
    assert (second.switch, second.port, rules(second)) == ("s2", "eth9", ["tag", "vlan", "learn", "flood"])
    assert second.frame[12:16] == b"\x81\x00\x00\x0a" and first.ways[0].frame == second.frame
    assert [(line.port, line.reason) for line in first.left_out] == [("eth2", "not-in-vlan")]
    told = text(journey).splitlines()
    assert told[1] == "h1:eth0 ─► s1:eth1"
    assert "  vlan      VLAN 10 (office), the VLAN of eth1" in told
    assert "  └─ eth9 (tagged 10) ─► s2:eth9" in told
    assert told[-1] == "     └─ eth1 (untagged) ─► h3:eth0  takes it"


def test_a_known_station_is_found_and_nobody_else_is_asked() -> None:
    lab = two()
    lab.switches["s1"].add_station(10, "02:00:00:00:00:03", "eth9")
    journey, end = lab.trace("h1", "dst=h3")
    assert end.good and rules(journey.first) == ["untagged", "vlan", "learn", "found"]
    assert journey.first.lines[-1].text == "h3 (02:00:00:00:00:03) is known at eth9"


def test_a_priority_and_a_host_that_tags() -> None:
    voice = host("h1", 1, vlan=10, priority=5)
    lab = Lab({"s1:eth1": TRUNK, "s1:eth2": TRUNK._replace(allowed=frozenset({10}), pvid=20)},
              [("s1:eth1", "h1:eth0"), ("s1:eth2", "h2:eth0")], hosts=[voice, host("h2", 2, vlan=10)])  # fmt: skip
    journey, end = lab.trace("h1", "dst=h2")
    assert end.sentence == "reaches h2:eth0 (tagged 10, PCP 5)"
    assert journey.first.lines[0].text == "VID 10, PCP 5: taken off"
    journey, end = lab.trace("h1", "dst=h2 vlan=none")
    assert not end.good and rules(journey.first) == ["untagged-not-accepted"]
    assert end.advice == "give it a tag (vlan=VID), or: vfab port set s1:eth1 native=VID"
    journey, end = lab.trace("s1:eth2", "src=h2 dst=h1 vlan=none")  # native VLAN 20, which eth1 sends with its tag
    assert not end.good and end.cause.startswith("s1:eth1 sends it to h1:eth0, but no interface has this VLAN")


@pytest.mark.parametrize(
    ("changed", "where", "words", "cause", "advice"),
    [
        ({}, "h1", "dst=h3 vlan=20", "s1:eth1 takes no tagged frames (802.1Q-2018, 6.9)",
         "leave out the tag, or: vfab port set s1:eth1 mode=trunk allowed=20"),
        ({}, "h1", "dst=h2", "s1:eth2 is in VLAN 20 (lab), not in VLAN 10 (office) (802.1Q-2018, 8.6.4)",
         "vfab port set s1:eth2 access=10"),
        ({"s1_eth9": TRUNK._replace(allowed=frozenset({20}))}, "h1", "dst=h3",
         "s1:eth9 does not allow VLAN 10 (office) (802.1Q-2018, 8.6.4)", "vfab port set s1:eth9 allowed=+10"),
        ({"s2_eth9": TRUNK._replace(allowed=frozenset({20}))}, "h1", "dst=h3",
         "s2:eth9 does not allow VLAN 10 (802.1Q-2018, 8.6.2)", "vfab port set s2:eth9 allowed=+10"),
        ({"s2_eth9": TRUNK._replace(translate=((100, 10),))}, "h1", "dst=h3",
         "VLAN 10 is none of s2:eth9's: it translates 100:10 (802.1Q-2018, 6.9)", ""),
        ({"s1_eth9": TRUNK._replace(state="blocked")}, "h1", "dst=h3",
         "s1:eth9 is blocked, or a loop would close; another link has this traffic (802.1Q-2018, 8.4)", ""),
        ({"s2_eth9": TRUNK._replace(state="blocked")}, "h1", "dst=h3",
         "s2:eth9 is blocked, or a loop would close; another link has this traffic (802.1Q-2018, 8.4)", ""),
        ({"s2_eth1": OFFICE._replace(state="disabled")}, "h1", "dst=h3", "s2:eth1 is disabled (802.1Q-2018, 8.4)",
         "vfab port set s2:eth1 state=forwarding"),
        ({"s1_eth1": OFFICE._replace(mtu=1500)}, "h1", "dst=h3 size=1515",
         "1501 bytes of payload are more than s1:eth1's MTU 1500", "vfab port set s1:eth1 mtu=1501"),
        ({"s2_eth1": OFFICE._replace(mtu=1500)}, "h1", "dst=h3 size=1515",
         "1501 bytes of payload are more than s2:eth1's MTU 1500", "vfab port set s2:eth1 mtu=1501"),
        ({}, "h1", "dst=h3 src=03:00:00:00:00:01",
         "its source 03:00:00:00:00:01 is a group's address (802.3-2018, 3.2.3 b)", ""),
        ({}, "s1:eth9", "dst=h3 vlan=4095", "VID 4095 is reserved (802.1Q-2018, table 9-2)", ""),
        ({}, "s1:eth9", "dst=h1 vlan=30", "s1:eth9 does not allow VLAN 30 (802.1Q-2018, 8.6.2)",
         "vfab port set s1:eth9 allowed=+30"),
        ({}, "s1:eth9", "dst=h1", "s1:eth9 takes tagged frames only: it has no native VLAN (802.1Q-2018, 6.9)",
         "give it a tag (vlan=VID), or: vfab port set s1:eth9 native=VID"),
        ({}, "h1", "dst=01:80:c2:00:00:0e type=0x88cc",
         "01:80:c2:00:00:0e is not for bridges to forward (802.1Q-2018, table 8-1)",
         "vfab port set s1:eth1 reserved=0e:tunnel,21:tunnel"),
        ({"s1_eth1": OFFICE._replace(peer=frozenset({2, 14}))}, "h1", "dst=01:80:c2:00:00:0e type=0x88cc",
         "01:80:c2:00:00:0e is for s1 itself, where nothing listens (802.1Q-2018, 8.6.3)",
         "vfab port set s1:eth1 reserved=02:peer,0e:tunnel,21:tunnel"),
        ({"s1_eth1": OFFICE._replace(protected=True), "s1_eth9": TRUNK._replace(protected=True)}, "h1", "dst=h3",
         "s1:eth1 and s1:eth9 are both protected", "vfab port set s1:eth9 protected=false"),
        ({"s1_eth9": TRUNK._replace(flood=frozenset({"broadcast"}))}, "h1", "dst=h3",
         "s1:eth9 is not flooded with unknown unicast", "vfab port set s1:eth9 flood=all"),
        ({"s1_eth1": PortSettings("dot1q-tunnel", 10, customer=frozenset({0, 7}))}, "h1", "dst=h3 vlan=8",
         "s1:eth1 takes the customer's VLANs 0,7 only, not 8 (802.1Q-2018, 15.4)",
             "vfab port set s1:eth1 customer=0,7,8"),
    ],
)  # fmt: skip
def test_why_a_frame_does_not_get_there(
    changed: dict[str, PortSettings], where: str, words: str, cause: str, advice: str
) -> None:
    journey, end = two(**changed).trace(where, words)
    assert not end.good
    assert (end.cause, end.advice) == (cause, advice), text(journey)
    assert end.sentence.endswith(": " + "; ".join(filter(None, (cause, advice))))


def test_the_advice_helps() -> None:
    """What it says of the trunk, done with the same words as `vfab port set` reads them."""
    broken = TRUNK._replace(allowed=frozenset({20}))
    lab = two(s1_eth9=broken)
    assert lab.trace("h1", "dst=h3")[1].advice == "vfab port set s1:eth9 allowed=+10"
    lab.switches["s1"].set_port("eth9", broken._replace(allowed=broken.allowed | {10}))
    assert lab.trace("h1", "dst=h3")[1].good


def test_learned_behind_the_wrong_port() -> None:
    lab = two()
    lab.switches["s1"].add_station(10, "02:00:00:00:00:03", "eth1")
    journey, end = lab.trace("h1", "dst=h3")
    assert end.cause == "h3 (02:00:00:00:00:03) is where it came from, behind s1:eth1 (802.1Q-2018, 8.6.1)"
    lab.switches["s1"].add_station(10, "02:00:00:00:00:03", "eth2")
    journey, end = lab.trace("h1", "dst=h3")
    assert rules(journey.first)[-1] == "no-destination"
    assert end.cause == "s1:eth2 is not in VLAN 10 (office) (802.1Q-2018, 8.6.4)"
    assert end.advice == "vfab fdb flush s1 vlan=10"


def test_protected_ports_that_know_each_other() -> None:
    lab = two(s1_eth1=OFFICE._replace(protected=True), s1_eth9=TRUNK._replace(protected=True))
    lab.switches["s1"].add_station(10, "02:00:00:00:00:03", "eth9")
    assert lab.trace("h1", "dst=h3")[1].cause == "s1:eth1 and s1:eth9 are both protected"


def test_the_native_vlan_and_translation() -> None:
    native = PortSettings("native-untagged", 10, frozenset({10, 20}))
    journey, end = two(s1_eth9=native, s2_eth9=native).trace("h1", "dst=h3")
    assert end.good and [hop.frame[12:14] for hop in journey.hops()] == [b"\x08\x00"] * 2
    assert list(journey.hops())[1].lines[1].text == "VLAN 10 (office), the native VLAN of eth9"
    translated = TRUNK._replace(translate=((100, 10),))
    journey, end = two(s1_eth9=translated, s2_eth9=translated).trace("h1", "dst=h3")
    assert end.good and journey.first.ways[0].frame[12:16] == b"\x81\x00\x00\x64"
    assert list(journey.hops())[1].lines[1].text == "VLAN 10 (office), which is 100 on this wire"


def test_a_tunnel_carries_customer_tags() -> None:
    tunnel = PortSettings("dot1q-tunnel", 20)
    backbone = TRUNK._replace(tpid=0x88A8)
    lab = two(s1_eth1=tunnel, s2_eth1=tunnel, s1_eth9=backbone, s2_eth9=backbone)
    journey, end = lab.trace("h1", "dst=h3 vlan=7")
    assert [way.frame[12:20].hex() for hop in journey.hops() for way in hop.ways if way.port in ("eth9", "eth1")] == [
        "88a8001481000007", "8100000708004500",
    ]  # fmt: skip
    assert "eth9 (tagged 20 (0x88a8) over 7) ─► s2:eth9" in text(journey)
    assert end.cause == "s2:eth1 sends it to h3:eth0, but no interface has this VLAN"


def test_a_customer_who_is_not_served_at_the_far_end() -> None:
    lab = two(
        s1_eth1=PortSettings("dot1q-tunnel", 20), s2_eth1=PortSettings("dot1q-tunnel", 20, customer=frozenset({8}))
    )
    end = lab.trace("h1", "dst=h3 vlan=7")[1]
    cause = "s2:eth1 takes the customer's VLANs 8 only, not 7 (802.1Q-2018, 15.4)"
    assert (end.cause, end.advice) == (cause, "vfab port set s2:eth1 customer=8,7")
    lab.switches["s2"].add_station(20, "02:00:00:00:00:03", "eth1")
    journey, end = lab.trace("h1", "dst=h3 vlan=7")
    assert end.cause == cause and [rules(hop)[-1] for hop in journey.hops()] == ["flood", "no-destination"]


def test_private_vlans() -> None:
    private = VlanSettings(private=((10, 11, (12,)),))
    ports = {
        "s1:eth1": PortSettings("host", 11), "s1:eth2": PortSettings("host", 11), "s1:eth3": PortSettings("host", 12),
        "s1:eth4": PortSettings("promiscuous", 10),
    }  # fmt: skip
    made = dict.fromkeys(ports, OFFICE)
    lab = Lab(made, [(place, f"h{place[-1]}:eth0") for place in ports])
    lab.switches["s1"].change({place.partition(":")[2]: settings for place, settings in ports.items()}, private)
    assert lab.trace("h1", "dst=h4")[1].good and lab.trace("h4", "dst=h1")[1].good
    end = lab.trace("h1", "dst=h2")[1]
    assert end.sentence.startswith("nobody gets it: s1:eth2 (host, VLAN 11) may not hear VLAN 11 (RFC 5517)")
    end = lab.trace("h1", "dst=h3")[1]
    assert end.cause == "s1:eth3 (host, VLAN 12) may not hear VLAN 11 (RFC 5517)"


def test_storm_control_as_full_as_it_is_now() -> None:
    lab = two(s1_eth1=OFFICE._replace(storm=(("broadcast", 1, "fps"),)))
    words = "dst=ff:ff:ff:ff:ff:ff"
    assert lab.trace("h1", words)[1].good
    switch = lab.switches["s1"]
    switch.process(switch.number("eth1"), message(b"\xff" * 6 + bytes([2, 0, 0, 0, 0, 1]) + b"\x08\x00"), NOW, 1)
    end = lab.trace("h1", words)[1]
    assert end.cause == "as much broadcast as storm control at s1:eth1 lets in has come"
    assert end.advice == "vfab port set s1:eth1 storm=none"


def message(frame: bytes) -> bytes:
    return b"VB\x01\x00" + (1).to_bytes(4, "little") + bytes(8) + len(frame).to_bytes(4, "little") + bytes(20) + frame


def test_port_security() -> None:
    limited = OFFICE._replace(mac_limit=1, on_limit="shutdown")
    lab = two(s1_eth1=limited)
    lab.switches["s1"].add_station(10, "02:00:00:00:00:77", "eth1")
    end = lab.trace("h1", "dst=h3")[1]
    assert end.cause == "h1 (02:00:00:00:00:01) is a station too many at s1:eth1, or in VLAN 10 (office)"
    assert end.advice == "vfab port set s1:eth1 mac-limit=2"
    assert lab.switches["s1"].violations() == [], "it happened to a copy"
    lab.switches["s1"].plane.shut(lab.switches["s1"].number("eth1"))
    end = lab.trace("h1", "dst=h3")[1]
    assert (end.cause, end.advice) == (
        "s1:eth1 was shut: a station too many had come", "vfab port set s1:eth1 mac-limit=2",
    )  # fmt: skip


def test_a_station_that_sticks_elsewhere() -> None:
    lab = two(s1_eth2=OFFICE._replace(sticky=True))
    switch = lab.switches["s1"]
    switch.process(switch.number("eth2"), message(b"\xff" * 6 + bytes([2, 0, 0, 0, 0, 1]) + b"\x08\x00"), NOW, 1)
    end = lab.trace("h1", "dst=h3")[1]
    assert (end.cause, end.advice) == (
        "h1 (02:00:00:00:00:01) sticks to another port", "vfab fdb flush s1 --sticky",
    )  # fmt: skip


def test_mirrors_have_copies_which_count_as_no_arrival() -> None:
    lab = two(s1_eth2=LAB)
    lab.change("s1", mirrors=[Mirror("m1", ports_in=frozenset({"eth1"}), to_port="eth2")])
    journey, end = lab.trace("h1", "dst=h3")
    assert end.reached == ["h3:eth0 (untagged)"]
    assert ("s1", "eth2", "m1", "host") in ends(journey)
    assert "eth2 (copy for mirror m1, untagged) ─► h2:eth0  sees it" in text(journey)
    journey, end = lab.trace("h2", "dst=h1")
    assert end.cause == "s1:eth2 is where a mirror's copies go, and nothing else"
    lab.switches["s1"].set_carrier("eth2", False)
    journey, end = lab.trace("h1", "dst=h3")
    assert end.good and [line.text for line in journey.first.lines if line.rule == "lost"] == [
        "mirror m1: no copy, nobody is connected to s1:eth2"
    ]


def test_a_remote_mirror_goes_on_to_the_next_switch() -> None:
    carrying = TRUNK._replace(allowed=frozenset({10, 20, 900}))
    lab = two(s1_eth9=carrying, s2_eth9=carrying, s2_eth2=PortSettings(pvid=900))
    for switch in ("s1", "s2"):
        lab.change(switch, VlanSettings(remote=frozenset({900})))
    lab.change("s1", mirrors=[Mirror("m1", ports_in=frozenset({"eth1"}), to_vlan=900)])
    journey, end = lab.trace("h1", "dst=h3")
    assert end.reached == ["h3:eth0 (untagged)"]
    copied = next(hop for hop in journey.hops() if hop.copied)
    assert (copied.switch, rules(copied)) == ("s2", ["tag", "vlan", "flood"])
    assert [(way.port, way.end) for way in copied.ways] == [("eth2", "host")]


def test_a_loop_is_seen_and_ends() -> None:
    ports = {f"s{n}:eth{port}": OFFICE for n in (1, 2) for port in (1, 8, 9)}
    lab = Lab(ports, [("s1:eth1", "h1:eth0"), ("s2:eth1", "h2:eth0"), ("s1:eth8", "s2:eth8"), ("s1:eth9", "s2:eth9")])
    journey, end = lab.trace("h1", "dst=ff:ff:ff:ff:ff:ff")
    assert end.reached == ["h2:eth0 (untagged)", "h1:eth0 (untagged)"]
    assert [end for end in ends(journey) if end[3] == "loop"] and "a loop" in text(journey)


def test_a_chain_that_is_too_long() -> None:
    count = MOST_HOPS + 2
    ports = {f"s{n}:eth{port}": OFFICE for n in range(count) for port in (1, 2)}
    links = [(f"s{n}:eth2", f"s{n + 1}:eth1") for n in range(count - 1)]
    lab = Lab(ports, [*links, (f"s{count - 1}:eth2", "h9:eth0")])
    journey, end = lab.trace("s0:eth1", "dst=h9")
    assert not end.good and len(list(journey.hops())) == MOST_HOPS
    assert f"after {MOST_HOPS} switches" in end.sentence


def test_where_a_journey_leaves_the_lab() -> None:
    ports = {f"s1:eth{n}": OFFICE for n in range(1, 6)}
    peers = {
        "s1:eth2": ("dial", "lab west"), "s1:eth3": ("qemu", "a QEMU guest"), "s1:eth4": ("udp", "UDP 127.0.0.1:9"),
        "s1:eth5": ("listen", "nobody we know"),
    }  # fmt: skip
    lab = Lab(ports, [("s1:eth1", "h1:eth0")], peers)
    journey, end = lab.trace("h1", "dst=02:00:00:00:00:99")
    assert [way.end for way in journey.first.ways] == ["lab", "guest", "other", "free"]
    assert end.sentence == (
        "reaches lab west at s1:eth2 (untagged), a QEMU guest at s1:eth3 (untagged), UDP 127.0.0.1:9 at s1:eth4 "
        "(untagged), nobody we know at s1:eth5 (untagged)"
    )


def test_a_switch_that_does_not_answer() -> None:
    lab = two()
    del lab.switches["s2"]
    end = lab.trace("h1", "dst=h3")[1]
    assert not end.good and end.cause == "s1:eth9 sends it to s2:eth9, but switch s2 is away"


def test_others_get_it_but_not_who_was_meant() -> None:
    lab = two(s1_eth2=OFFICE, s2_eth1=OFFICE._replace(state="disabled"))
    end = lab.trace("h1", "arp who-has 10.0.0.3")[1]
    assert end.reached == ["h2:eth0 (untagged)"]
    assert end.sentence.startswith("h3:eth0 does not get it: s2:eth1 is disabled")


def test_nothing_changes_in_the_switches() -> None:
    lab = two()
    before = {name: switch.snapshot(NOW) for name, switch in lab.switches.items()}
    lab.trace("h1", "dst=h3")
    for name, switch in lab.switches.items():
        assert switch.snapshot(NOW) == before[name]
        assert all(not switch.plane.statistics(switch.number(port))["rx_frames"] for port in switch.ports)


def test_json_has_all_of_it() -> None:
    journey, end = two().trace("h1", "dst=h3")
    told = value(journey, "h1:eth0", "h3:eth0", end)
    assert (told["good"], told["reached"], told["start"]) == (True, ["h3:eth0 (untagged)"], "h1:eth0")
    (way,) = told["journey"]["ways"]
    assert (way["port"], way["to"]["kind"], way["next"]["switch"]) == ("eth9", "switch", "s2")
    assert way["next"]["ways"][0]["end"] == "host" and bytes.fromhex(way["frame"]) == journey.first.ways[0].frame


def test_every_reason_has_its_sentence() -> None:
    assert {reason.partition("/")[0] for reason in WHY} - set(REASONS) == {"not-in-vlan", "no-flooding"}
    assert set(REASONS) <= set(WHY) and set(_VARIANTS) <= set(WHY)
