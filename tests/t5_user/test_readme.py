"""The README, word for word: every block runs, every name in it exists, and what it says of files and folders is so."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from netvirt import Nic
from tests.support import pcapng
from tests.support.user import SECONDS, free_port, inside, left_in, run, vfab
from tests.support.waiting import until
from tools.vfab import VERBS

pytestmark = pytest.mark.usefixtures("activated")

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def block(language: str) -> str:
    """The only block in that language."""
    found = [text for kind, text in BLOCKS if kind == language]
    assert len(found) == 1, f"the README has {len(found)} {language} blocks"
    return found[0]


def table(heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its head."""
    section = TEXT.partition(f"\n{heading}\n")[2].partition("\n\n")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    assert len(rows) > 2, f"no table below {heading}"
    return [[cell.strip() for cell in row] for row in rows[2:]]


def test_the_lab_file_and_the_commands_work_as_they_stand(work: Path, home: Path) -> None:
    (work / "mine.fab.yml").write_text(block("yaml"))
    lines = block("sh").splitlines()
    assert shlex.split(lines[0], comments=True) == ["vfab", "up", "mine.fab.yml"]
    assert shlex.split(lines[-1], comments=True) == ["vfab", "down"]
    for line in lines:
        background = None
        if " capture " in line:  # so that there is something to see
            background = subprocess.Popen(["vfab", "ping", "h1", "h3", "-c", "50"], stdout=subprocess.DEVNULL)
        done = run("sh", "-c", line)
        if background is not None:
            background.terminate()
            background.wait(SECONDS)
        if line.startswith("vfab status --ports"):
            assert re.search(r"^s1:eth9 .* trunk .*1-4094", done.out, re.MULTILINE), "a trunk of all VLANs"
        if line.startswith("vfab ping h1 h3"):
            assert "4 sent, 4 received" in done.out
    capture = pcapng.read(work / "trunk.pcapng")
    assert capture.interfaces == ["s1:eth9"] and capture.statistics == 1
    assert {pcapng.tag(packet.frame) for packet in capture.packets} == {pcapng.Tag(10, 0)}
    assert left_in(home / "run") == [] and left_in(home / "state") == [], "vfab down leaves nothing"


def test_only_those_who_share_a_vlan_are_reached(work: Path) -> None:
    (work / "mine.fab.yml").write_text(block("yaml"))
    vfab("up", "mine.fab.yml")
    answered = {(pair["source"], pair["target"]) for pair in vfab("pingall", "--json").json["pairs"] if pair["reached"]}
    assert answered == {("h1", "h3"), ("h3", "h1")}


def test_what_to_paste_for_a_virtual_machine_is_what_attach_prints(work: Path) -> None:
    """But for the lab's id and the MAC address, for which the README has dots."""
    (told,) = (text for kind, text in BLOCKS if kind == "text" and "qemu-system" in text)
    netdev, device = re.findall(r"-(?:netdev|device) (\S+)", told)
    (work / "mine.fab.yml").write_text(block("yaml"))
    vfab("up", "mine.fab.yml")
    printed = vfab("attach", "s1:eth5", "--for", "qemu").out
    before, _, _ = netdev.partition("addr.path=")
    assert f'-netdev "{before}addr.path={os.environ["XDG_RUNTIME_DIR"]}/virtfab/mine-' in printed
    assert f"-device {device.removesuffix('...')}" in printed and device.endswith("mac=02:...")


def test_the_example_in_python_speaks_to_another_program(work: Path) -> None:
    """As it stands, but for the endpoint, which is different on every machine."""
    lab = block("yaml").replace("eth6: {", "eth7: {access: office}, eth6: {")  # one more, for whom it speaks to
    (work / "mine.fab.yml").write_text(lab)
    vfab("up", "mine.fab.yml")
    printed = {port: vfab("attach", f"s1:{port}").out for port in ("eth6", "eth7")}
    six, seven = (re.findall(r"ipc://[^'\"]+", printed[port])[0] for port in ("eth6", "eth7"))
    told = re.findall(r"ipc://[^'\"]+#eth6", block("python"))
    assert len(told) == 1 and "`vfab attach s1:eth6` prints" in block("python")
    with Nic.connect(seven) as other:
        process = subprocess.Popen(
            [sys.executable, "-c", block("python").replace(told[0], six)], stdout=subprocess.PIPE, text=True
        )
        arrived = [frame for _ in range(257) if (frame := other.receive(timeout=20)) is not None]
        assert len(arrived) == 257 and arrived[0][12:] == b"\x88\xb5hello, whoever is in this VLAN"
        sender = arrived[0][6:12]
        assert {frame[12:] for frame in arrived[1:]} == {b"\x88\xb5" + bytes(50)}
        assert {frame[:12] for frame in arrived} == {b"\xff" * 6 + sender}
        me = bytes.fromhex(other.mac.replace(":", ""))
        assert other.send(sender + me + b"\x88\xb5and the same to you")
        said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    *frames, last = said.splitlines()
    assert f"{other.mac} -> {sender.hex(':')} 33 bytes" in frames
    assert last.startswith("True {")


