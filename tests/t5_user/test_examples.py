"""The example labs, by their bare names, from a folder that has nothing to do with them: who reaches whom.

What must be so stands here a second time, by hand: `pingall` compares with what the planner made of the file.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support import pcapng
from tests.support.nbd_guest import Guest
from tests.support.user import BIN, SECONDS, vfab
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
# Example -> VLAN -> host -> its addresses in that VLAN. Whoever stands in the same group is reached, nobody else.
VLANS: dict[str, dict[str, dict[str, list[str]]]] = {
    "static-vlan": {
        "office": {"A": ["10.0.0.1", "fd00::1"], "B": ["10.0.0.2", "fd00::2"]},
        "lab": {"C": ["10.0.0.3", "fd00::3"], "D": ["10.0.0.4", "fd00::4"]},
    },
    "two-switches": {
        "office": {"h1": ["10.0.0.1", "fd00::1"], "h3": ["10.0.0.3", "fd00::3"]},
        "lab": {"h2": ["10.0.0.2", "fd00::2"], "h4": ["10.0.0.4", "fd00::4"]},
    },
    "triple-play": {
        "internet": {
            "internet": ["10.7.0.1", "fd07::1"], "pc": ["10.7.0.2", "fd07::2"], "router": ["10.7.0.254", "fd07::fe"],
        },
        "tv": {
            "tv-head": ["10.8.0.1", "fd08::1"], "tv-box": ["10.8.0.2", "fd08::2"], "router": ["10.8.0.254", "fd08::fe"],
        },
        "voip": {"pbx": ["10.9.0.1", "fd09::1"], "phone": ["10.9.0.2", "fd09::2"]},
    },
    "datacenter": {
        "production": {"web1": ["10.0.0.1"], "web2": ["10.0.0.2"], "db1": ["10.0.0.3"]},
        "lab": {"test1": ["10.0.0.11"], "test2": ["10.0.0.12"]},
        "storage": {"db1": ["10.0.30.3"], "backup1": ["10.0.30.4"]},
    },
}  # fmt: skip
# Two of them are one lab each of a pair; the others need what not every machine has, or a file of the user's.
OTHERS = {"campus-east", "campus-west", "storage", "arrays", "machines", "virtual-machines"}
# What `vfab status --ports` has to show as blocked: the ends of the links that the tree does not need.
BLOCKED = {"spine2:leaf1", "leaf1:up2", "spine2:leaf2", "leaf2:up2"}
# Every frame that a broadcast becomes on its way through four switches is one per port; a storm makes a million.
MOST_PER_BROADCAST = 40


def answered(example: str) -> set[tuple[str, str]]:
    """(host, address) of every ping that got an answer; all addresses of all other hosts were tried."""
    pairs = vfab("pingall", "-l", example, "--json").json["pairs"]
    owners: dict[str, set[str]] = {}
    for group in VLANS[example].values():
        for host, addresses in group.items():
            owners.setdefault(host, set()).update(addresses)
    tried = {(pair["source"], pair["address"]) for pair in pairs}
    assert tried == {(a, address) for a in owners for b in owners if a != b for address in owners[b]}
    return {(pair["source"], pair["address"]) for pair in pairs if pair["reached"]}


def expected(example: str) -> set[tuple[str, str]]:
    return {
        (source, address)
        for group in VLANS[example].values()
        for source in group
        for target, addresses in group.items()
        if target != source
        for address in addresses
    }


@pytest.mark.parametrize("example", VLANS)
def test_who_reaches_whom(example: str, work: Path) -> None:
    assert f"Lab {example} is up" in vfab("up", example).out
    assert answered(example) == expected(example)
    assert "as the lab file says" in vfab("pingall").out
    assert list(work.iterdir()) == []


def commands(example: str) -> list[tuple[list[str], str]]:
    """(the words of a command, what is said of it) from the head of an example's file."""
    head = (ROOT / "topologies" / f"{example}.fab.yml").read_text().partition("\nname:")[0]
    found = [re.split(r" {3,}", line[1:].strip(), maxsplit=1) for line in head.splitlines() if line[1:5] == "   v"]
    return [(shlex.split(line[0])[1:], line[1] if len(line) > 1 else "") for line in found]


@pytest.mark.parametrize("example", VLANS)
def test_what_the_file_says_to_try(example: str, work: Path) -> None:
    told = commands(example)
    assert told[0][0] == ["up", example] and told[-1][0] == ["down"] and len(told) > 4
    for words, comment in told:
        if words[0] == "capture":
            words = [*words, "--seconds", "0.1"]
        patience = ["-c", "1", "-W", "0.5"] if words[0] == "ping" else []
        answer = vfab(*words, *patience, code=1 if "does not" in comment else 0)
        if words[0] == "status" and "blocked" in comment:
            assert "blocked" in answer.out
        if words[0] == "status" and "VLANs and counters" in comment:
            assert re.search("VLANS .* RX .* TX", answer.out)


