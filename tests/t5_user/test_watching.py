"""vfab top, port show, vlan show and fdb show, of a real lab; and that counters go when switches go."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import Vfab
from tests.support.waiting import until

LAB = """\
name: watched
vlans: {office: 10, lab: 20}
topology:
  nodes:
    s1:
      kind: switch
      ports:
        eth1: {access: office}
        eth2: {access: office}
        eth3: {access: lab}
        eth9: {trunk: [office, lab]}
    s2:
      kind: switch
      ports:
        eth9: {trunk: [office, lab]}
    h1: {addresses: [10.0.0.1/24]}
    h2: {addresses: [10.0.0.2/24]}
  links:
    - endpoints: ["s1:eth1", "h1:eth0"]
    - endpoints: ["s1:eth2", "h2:eth0"]
    - endpoints: ["s1:eth9", "s2:eth9"]
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Vfab]:
    with Vfab(LAB) as vfab:
        vfab("up", vfab.file)
        vfab("ping", "h1", "h2", "-c", "2")
        yield vfab


def counter_files(vfab: Vfab) -> list[Path]:
    return sorted(vfab.path.glob("run/virtfab/*/*.counters"))


def test_top_once(lab: Vfab) -> None:
    value = lab.json("top", "--once", "0.2")
    ports = {f"{row['switch']}:{row['port']}": row for row in value["ports"]}
    assert set(ports) == {"s1:eth1", "s1:eth2", "s1:eth3", "s1:eth9", "s2:eth9"} and value["problems"] == []
    assert {name for name, row in ports.items() if not row["carrier"]} == {"s1:eth3"}
    text = lab("top", "--once", "0.2", "s2").splitlines()
    assert text[0].split()[:2] == ["PORT", "LINK"] and [line.split()[0] for line in text[1:]] == ["s2:eth9"]


def test_top_sees_traffic_and_asks_no_daemon(lab: Vfab) -> None:
    pids = [node["pid"] for node in lab.json("ps")["nodes"].values() if node["kind"] == "switchd"]
    flow = lab.start("traffic", "h1", "h2", "--seconds", "20")
    seen = until(lambda: [row for row in lab.json("top", "--once", "0.3")["ports"] if row["rx_frames"] > 100])
    assert {(row["switch"], row["port"]) for row in seen} <= {("s1", "eth1"), ("s1", "eth2")}
    flow.send_signal(signal.SIGINT)
    flow.wait(timeout=30)
    # A switch that can't answer can still be watched.
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        assert lab.json("top", "--once", "0.1")["problems"] == []
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_top_on_a_terminal_ends_with_q_and_leaves_it_as_it_was(lab: Vfab) -> None:
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            lab.argv("top"), env={**lab.environment, "TERM": "xterm"}, stdin=theirs, stdout=theirs, stderr=theirs
        )
        text = b""

        def read(what: bytes) -> bool:
            nonlocal text
            if select.select([ours], [], [], 0.2)[0]:
                text += os.read(ours, 65536)
            return what in text

        until(lambda: read(b"q ends") and read(b"s1:eth1"))
        os.write(ours, b"q")
        until(lambda: read(b"\x1b[?1049l"))
        assert process.wait(timeout=30) == 0
        assert text.startswith(b"\x1b[?1049h") and b"Traceback" not in text
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


def test_port_show(lab: Vfab) -> None:
    rows = {(row["switch"], row["name"]): row for row in lab.json("port", "show")}
    assert len(rows) == 5
    first = rows["s1", "eth1"]
    assert (first["carrier"], first["peer"], first["settings"]["mode"], first["settings"]["pvid"]) == (
        True, "h1:eth0", "access", 10,
    )  # fmt: skip
    assert first["counters"]["rx_frames"] > 0 and first["counters"]["tx_bytes"] > 0
    told = lab("port", "show", "s1:eth1")
    assert re.search(r"^port +s1:eth1$", told, re.M) and re.search(r"^rx_frames +[1-9]", told, re.M)
    assert len(lab("port", "show", "s1").splitlines()) == 5
    assert "s1 has no port 'eth7'; its ports are: eth1, eth2, eth3, eth9" in lab.run("port", "show", "s1:eth7").stderr
    assert "there is no switch 's7' in lab watched; there are: s1, s2" in lab.run("port", "show", "s7").stderr
    assert lab.run("port", "show", ":x").returncode == 2