def test_every_port_of_the_table_is_one(work: Path) -> None:
    rows = table("## A port is")
    snippets = [re.findall(r"`([^`]+)`", first) for first, _ in rows]
    ports = [found[0] for found in snippets]
    assert all(len(found) == 1 for found in snippets)
    lines = "\n".join(f"        {port}" for port in ports)
    (work / "table.fab.yml").write_text(
        f"name: table\nvlans: {{office: 10}}\ntopology:\n  nodes:\n    s1:\n      kind: switch\n      ports:\n{lines}\n"
        "    s2: {kind: switch}\n    h1: {addresses: [10.0.0.1/24]}\n  links:\n"
        '    - endpoints: ["s1:eth1", "h1:eth0"]\n    - endpoints: ["s1:eth9", "s2:eth9"]\n'
    )
    assert "2 switches, 1 hosts, 2 links: ok" in vfab("validate", "table.fab.yml").out
    names = {port.partition(":")[0] for port in ports}
    assert {"eth1", "eth9", "eth5", "eth6", "eth7", "eth8", "eth10", "up"} <= names and len(names) == len(ports)
    for _, words in rows:  # what a cell says in passing has to be right as well
        for key in re.findall(r"`(\w+): ?\w+`", words):
            assert f'"{key}"' in vfab("schema").out, key


def test_every_setting_of_a_port_is_one(work: Path) -> None:
    rows = table("## And all of 802.1Q")
    ports = [re.findall(r"`([^`]+)`", keys)[0] for keys, _ in rows]
    assert len(ports) == len(rows) == 8
    sentence = " ".join(TEXT.partition("A switch itself has ")[2].partition("\n## ")[0].split())
    keys = re.findall(r"`([\w-]+: [^`]+)`", sentence)
    static, mirror = "static: [{mac, vlan, port}]", "mirrors: {tap: {both: [eth1], to: eth8}}"
    assert static in keys and mirror in keys and "remote-span: [900]" in keys
    keys[keys.index(static)] = "static: [{mac: 02:00:00:00:00:07, vlan: office, port: eth1}]"
    lines = [f"      {key}" for key in keys if "-" in key.partition(":")[0] or key.startswith(("static", "mirrors"))]
    lines += ["      ports:", "        eth1: {access: 10}", "        eth8: {access: 10}"]
    lines += [f"        p{i}: {port}" for i, port in enumerate(ports)]
    head = "name: table\nvlans: {office: 10}\ntopology:\n  nodes:\n    s1:\n      kind: switch\n"
    (work / "table.fab.yml").write_text(head + "\n".join(lines) + "\n")
    assert len(lines) == 7 + 3 + 8
    assert "1 switches, 0 hosts, 0 links: ok" in vfab("validate", "table.fab.yml").out


def test_changes_work_as_they_stand(work: Path) -> None:
    (work / "mine.fab.yml").write_text(block("yaml"))
    vfab("up", "mine.fab.yml")
    told = {line: run("sh", "-c", line).out for line in block("shell").splitlines()}
    said = {words.split("#")[0].strip(): out for words, out in told.items()}
    assert "s1:eth2 pvid: 20 -> 10" in said["vfab port set s1:eth2 access=office"]
    assert "s1:eth6 pvid: 10 -> 30" in said["vfab vlan add 30 --name guests s1:eth9 s2:eth9 s1:eth6:untagged"]
    assert "s2:eth9 allowed: 1-4094 -> 1,10,20,30" in said["vfab status"]
    assert "s1:pod1 port: none -> tap, access 30" in said["vfab status"]
    assert re.search(r"^h2 +o +\.? *o", said["vfab pingall"], re.MULTILINE), "h2 reaches h1 and h3"
    assert "took back s1:eth2 pvid: 10 -> 20" in said["vfab up mine.fab.yml"]
    assert vfab("status", "--json").json["changed"] == []


