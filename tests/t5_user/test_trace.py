"""vfab trace in real labs: whom a frame reaches, why it does not reach others, and that nobody notices being asked."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netvirt import Nic
from netvirt.capture import pcapng
from tests.support.user import Answer, inside, vfab
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]


def observed(lab: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """All counters of all ports, and who is known where (ages apart, time goes on)."""
    rows = vfab("port", "show", "-l", lab, "--json").json
    stations = vfab("fdb", "show", "-l", lab, "--json").json
    counters = {f"{row['switch']}:{row['name']}": row["counters"] for row in rows}
    return counters, [{key: value for key, value in row.items() if key != "age_s"} for row in stations]


def settled(lab: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The same twice: nobody speaks any more."""
    before = observed(lab)
    while (now := observed(lab)) != before:
        before = now
    return now


def hops(answer: Answer) -> list[str]:
    """`s1:eth1` of every switch that the frame passed, in the order of the tree."""

    def walk(hop: dict[str, Any]) -> Iterator[str]:
        yield f"{hop['switch']}:{hop['port']}"
        for way in hop["ways"]:
            if way["next"] is not None:
                yield from walk(way["next"])

    return list(walk(answer.json["journey"]))


def test_two_switches(work: Path) -> None:
    vfab("up", "two-switches")
    vfab("ping", "h1", "h3", "-c", "1")
    before = settled("two-switches")

    answer = vfab("trace", "h1", "dst=h3", "icmp")
    lines = answer.out.splitlines()
    assert lines[1] == "h1:eth0 ─► s1:eth1" and lines[-1] == "reaches h3:eth0 (untagged)"
    assert any(line.strip() == "└─ eth9 (tagged 10) ─► s2:eth9" for line in lines)
    assert sum("is known at" in line for line in lines) == 2
    assert hops(vfab("trace", "-l", "two-switches", "s1:eth1", "dst=h3", "--json")) == ["s1:eth1", "s2:eth9"]

    refused = vfab("trace", "s1:eth1", "dst=h3", "vlan=10", "icmp", code=1)
    assert "s1:eth1 takes no tagged frames (802.1Q-2018, 6.9)" in refused.out.splitlines()[-1]
    other = vfab("trace", "h1", "dst=h2", code=1).out
    assert "nobody gets it: s1:eth2 is in VLAN 20 (lab), not in VLAN 10 (office)" in other
    assert vfab("trace", "h1", "arp", "who-has", "10.0.0.3").out.endswith("reaches h3:eth0 (untagged)\n")
    everybody = vfab("trace", "h1", "dst=ff:ff:ff:ff:ff:ff", "--json").json
    assert everybody["reached"] == ["h3:eth0 (untagged)"] and everybody["goal"] == ""
    guest = vfab("trace", "s1:eth5", "dst=h3")
    assert "Nobody is connected to s1:eth5 now" in guest.out

    assert observed("two-switches") == before, "no counter and no MAC table has changed"


def test_the_readme_shows_what_is_printed(work: Path) -> None:
    """Word for word, MAC addresses and all: they follow from the names."""
    text = (ROOT / "README.md").read_text()
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (lab,) = (block for kind, block in blocks if kind == "yaml")
    (shown,) = (block for kind, block in blocks if kind == "text" and "─►" in block)
    (work / "mine.fab.yml").write_text(lab)
    vfab("up", "mine.fab.yml")
    vfab("ping", "h1", "h3", "-c", "1")
    assert vfab("trace", "h1", "dst=h3").out == shown
    (sentence,) = re.findall(r'`vfab trace h1 dst=h2` ends with "(.*?)"', text, re.DOTALL)
    assert vfab("trace", "h1", "dst=h2", code=1).out.splitlines()[-1] == " ".join(sentence.split())
    (words,) = re.findall(r"`vfab (trace s2:eth9 [^`]+)`", text)
    assert vfab(*words.split()).out.splitlines()[-1] == "reaches h3:eth0 (untagged)"


def test_the_advice_is_a_command_that_helps(work: Path) -> None:
    vfab("up", "two-switches")
    vfab("port", "set", "s1:eth9", "allowed=20")
    answer = vfab("trace", "h1", "dst=h3", "--json", code=1).json
    assert answer["cause"] == "s1:eth9 does not allow VLAN 10 (office) (802.1Q-2018, 8.6.4)"
    words = answer["advice"].split()
    assert words[0] == "vfab"
    vfab(*words[1:])
    vfab("trace", "h1", "dst=h3")
    vfab("ping", "h1", "h3", "-c", "1")


GUESTS = """\
name: guests
vlans: {office: 10}
topology:
  nodes:
    s1: {kind: switch, mac-table: 20000, ports: {eth1: {access: office}, eth2: {access: office}}}
    h1: {addresses: [10.0.0.1/24]}
  links:
    - endpoints: ["s1:eth1", "h1:eth0"]
"""
STATIONS = 9000  # more than two pages of `fdb`


