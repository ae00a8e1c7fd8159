"""What a user can get wrong, and what his machine can: one clear sentence, the right exit code, and nothing started."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.installed import NOBODY, Nobody
from tests.support.user import BIN, SECONDS, inside, left_in, run, vfab
from tools.vfab import VERBS

LAB = """\
name: small
vlans: {office: 10, lab: 20}
topology:
  nodes:
    s1: {kind: switch, ports: {eth1: {access: office}, eth2: {access: lab}}}
    h1: {addresses: [10.0.0.1/24]}
    h2: {addresses: [10.0.0.2/24]}
  links:
    - endpoints: ["s1:eth1", "h1:eth0"]
    - endpoints: ["s1:eth2", "h2:eth0"]
"""
WRONG = """\
name: two words
vlans: {office: 10, lab: 9999}
topology:
  nodes:
    s1: {kind: swich, ports: {e1: {access: offce}}}
    "s\\x1b[2J": {kind: switch}
    h1: {addresses: [10.0.0.1]}
  links:
    - endpoints: ["s1:e1", "h3:eth0"]
"""
MISTAKES = [
    (1, 7, "'two words' is no lab name; use a letter, then up to 30 letters, digits, _ or -"),
    (2, 26, "VLAN ID '9999' is out of range; "),
    (5, 16, "'swich' is not known here; did you mean 'switch'?"),
    (5, 44, "no VLAN 'offce'; did you mean 'office'?"),
    (6, 5, r"'s\x1b[2J' is no node name; "),
    (7, 22, "'10.0.0.1' is no IP address with a prefix length; "),
    (9, 28, "no node 'h3'; "),
]
STRANGE = ["", " ", "\x1b[2J", "a\nb", "../../etc", "-", "ä" * 200, "s1:", ":", "s1:eth1:x", "%s{0}", "💥", "\udcff"]
LONGEST_NODE, LONGEST_PORT = "n" * 31, "p" * 15


@pytest.fixture
def work(work: Path) -> Path:
    """The working folder, with a lab file that is right in it."""
    (work / "small.fab.yml").write_text(LAB)
    return work


def nothing_started(home: Path) -> bool:
    return left_in(home / "run") == [] and left_in(home / "state") == []


# --- the lab file


def test_all_mistakes_at_once_each_with_its_place(work: Path, home: Path) -> None:
    (work / "wrong.fab.yml").write_text(WRONG)
    answer = vfab("up", "wrong.fab.yml", code=2)
    lines = answer.err.splitlines()
    assert answer.out == "" and len(lines) == len(MISTAKES), answer.told
    for line, (row, column, sentence) in zip(lines, MISTAKES, strict=True):
        place, _, said = line.partition(": ")
        assert place.endswith(f"wrong.fab.yml:{row}:{column}") and sentence in said and said.isprintable(), answer.told
    assert nothing_started(home)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", r":1:1: this file is empty; "),
        (b"\x7fELF\x02\x01\x01\0\0\0", r":\d+:\d+: "),
        (b"\xff\xfe\x00n", r":1:1: this is not UTF-8 text; "),
        (b"name: [\n", r":2:1: this is not YAML: "),
        (b"name: x\n\ttopology: {}\n", r":2:1: "),
        (b"just words", r":1:1: here belongs a mapping"),
        (b"a: &a [*a]\n", r":\d+:\d+: "),
        (b"a: " + b"[" * 5000, r":\d+:\d+: "),
        (b"!!python/object/apply:os.system ['true']\n", r":1:1: "),
    ],
)
def test_what_is_no_lab_file(content: bytes, sentence: str, work: Path, home: Path) -> None:
    (work / "x.fab.yml").write_bytes(content)
    for verb in ("up", "validate"):
        answer = vfab(verb, "x.fab.yml", code=2)
        lines = answer.err.splitlines()
        assert answer.out == "" and 1 <= len(lines) <= 3 and all(line.isprintable() for line in lines), answer.told
        assert re.search(r"x\.fab\.yml" + sentence, lines[0]), answer.told
    assert nothing_started(home)


def test_what_is_no_file(work: Path, home: Path) -> None:
    (work / "loop.fab.yml").symlink_to("loop.fab.yml")
    for name in ("none", "loop", "./loop.fab.yml", ".", "/", "/dev/null", "x" * 5000, *STRANGE):
        answer = inside("up", "--", name)
        assert answer.code == 2 and answer.out == "", answer.told
        assert len(answer.err.splitlines()) == 1 and answer.err[:-1].isprintable(), answer.told
    assert nothing_started(home)


def test_a_file_that_becomes_wrong_does_no_harm_to_the_lab_that_runs(work: Path) -> None:
    vfab("up", "small")
    (work / "small.fab.yml").write_text(LAB.replace("eth2: {access: lab}", "eth2: {access: lob}"))
    assert ":5:71: there is no VLAN 'lob'; did you mean 'lab'?" in vfab("up", "small", code=2).err
    (work / "small.fab.yml").write_text(LAB.replace("name: small", "name: other"))
    vfab("status")
    (work / "small.fab.yml").unlink()
    vfab("status")
    assert "no such file" in vfab("graph", code=2).err
    assert "Lab small is down" in vfab("down").out


# --- names on the command line


def test_strange_names_are_answered_in_one_printable_line(work: Path) -> None:
    vfab("up", "small")
    for name in STRANGE:
        for words in (
            ("capture", "--", name), ("attach", "--", name), ("logs", "--", name), ("restart", "--", name),
            ("ping", "--", name, "h1"), ("ping", "--", "h1", name), ("traffic", "--", name, "h1"),
            ("graph", "--", name or "?"), ("key", "show", name), ("ps", "-l", name or "?"), (name,),
        ):  # fmt: skip
            answer = inside(*words)
            assert answer.code in (1, 2) and answer.out == "", answer.told
            assert len(answer.err.splitlines()) == 1 and answer.err[:-1].isprintable(), answer.told
    vfab("status")


def test_ports_and_nodes_that_do_not_exist(work: Path) -> None:
    vfab("up", "small")
    assert vfab("capture", "s1:nope", code=1).sentence == "switch s1 has no port 'nope'; its ports are: eth1, eth2"
    assert vfab("attach", "s9:eth1", code=1).sentence == "lab small has no switch 's9'; its switches are: s1"
    assert vfab("attach", "s1:eth9", code=1).sentence == "switch s1 has no port 'eth9'; its ports are: eth1, eth2"
    assert vfab("ping", "h1", "h9", code=1).sentence == "there is no host 'h9' in this lab; its hosts are: h1, h2"
    assert vfab("ping", "h1", "10.0.0.300", code=1).sentence == "h1: '10.0.0.300' is not an IPv4 or IPv6 address"
    assert "there is no log of 's9'" in vfab("logs", "s9", code=1).sentence
    assert "there is no process 's9' here" in vfab("restart", "s9", code=1).sentence


WRONG_USAGE = [
    ("ping", "h1", "h1", "-c", "0"), ("ping", "h1", "h1", "-c", "x"), ("ping", "h1", "h1", "-s", "65536"),
    ("ping", "h1", "h1", "-i", "-1"), ("ping", "h1", "h1", "-W", "nan"), ("ping", "h1", "h1", "-W", "inf"),
    ("pingall", "-W", "1e99"), ("traffic", "h1", "h2", "--seconds", "nan"), ("traffic", "h1", "h2", "--size", "9"),
    ("capture", "s1", "-c", "x"), ("capture", "s1", "--seconds", "0"), ("capture", "s1", "--direction", "up"),
    ("ping", "h1"), ("up",), ("up", "a", "b"), ("ps", "--frob"), ("key", "import", "x"), ("key", "frob"),
    ("statsu",), ("graph", "--svg"), ("attach", "s1"),
    ("-x",), ("-l",), ("-l", "small"), ("-",),
]  # fmt: skip


def test_wrong_usage_is_one_sentence(work: Path) -> None:
    vfab("up", "small")
    for words in WRONG_USAGE:
        answer = inside(*words)
        assert answer.code == 2 and answer.out == "" and answer.sentence, answer.told


def test_no_lab_runs(home: Path, work: Path) -> None:
    needed = {"ping": ("a", "b"), "traffic": ("a", "b"), "capture": ("s1",), "attach": ("s1:e1",), "plug": ("s1:e1",),
              "logs": ("s1",), "restart": ("s1",), "trace": ("s1:e1", "dst=h1"), "console": ("vm1",),
              "exec": ("h1",)}  # fmt: skip
    alone = {"up", "validate", "labs", "schema", "key", "doctor", "demo", "topo", "import", "run"}
    for verb in sorted(set(VERBS) - alone):
        answer = vfab(verb, *needed.get(verb, ()), code=1)
        assert answer.sentence.startswith("no lab runs; start one with: vfab up FILE"), answer.told
    assert nothing_started(home)


def test_two_labs_of_the_same_name(work: Path, home: Path) -> None:
    for folder in ("a", "b"):
        (work / folder).mkdir()
        (work / folder / "lab.fab.yml").write_text(LAB)
        vfab("up", f"{folder}/lab.fab.yml")
    labs = vfab("labs", "--json").json["labs"]
    assert [lab["name"] for lab in labs] == ["small", "small"] and len({lab["id"] for lab in labs}) == 2
    assert vfab("ps", "-l", "small", code=1).sentence.startswith("several labs are called small, give the id of one: ")
    assert "several labs run, say which one with -l: small-" in vfab("ps", code=1).sentence
    for folder in ("a", "b"):
        assert vfab("ps", "--json", cwd=work / folder).json["file"] == str(work / folder / "lab.fab.yml")
    assert "4 pings as the lab file says" not in vfab("pingall", cwd=work / "a").out
    vfab("down", labs[0]["id"])
    assert vfab("ps", "--json").json["lab"] == labs[1]["id"]
    vfab("down")
    assert nothing_started(home)


# --- folders


def lab_works(folder: str, **env: str | None) -> str:
    """Brings up a lab with the longest names there may be, and takes it down; returns where its sockets were."""
    text = LAB.replace("s1", LONGEST_NODE).replace("eth1:", f"{LONGEST_PORT}: {{access: office, qemu: dial}}, eth1:")
    Path(folder, "long.fab.yml").write_text(text)
    try:
        vfab("up", "long", **env)
        found = vfab("attach", f"{LONGEST_NODE}:{LONGEST_PORT}", "--for", "qemu", **env).out
        vfab("ping", "h1", "h1", "-c", "1", **env)
        assert "as the lab file says" in vfab("pingall", "-W", "0.3", **env).out
    finally:
        vfab("down", **env)
    match = re.search(r"addr\.path=([^\"]+)/[^/]+/[^/]+\.qemu", found)
    assert match and not os.path.exists(os.path.dirname(match[0].partition("=")[2]))
    return match[1]


def fallback() -> str:
    return f"/tmp/virtfab-{os.getuid()}"


def test_a_run_folder_that_is_too_long_for_sockets(work: Path, home: Path) -> None:
    deep = home / ("d" * 100)
    deep.mkdir(mode=0o700)
    assert lab_works(str(work), XDG_RUNTIME_DIR=str(deep)) == fallback()
    assert list(deep.iterdir()) == []


def test_the_longest_run_folder_that_is_not_too_long(work: Path, home: Path) -> None:
    room = 107 - 78 - len("/virtfab")
    fits = home / ("d" * (room - len(str(home)) - 1))
    fits.mkdir(mode=0o700)
    assert lab_works(str(work), XDG_RUNTIME_DIR=str(fits)) == f"{fits}/virtfab"


@pytest.mark.parametrize("value", [None, "relative/folder", "/nowhere/at/all", "/dev/null"])
def test_a_runtime_dir_that_is_none(value: str | None, work: Path) -> None:
    assert lab_works(str(work), XDG_RUNTIME_DIR=value) == fallback()


def test_a_runtime_dir_that_others_may_enter(work: Path, home: Path) -> None:
    for mode in (0o755, 0o770):
        (home / "run").chmod(mode)
        assert lab_works(str(work)) == fallback()
    (home / "run").chmod(0o700)
    (home / "link").symlink_to(home / "run")
    assert lab_works(str(work), XDG_RUNTIME_DIR=str(home / "link")) == f"{home}/link/virtfab"


def test_our_folder_in_the_runtime_dir_is_checked_too(work: Path, home: Path) -> None:
    ours = home / "run/virtfab"
    ours.symlink_to(home / "nowhere")
    assert vfab("up", "small", code=1).sentence.startswith(f"{ours} is no folder but a link or a file; remove it")
    ours.unlink()
    ours.mkdir(mode=0o755)
    ours.chmod(0o755)
    assert vfab("up", "small", code=1).sentence == f"others may look into {ours}; run: chmod 700 {ours}"
    ours.chmod(0o700)
    vfab("up", "small")


def test_no_home_at_all(work: Path) -> None:
    answer = vfab("up", "small", code=1, HOME=None, XDG_STATE_HOME=None)
    assert answer.sentence.startswith("neither XDG_STATE_HOME nor HOME is set; ")
    assert vfab("labs", code=1, HOME="relative", XDG_STATE_HOME="").sentence == answer.sentence
    vfab("schema", HOME=None, XDG_STATE_HOME=None)


def test_a_state_folder_that_is_a_file(work: Path, home: Path) -> None:
    (home / "file").write_text("")
    answer = vfab("up", "small", code=1, XDG_STATE_HOME=str(home / "file"))
    assert "Not a directory" in answer.sentence and "set XDG_STATE_HOME" in answer.sentence


# --- as somebody who may not do everything: what root could never see


def test_somebody_without_permission_for_his_own_folders(nobody: Nobody) -> None:
    nobody.home.chmod(0o500)
    answer = nobody("up", "two-switches", code=1)
    assert "Permission denied" in answer.sentence and "set XDG_STATE_HOME to a folder where you may write" in answer.err
    assert {"level": "no", "what": "state folder"}.items() <= nobody("doctor", "--json", code=1).json[5].items()
    nobody.home.chmod(0o700)
    nobody.work.chmod(0o500)
    assert "cannot write demo.svg: Permission denied" in nobody("demo", code=1).err
    nobody("up", "two-switches")
    assert "cannot write x.pcapng: Permission denied" in nobody("capture", "s1", "-w", "x.pcapng", code=2).err
    nobody("down")


def test_a_lab_file_that_may_not_be_read(nobody: Nobody) -> None:
    file = nobody.work / "small.fab.yml"
    file.write_text(LAB)
    file.chmod(0o600)
    assert "small.fab.yml: you may not read this file; chmod u+r" in nobody("up", "small", code=2).err


def test_a_runtime_dir_of_somebody_else(nobody: Nobody) -> None:
    ours = nobody.home.parent / "r"
    ours.mkdir(mode=0o700)  # of root
    assert f"/tmp/virtfab-{NOBODY}" in nobody("up", "two-switches", XDG_RUNTIME_DIR=str(ours)).out + "".join(
        nobody("attach", "s1:eth5", "--for", "qemu", XDG_RUNTIME_DIR=str(ours)).out
    )
    nobody("down", XDG_RUNTIME_DIR=str(ours))
    os.chown(ours, NOBODY, NOBODY)
    (ours / "virtfab").mkdir(mode=0o700)
    answer = nobody("up", "two-switches", code=1, XDG_RUNTIME_DIR=str(ours))
    assert answer.sentence.startswith(f"{ours}/virtfab belongs to user 0, not to you; ")


# --- how a command may end


def test_ctrl_c_ends_a_ping_quietly_and_the_lab_stays(work: Path) -> None:
    vfab("up", "small")
    command = [BIN / "vfab", "ping", "h1", "h1", "-c", "1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as ping:
        assert ping.stdout is not None
        assert "seq 1" in ping.stdout.readline()
        ping.send_signal(signal.SIGINT)
        out, err = ping.communicate(timeout=SECONDS)
    assert ping.returncode == 130 and err == "" and "Traceback" not in out
    vfab("status")


@pytest.mark.parametrize("words", [("ping", "h1", "h1", "-c", "1000", "-i", "0.01"), ("schema",), ("status",)])
def test_a_reader_who_has_seen_enough(words: tuple[str, ...], work: Path) -> None:
    vfab("up", "small")
    script = f"'{BIN}/vfab' {' '.join(words)} | head -c 1; exit ${{PIPESTATUS[0]}}"
    done = run("bash", "-c", script, code=None)
    assert done.err == "" and len(done.out) == 1 and done.code in (0, 141)


def test_an_output_that_is_full_or_closed(work: Path) -> None:
    for verb in ("schema", "labs", "--help"):
        full = run("sh", "-c", f"'{BIN}/vfab' {verb} >/dev/full", code=1)
        assert full.sentence == "cannot write the output: No space left on device"
        closed = run("sh", "-c", f"'{BIN}/vfab' {verb} <&- >&-")
        assert closed.out == closed.err == ""
    run("sh", "-c", f"'{BIN}/vfab' up small <&- >&- 2>&-")
    vfab("status")