def test_a_program_moves_a_station_into_its_vlan(work: Path) -> None:
    (work / "mine.fab.yml").write_text(block("yaml").replace("eth6: {", "eth7: {access: lab}, eth6: {"))
    vfab("up", "mine.fab.yml")
    process = subprocess.Popen([sys.executable, "-c", block("python3")], stdout=subprocess.PIPE, text=True)
    (mac,) = set(re.findall(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}", block("python3")))
    endpoint = re.findall(r"ipc://[^'\"]+", vfab("attach", "s1:eth7").out)[0]
    with Nic.connect(endpoint, mac=mac) as nic:
        nic.send(b"\xff" * 6 + bytes.fromhex(mac.replace(":", "")) + b"\x88\xb5" + bytes(50))
        said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0 and said == "s1:eth7 pvid: 20 -> 30\n"
    rows = {row["vids"]: row for row in vfab("vlan", "show", "s1", "--json").json}
    assert rows["30"]["untagged"] == ["eth7"] and rows["30"]["tagged"] == ["eth9"]


def test_loops_block_is_what_the_readme_says(work: Path) -> None:
    assert "`loops: block`" in TEXT
    ring = block("yaml") + '    - endpoints: ["s1:eth8", "s2:eth8"]\n'
    (work / "ring.fab.yml").write_text(ring)
    assert "loop" in vfab("validate", "ring.fab.yml", code=2).err
    (work / "ring.fab.yml").write_text(f"loops: block\n{ring}")
    vfab("validate", "ring.fab.yml")


def commands() -> list[list[str]]:
    """Every vfab command that the README names, in blocks and in running text."""
    found = re.findall(r"`(vfab [^`]+)`", TEXT)
    found += [line for _, text in BLOCKS for line in text.splitlines() if line.startswith("vfab ")]
    return [shlex.split(line, comments=True)[1:] for line in found]


def test_every_command_that_is_named_exists_with_its_options() -> None:
    named = [words for words in commands() if words[0] != "--help"]
    assert len(named) > 10
    for verb, *rest in named:
        assert verb in VERBS, verb
        words = rest[: rest.index("--")] if "--" in rest else rest  # what follows is another program's
        helped = inside(verb, "--help").out
        if words and words[0].isalpha() and re.search(rf"^ +{words[0]} ", helped, re.MULTILINE):
            # a verb with words of its own below it
            helped += inside(verb, words[0], "--help").out
        for option in (word for word in words if word.startswith("-") and word != "-"):
            assert re.search(rf"(^|[ \[,]){re.escape(option)}\b", helped), f"vfab {verb} has no {option}"


def test_the_examples_that_are_named_are_those_there_are(work: Path) -> None:
    there_are = set(vfab("labs", "--json").json["examples"])
    sentence = TEXT.partition("`vfab labs` lists the examples:")[2].partition(";")[0]
    assert set(re.findall(r"`([\w-]+)`", sentence)) == there_are
    for name in there_are:
        head = (ROOT / "topologies" / f"{name}.fab.yml").read_text().partition("\nname:")[0]
        assert "vfab up" in head and "vfab" in head, f"{name} does not say what to look at"


def test_make_knows_the_targets_and_the_links_lead_somewhere() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^make (\w+)", TEXT, re.MULTILINE)
    assert targets == ["demo", "test"]
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    assert links and all((ROOT / link).exists() for link in links)


def test_where_things_are(home: Path, work: Path) -> None:
    """Sockets and state come and go with the lab; keys stay; then deleting one folder removes everything."""
    assert "`$XDG_RUNTIME_DIR/virtfab/`" in TEXT and "`$XDG_STATE_HOME/virtfab/labs/`" in TEXT
    uplink = f'up: {{trunk: all, tcp: {{listen: "127.0.0.1:{free_port()}", peer: elsewhere}}}}'
    with_tcp = block("yaml").replace("eth5: {", f"{uplink}, eth5: {{")
    (work / "mine.fab.yml").write_text(with_tcp)
    vfab("up", "mine.fab.yml")
    (name,) = os.listdir(home / "run" / "virtfab")
    assert os.listdir(home / "state/virtfab/labs") == [name] and name.startswith("mine-")
    assert {"s1.zmq", "fabricd.ctl"} <= set(os.listdir(home / "run/virtfab" / name))
    assert {"state.sqlite", "logs"} <= set(os.listdir(home / "state/virtfab/labs" / name))
    vfab("down")
    assert list((home / "run").iterdir()) == []
    assert left_in(home / "state") == ["virtfab/keys/elsewhere.json", "virtfab/keys/mine.json"]
    assert list((home / "home").iterdir()) == []


def test_state_is_below_home_where_xdg_is_unset(home: Path, work: Path) -> None:
    (work / "mine.fab.yml").write_text(block("yaml"))
    try:
        vfab("up", "mine.fab.yml", XDG_STATE_HOME=None)
        assert (home / "home/.local/state/virtfab/labs").is_dir()
    finally:
        vfab("down", "--all", XDG_STATE_HOME=None)
    assert left_in(home / "home") == [] and not (home / "home/.local/state/virtfab").exists()


def test_a_killed_switch_is_back_at_once(work: Path) -> None:
    (work / "mine.fab.yml").write_text(block("yaml"))
    vfab("up", "mine.fab.yml")
    pid = vfab("ps", "--json").json["nodes"]["s1"]["pid"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: vfab("ps", "--json").json["nodes"]["s1"]["pid"] not in (pid, None))
    until(lambda: vfab("ping", "h1", "h3", "-c", "1", code=None).code == 0)


def test_runs_in_ci_work_as_they_stand(work: Path) -> None:
    (work / "mine.fab.yml").write_text(block("yaml"))
    (work / "disks.fab.yml").write_text(block("yml"))
    lines = block("zsh").splitlines()
    assert len(lines) == 3
    for line in lines:
        run("sh", "-c", line)
    assert sorted(path.name for path in work.iterdir()) == ["disks.fab.yml", "mine.fab.yml"]