def test_a_table_of_many_pages_and_who_spoke_last(work: Path) -> None:
    (work / "guests.fab.yml").write_text(GUESTS)
    vfab("up", "guests.fab.yml")
    printed = vfab("attach", "s1:eth2").out
    with Nic.connect(re.findall(r"ipc://[^'\"]+", printed)[0]) as nic:
        me = [bytes([2, 1]) + number.to_bytes(4, "big") for number in range(STATIONS)]
        for start in range(0, STATIONS, 500):
            assert nic.send_burst([b"\xff" * 6 + mac + b"\x88\xb5" + bytes(46) for mac in me[start : start + 500]])
        until(lambda: len(vfab("fdb", "show", "s1:eth2", "--json").json) == STATIONS, what="all stations")
        for mac in (me[0], me[STATIONS // 2], me[-1]):
            told = vfab("trace", "h1", f"dst={mac.hex(':')}").out
            assert f"{mac.hex(':')} is known at eth2" in told
            assert told.splitlines()[-1] == "reaches whoever is plugged in at s1:eth2 (untagged)"
        frame = bytes.fromhex(vfab("trace", "s1:eth2", "dst=h1", "--json").json["journey"]["frame"])
        assert frame[6:12] in me


def test_a_capture_file_and_hex(work: Path) -> None:
    vfab("up", "two-switches")
    answer = vfab("trace", "h1", "dst=h3", "--json").json
    frame = bytes.fromhex(answer["journey"]["frame"])
    file = work / "one.pcapng"
    packets = [pcapng.packet_block(0, 0, bytes(60)), pcapng.packet_block(0, 0, frame)]
    file.write_bytes(pcapng.section_header() + pcapng.interface_block("s1:eth1") + b"".join(packets))
    for words in (("--read", str(file), "--packet", "2"), ("--hex", frame.hex(":"))):
        same = vfab("trace", "h1", *words, "--json").json
        assert same["journey"]["frame"] == frame.hex() and same["sentence"] == "reaches h3:eth0 (untagged)"
    assert sorted(os.listdir(work)) == ["one.pcapng"]


def test_a_switch_that_is_away(work: Path) -> None:
    vfab("up", "two-switches")
    told = vfab("ps", "--json").json
    switch, controller = told["nodes"]["s2"]["pid"], told["fabricd"]["pid"]
    os.kill(controller, signal.SIGKILL)  # or it would start s2 again
    os.kill(switch, signal.SIGKILL)
    answer = vfab("trace", "h1", "dst=ff:ff:ff:ff:ff:ff", code=None)
    assert answer.code == 1 and "nobody" in answer.out.splitlines()[-1]
    assert vfab("trace", "s2:eth1", "dst=h1", code=1).sentence.startswith("switch s2 can't be asked")


EXAMPLES = {
    "static-vlan": [("A", "dst=B", "reaches B:eth0 (untagged)", {"s1"})],
    "triple-play": [
        ("router", "dst=tv-box", "reaches tv-box:eth0 (untagged)", {"home"}),
        ("phone", "dst=pbx", "reaches pbx:eth0 (untagged)", {"home", "provider"}),
    ],
    "datacenter": [
        ("web1", "dst=db1 udp=53", "reaches db1:eth0 (untagged)", {"leaf1"}),
        ("web1", "dst=web2", "reaches web2:eth0 (untagged)", {"leaf1", "spine1", "leaf2"}),
    ],
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples(example: str, work: Path) -> None:
    vfab("up", example)
    vfab("pingall")
    for where, words, last, passed in EXAMPLES[example]:
        assert vfab("trace", where, *words.split()).out.splitlines()[-1] == last
        assert {place.partition(":")[0] for place in hops(vfab("trace", where, *words.split(), "--json"))} == passed


def test_the_other_lab_is_where_a_journey_ends(work: Path) -> None:
    vfab("up", "campus-east")
    alone = vfab("trace", "alice", "dst=02:00:00:00:00:99", code=1).out
    assert alone.splitlines()[-1] == "nobody gets it: nobody is connected to east:uplink"
    vfab("up", "campus-west")
    vfab("-l", "campus-east", "ping", "alice", "10.40.0.3", "-c", "1")
    told = vfab("-l", "campus-east", "trace", "alice", "dst=02:00:00:00:00:99").out
    assert told.splitlines()[-1] == "reaches lab campus-west at east:uplink (tagged 40)"
    assert "the journey through this lab ends here" in told


def test_blocked_links_are_not_taken(work: Path) -> None:
    """The data centre's second spine: a broadcast floods the tree, and each switch once."""
    vfab("up", "datacenter")
    answer = vfab("trace", "web1", "dst=ff:ff:ff:ff:ff:ff", "--json")
    passed = [place.partition(":")[0] for place in hops(answer)]
    assert sorted(passed) == ["leaf1", "leaf2", "spine1", "spine2"]
    assert '"loop"' not in answer.out and "port-blocked" in answer.out


WRONG = [
    (("s1",), "s1 has several ports, say which one: eth1"),
    (("h1",), "say what the frame is: words such as dst=h3 icmp, or --hex BYTES, or --read FILE; one of them"),
    (("h1", "dst=h3", "--hex", "00"), "say what the frame is: words such as dst=h3 icmp, or --hex BYTES"),
    (("h1", "dst=h33"), "dst=h33: there is no such host, and it is no MAC address; did you mean 'h3'?"),
    (("h1", "--hex", "nonsense"), "--hex: these are no pairs of hexadecimal digits"),
    (("h1", "--read", "nothing.pcap"), "nothing.pcap: No such file or directory"),
    (("h7", "dst=h3"), "there is no switch and no host 'h7'"),
    (("s1:eth7", "dst=h3"), "s1 has no port 'eth7'; its ports are: eth1, eth2, eth5, eth6, eth9"),
]


def test_wrong_usage_is_a_sentence(work: Path) -> None:
    vfab("up", "two-switches")
    for words, sentence in WRONG:
        answer = inside("trace", *words)
        assert answer.code in (1, 2) and answer.sentence.startswith(sentence), answer.told