def captured(where: str, file: Path, *pings: tuple[str, str]) -> list[bytes]:
    """The frames that pass a port while hosts ping each other twice; each needs an answer."""
    count = str(4 * len(pings))
    for source, target in pings:  # so that neighbours are known, and there are echoes only
        vfab("ping", source, target, "-c", "1")
    with subprocess.Popen(
        [BIN / "vfab", "capture", where, "-w", str(file), "-c", count, "--seconds", "30"], stderr=subprocess.PIPE
    ) as capture:
        assert capture.stderr is not None and b"capturing" in capture.stderr.readline()
        for source, target in pings:
            vfab("ping", source, target, "-c", "2")
        capture.communicate(timeout=SECONDS)
    return [packet.frame for packet in pcapng.read(file).packets]


def test_priorities_on_the_one_line(work: Path) -> None:
    vfab("up", "triple-play")
    services = {("internet", "pc"): (7, 0), ("tv-head", "tv-box"): (8, 5), ("pbx", "phone"): (9, 6)}
    for pair, (vid, pcp) in services.items():
        frames = captured("home:line", work / "line.pcapng", pair)
        assert [pcapng.tag(frame) for frame in frames] == [pcapng.Tag(vid, pcp)] * 4
        assert [pcapng.icmp_type(frame) for frame in frames] == [8, 0, 8, 0]


def test_the_router_tags_its_own_frames_and_devices_get_them_without(work: Path) -> None:
    vfab("up", "triple-play")
    frames = captured("home:trunk", work / "router.pcapng", ("router", "tv-box"))
    assert [pcapng.tag(frame) for frame in frames] == [pcapng.Tag(8, 5)] * 4
    frames = captured("home:tv", work / "box.pcapng", ("router", "tv-box"))
    assert [pcapng.tag(frame) for frame in frames] == [None] * 4


def ports(lab: str) -> dict[str, dict[str, Any]]:
    """`switch:port` -> what status says of it."""
    nodes = vfab("status", "-l", lab, "--json").json["nodes"]
    return {f"{name}:{port['name']}": port for name, row in nodes.items() for port in row.get("ports", ())}


def test_the_blocked_links_are_listed_and_stay_silent(work: Path) -> None:
    vfab("up", "datacenter")
    lines = vfab("status", "--ports").out.splitlines()
    assert {line.split()[0] for line in lines if "blocked" in line.split()} == BLOCKED
    links = vfab("graph", "datacenter", "--json").json["links"]
    assert {end for link in links if link["blocked"] for end in link["ends"]} == BLOCKED
    vfab("pingall")
    now = ports("datacenter")
    assert {name for name, port in now.items() if port["state"] == "blocked"} == BLOCKED
    assert all(now[name]["rx_frames"] == now[name]["tx_frames"] == 0 for name in BLOCKED)


def frames_received(lab: str) -> int:
    """By all ports together, once it has stopped growing."""
    before = -1

    def settled() -> int | None:
        nonlocal before
        now = sum(port["rx_frames"] for port in ports(lab).values())
        before, same = now, now == before
        return now + 1 if same else None

    return until(settled, what="an end to the frames") - 1


def test_broadcasts_do_not_circle(work: Path) -> None:
    vfab("up", "datacenter")
    before = frames_received("datacenter")
    pings = 5
    for host in ("web1", "test2"):  # an address that nobody has: each ping is an ARP broadcast, and again
        vfab("ping", host, "10.0.0.99", "-c", str(pings), "-i", "0.05", "-W", "0.3", code=1)
    grown = frames_received("datacenter") - before
    assert 2 * 2 <= grown <= 2 * 3 * pings * MOST_PER_BROADCAST


def test_the_disks_of_the_data_centre_lose_a_file_and_nothing_else(work: Path, home: Path) -> None:
    vfab("up", "datacenter")
    files = home / "home/.local/share/virtfab/datacenter"
    assert sorted(path.name for path in files.iterdir()) == [f"disk{number}.img" for number in range(1, 5)]
    paths = {row["name"]: row["path"] for row in vfab("lun", "list", "--json").json}
    disks = [Guest(paths[name], name) for name in ("db", "backup")]
    try:
        for disk in disks:
            disk.write((12345 * 512, b"kept" * 30_000))
        (files / "disk3.img").unlink()
        complaint = until(lambda: (told := vfab("status", code=None)).code == 1 and told.err, what="the complaint")
        assert "disk3.img of pool array is out" in str(complaint)
        for disk in disks:
            assert disk.read(12345 * 512, 120_000) == b"kept" * 30_000 and disk.reconnects == 0
    finally:
        for disk in disks:
            disk.close()
    assert "as the lab file says" in vfab("pingall").out


def test_the_examples_are_all_here(work: Path) -> None:
    assert set(vfab("labs", "--json").json["examples"]) == {*VLANS, *OTHERS}
    assert os.listdir(work) == []