def test_port_show_tells_why_frames_were_dropped(lab: Vfab) -> None:
    """s2 has nobody else in any VLAN: what floods over the trunk has no destination there."""
    (row,) = lab.json("port", "show", "s2:eth9")
    assert row["counters"]["drops"]["no-destination"] > 0
    assert re.search(r"^dropped: no-destination +[1-9]", lab("port", "show", "s2:eth9"), re.M)


def test_vlan_show(lab: Vfab) -> None:
    rows = {(row["switch"], row["vids"]): row for row in lab.json("vlan", "show")}
    office = rows["s1", "10"]
    assert (office["name"], office["untagged"], office["tagged"]) == ("office", ["eth1", "eth2"], ["eth9"])
    assert office["stations"] == 2
    assert rows["s2", "20"]["tagged"] == ["eth9"] and rows["s2", "20"]["stations"] == 0
    assert [line.split()[0] for line in lab("vlan", "show", "s2").splitlines()[1:]] == ["s2", "s2"]


def test_fdb_show(lab: Vfab) -> None:
    rows = lab.json("fdb", "show")
    assert {(row["switch"], row["vid"], row["port"], row["kind"]) for row in rows} >= {
        ("s1", 10, "eth1", "dynamic"), ("s1", 10, "eth2", "dynamic"), ("s2", 10, "eth9", "dynamic"),
    }  # fmt: skip
    (row,) = lab.json("fdb", "show", "s1:eth1")
    (same,) = lab.json("fdb", "show", "s1", "vid=10", f"mac={row['mac']}", "port=eth1")
    assert (same["mac"], same["port"], same["switch"]) == (row["mac"], "eth1", "s1")
    assert lab.json("fdb", "show", "vid=20") == []
    assert row["mac"] in lab("fdb", "show", "s1")
    for words in (("vid=0",), ("vid=x",), ("mac=zz",), ("s1", "age=3")):
        wrong = lab.run("fdb", "show", *words)
        assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1, wrong.stderr


def test_no_counters_are_left_by_a_switch_that_was_killed_or_has_left_the_lab(lab: Vfab) -> None:
    assert [path.name for path in counter_files(lab)] == ["s1.counters", "s2.counters"]
    before = lab.json("ps")["nodes"]["s2"]["pid"]
    os.kill(before, signal.SIGKILL)
    until(lambda: lab.json("ps")["nodes"]["s2"]["pid"] not in (before, None))
    until(lambda: "s2:eth9" in lab("top", "--once", "0.1", "s2"))
    full = Path(lab.file).read_text()
    try:
        Path(lab.file).write_text(
            re.sub(r"    s2:\n.*\n.*\n.*\n", "", full).replace('    - endpoints: ["s1:eth9", "s2:eth9"]\n', "")
        )
        lab("up", lab.file)
        assert [path.name for path in counter_files(lab)] == ["s1.counters"]
    finally:
        Path(lab.file).write_text(full)
        lab("up", lab.file)


def test_a_foreign_file_is_one_sentence(lab: Vfab) -> None:
    folder = counter_files(lab)[0].parent
    (folder / "x.counters").write_bytes(b"something else")
    try:
        assert ["it is no file of counters" in problem for problem in lab.json("top")["problems"]] == [True]
        wrong = lab.run("top", "--once", "0.1", "x")
        assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1) and "no file of counters" in wrong.stderr
    finally:
        (folder / "x.counters").unlink()


def test_down_leaves_none_also_when_a_switch_was_killed() -> None:
    with Vfab(LAB) as vfab:
        vfab("up", vfab.file)
        nodes = json.loads(vfab("ps", "--json"))
        for pid in (nodes["fabricd"]["pid"], nodes["nodes"]["s1"]["pid"]):
            os.kill(pid, signal.SIGKILL)
        assert counter_files(vfab)
        vfab("down")
        assert counter_files(vfab) == [] and list(vfab.path.glob("run/virtfab/*")) == []
        told = vfab.run("top")
        assert told.returncode == 1 and told.stderr.startswith("vfab: no lab runs")
