"""The vfab command as a user types it: real labs, real switches, every exit code, and never a traceback."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemons.process import identify
from tests.support.waiting import until
from tools.vfab import VERBS

LAB = """\
name: small
vlans: {office: 10, lab: 20}
topology:
  nodes:
    s1:
      kind: switch
      ports:
        eth1: {access: office}
        eth2: {access: lab}
        eth5: {access: office, qemu: dial}
        eth6: {access: lab, qemu: {role: listen, path: "HOME/some,where.sock"}}
        eth7: {access: office}
    h1: {addresses: [10.0.0.1/24]}
    h2: {addresses: [10.0.0.2/24]}
  links:
    - endpoints: ["s1:eth1", "h1:eth0"]
    - endpoints: ["s1:eth2", "h2:eth0"]
"""


def lab_text(home: Path) -> str:
    return LAB.replace("HOME", str(home))


class Result:
    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr
        assert "Traceback" not in self.out + self.err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def vfab(*arguments: str, code: int | None = 0, cwd: Path | None = None, **environment: str) -> Result:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tools.vfab", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
    )
    result = Result(done)
    assert code is None or result.code == code, (result.code, result.out, result.err)
    return result


@pytest.fixture
def lab(home: Path) -> Iterator[Path]:
    """A folder with a lab file in it; whatever was started is ended."""
    folder = home / "labs"
    folder.mkdir()
    file = folder / "small.fab.yml"
    file.write_text(lab_text(home))
    yield file
    vfab("down", "--all", code=None)


def nothing_left(home: Path) -> bool:
    return os.listdir(home / "run") == [] and os.listdir(home / "state") == []


def test_a_life(lab: Path, home: Path) -> None:
    """up, up again, changed, killed switch, pings, down: what the README promises, in one go."""
    first = vfab("up", str(lab))
    assert "Lab small is up" in first.out and re.search(r"s1 +switch +up +2/5", first.out)
    assert "\x1b[" not in first.out
    assert "Nothing to do" in vfab("up", str(lab)).out
    pids = {name: row["pid"] for name, row in vfab("ps", "--json").json["nodes"].items()}
    assert set(pids) == {"s1", "hostd"}

    assert vfab("ping", "h1", "10.0.0.2", "-c", "1", "-W", "0.3", code=1).out.count("1 sent, 0 received") == 1
    assert "stayed apart" in vfab("pingall", "-W", "0.3").out

    lab.write_text(lab_text(home).replace("eth2: {access: lab}", "eth2: {access: office}"))
    changed = vfab("up", str(lab), "--json").json
    assert [(action["kind"], action["node"]) for action in changed["actions"]] == [("configure", "s1")]
    assert vfab("ping", "h1", "h2", "-c", "2", "--json").json["received"] == 2
    assert {name: row["pid"] for name, row in vfab("ps", "--json").json["nodes"].items()} == pids

    before = vfab("status", "--json").json["nodes"]["s1"]
    os.kill(pids["s1"], signal.SIGKILL)
    until(lambda: vfab("ping", "h1", "h2", "-c", "1", "-W", "0.3", code=None).code == 0, what="ping after a kill")
    until(lambda: vfab("status", "--json", code=None).json["problems"] == [], what="all up")
    after = vfab("status", "--json").json["nodes"]["s1"]
    assert after["epoch"] > before["epoch"]
    assert after["restarts"] == 1

    assert "2 processes ended" in vfab("down").out
    assert nothing_left(home)


def test_pingall_says_which_pair_is_wrong(lab: Path, home: Path) -> None:
    lab.write_text(lab_text(home).replace("eth2: {access: lab}", "eth2: {access: office}"))
    vfab("up", str(lab))
    assert vfab("pingall", "--json").json["ok"] is True
    os.kill(vfab("ps", "--json").json["nodes"]["s1"]["pid"], signal.SIGSTOP)
    wrong = vfab("pingall", "-W", "0.2", code=1)
    assert "h1 does not reach h2 (10.0.0.2), and should" in wrong.out
    assert "s1 does not answer" in vfab("status", code=1).err


def test_controller_killed(lab: Path, home: Path) -> None:
    vfab("up", str(lab))
    value = vfab("ps", "--json").json
    os.kill(value["fabricd"]["pid"], signal.SIGKILL)
    until(lambda: identify(value["fabricd"]["pid"]) is None)
    alone = vfab("status", code=1)
    assert "the controller does not answer" in alone.err and "vfab up" in alone.err
    assert {row["state"] for row in vfab("ps", "--json").json["nodes"].values()} == {"alone"}
    assert vfab("ping", "h1", "h1", "-c", "1", code=None).code in (0, 1), "the lab itself lives on"
    assert "Nothing to do" in vfab("up", str(lab)).out
    again = vfab("ps", "--json").json
    assert {name: row["pid"] for name, row in again["nodes"].items()} == {
        name: row["pid"] for name, row in value["nodes"].items()
    }
    os.kill(again["fabricd"]["pid"], signal.SIGKILL)
    until(lambda: identify(again["fabricd"]["pid"]) is None)
    assert "2 processes ended" in vfab("down").out
    assert nothing_left(home)
    assert all(identify(row["pid"]) is None for row in value["nodes"].values())


def test_two_labs_and_which_one_is_meant(lab: Path, home: Path) -> None:
    other = home / "other"
    other.mkdir()
    (other / "lab.fab.yml").write_text(lab_text(home).replace("name: small", "name: second").replace("some,", "other,"))
    vfab("up", str(lab))
    vfab("up", "lab", cwd=other)
    assert "several labs run, say which one with -l: " in vfab("status", code=1).err
    assert vfab("status", "--json", cwd=other).json["name"] == "second"
    assert vfab("-l", "small", "ps", "--json").json["name"] == "small"
    assert vfab("ps", "-l", str(other / "lab.fab.yml"), "--json").json["name"] == "second"
    identity = vfab("ps", "-l", "small", "--json").json["lab"]
    assert vfab("ps", "-l", identity, "--json").json["name"] == "small"
    assert "no lab 'third' runs; these do: second, small" in vfab("ps", "-l", "third", code=1).err
    assert [row["name"] for row in vfab("labs", "--json").json["labs"]] == ["second", "small"]
    vfab("down", "second")
    assert vfab("status", "--json").json["name"] == "small"
    assert "Lab small is down" in vfab("down", "--all").out
    assert "No lab runs." in vfab("down", "--all").out
    assert nothing_left(home)


def test_dry_run_starts_nothing(lab: Path, home: Path) -> None:
    lines = vfab("up", "--dry-run", str(lab)).out.splitlines()
    assert lines == ["+ start s1: it is new", "+ start hostd: it is new"]
    assert nothing_left(home)
    vfab("up", str(lab))
    assert "Nothing to do" in vfab("up", "--dry-run", str(lab)).out
    lab.write_text(lab_text(home).replace("eth1: {access: office}", "eth1: {access: lab}"))
    assert vfab("up", "--dry-run", str(lab)).out == "~ configure s1: port eth1 changed\n"


def test_a_wrong_file_changes_nothing(lab: Path, home: Path) -> None:
    lab.write_text(lab_text(home).replace("eth1: {access: office}", "eth1: {access: ofice}"))
    for verb in ("up", "validate", "graph"):
        told = vfab(verb, str(lab), code=2)
        assert f"{lab}:8:" in told.err and "office" in told.err
    assert vfab("validate", "--json", str(lab), code=2).json["mistakes"][0]["line"] == 8
    assert nothing_left(home)
    assert "no such file and no such example lab" in vfab("up", "no-such-lab", code=2).err


def test_validate_schema_graph(lab: Path) -> None:
    assert "1 switches, 2 hosts, 2 links: ok" in vfab("validate", str(lab)).out
    assert json.loads(vfab("schema").out)["title"]
    assert "s1" in vfab("graph", str(lab)).out
    svg = lab.parent / "lab.svg"
    vfab("graph", str(lab), "--svg", str(svg))
    assert svg.read_text().startswith("<svg") or "<svg" in svg.read_text()
    assert vfab("graph", "--svg", "-", str(lab)).out == svg.read_text()
    assert "cannot write" in vfab("graph", str(lab), "--svg", "/no/folder/x.svg", code=1).err


def test_attach_prints_what_to_paste(lab: Path, home: Path) -> None:
    vfab("up", str(lab))
    ways = vfab("attach", "s1:eth5", "--json").json["for"]
    path = next((home / "run/virtfab").iterdir()) / "s1-eth5.qemu"
    netdev = f"stream,id=s1-eth5,server=on,addr.type=unix,addr.path={path}"
    device = "virtio-net-pci,netdev=s1-eth5,mac=02(:[0-9a-f]{2}){5}"
    assert re.fullmatch(rf'-netdev "{re.escape(netdev)}" -device {device}', ways["qemu"])
    assert f'<qemu:arg value="{netdev}"/>' in ways["libvirt"] and "<qemu:commandline>" in ways["libvirt"]
    other = vfab("attach", "s1:eth6", "--for", "qemu").out
    assert "server=off" in other and f"addr.path={home}/some,,where.sock" in other and "reconnect" in other
    assert "s1.zmq#eth7'" in vfab("attach", "s1:eth7").out
    assert "meant for h1:eth0" in vfab("attach", "s1:eth1").out
    assert "cannot be used from qemu" in vfab("attach", "s1:eth7", "--for", "qemu", code=1).err
    assert "no port 'eth99'; its ports are: eth1" in vfab("attach", "s1:eth99", code=1).err
    assert "meant for h1:eth0" in vfab("attach", "h1:eth0").out, "the port at the other end of the cable"
    assert "no switch 'h99'; its switches are: s1" in vfab("attach", "h99:eth0", code=1).err
    assert "write SWITCH:PORT" in vfab("attach", "nonsense", code=2).err


def test_logs_and_restart(lab: Path) -> None:
    vfab("up", str(lab))
    before = vfab("ps", "--json").json["nodes"]["s1"]["pid"]
    assert "s1 is up again" in vfab("restart", "s1").out
    assert vfab("ps", "--json").json["nodes"]["s1"]["pid"] != before
    assert "there are: hostd, s1" in vfab("restart", "s9", code=1).err or "s1" in vfab("restart", "s9", code=1).err
    until(lambda: vfab("status", code=None).code == 0, what="all links after a restart")
    vfab("logs", "fabricd")
    assert "no log of 's9'; there are: fabricd, hostd, s1" in vfab("logs", "s9", code=1).err


def test_logs_follow_until_interrupted(lab: Path, home: Path) -> None:
    vfab("up", str(lab))
    log = next((home / "state/virtfab/labs").iterdir()) / "logs" / "s1.log"
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "tools.vfab", "logs", "-f", "s1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as follower:
        assert follower.stdout is not None and follower.stderr is not None
        with log.open("a") as file:
            file.write("something new\n")
        try:
            assert b"something new\n" in iter(follower.stdout.readline, b"")
            follower.send_signal(signal.SIGINT)
            assert follower.wait(10) == 130
            assert follower.stderr.read() == b""
        finally:
            follower.kill()


def test_keys(home: Path) -> None:
    assert "No keys yet" in vfab("key", "show").out
    own = vfab("key", "show", "east").out.strip()
    assert len(own) == 40 and vfab("key", "show", "east").out.strip() == own
    assert (home / "state/virtfab/keys/east.json").stat().st_mode & 0o777 == 0o600
    other = "x" * 40
    vfab("key", "import", "west", other)
    vfab("key", "import", "west", other)
    assert "there is another key for west already" in vfab("key", "import", "west", "y" * 40, code=1).err
    assert vfab("key", "--json", "show").json == {"east": own, "west": other}
    assert "must have 40 characters" in vfab("key", "import", "north", "short", code=2).err
    assert "is no lab's name" in vfab("key", "show", "../x", code=2).err


def test_doctor(home: Path) -> None:
    findings = vfab("doctor", "--json").json
    assert {finding["level"] for finding in findings} <= {"ok", "warn"}
    by_name = {finding["what"]: finding for finding in findings}
    assert by_name["libzmq"]["level"] == "ok" and str(home) in by_name["run folder"]["says"]
    broken = vfab("doctor", code=1, HOME="", XDG_STATE_HOME="")
    assert "neither XDG_STATE_HOME nor HOME is set" in broken.out


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_help(verb: str) -> None:
    told = vfab(verb, "--help").out
    assert told.startswith(f"usage: vfab {verb}") and "--lab" in told


def test_usage() -> None:
    assert all(verb in vfab("--help").out for verb in VERBS)
    assert "usage: vfab" in vfab(code=2).out
    assert "no verb 'statsu' (did you mean 'status'?)" in vfab("statsu", code=2).err
    assert vfab("--version").out.startswith("virtfab ")
    assert "unrecognized arguments: --frobnicate" in vfab("ps", "--frobnicate", code=2).err


def test_no_lab_is_one_sentence(home: Path) -> None:
    for verb in (
        ("status",),
        ("ps",),
        ("down",),
        ("pingall",),
        ("ping", "a", "b"),
        ("logs", "s1"),
        ("attach", "s1:e1"),
    ):
        told = vfab(*verb, code=1)
        assert told.err == "vfab: no lab runs; start one with: vfab up FILE (or an example: vfab up two-switches)\n"
    assert nothing_left(home)


def test_no_home_is_one_sentence(lab: Path) -> None:
    told = vfab("up", str(lab), code=1, HOME="", XDG_STATE_HOME="")
    assert "neither XDG_STATE_HOME nor HOME is set" in told.err and told.err.count("\n") == 1


def test_a_damaged_state_file_is_a_sentence_and_down_ends_the_lab(lab: Path, home: Path) -> None:
    vfab("up", str(lab))
    value = vfab("ps", "--json").json
    os.kill(value["fabricd"]["pid"], signal.SIGKILL)
    (home / "state/virtfab/labs" / value["lab"] / "state.sqlite").write_bytes(b"garbage" * 1000)
    assert "the controller does not answer" in vfab("status", code=1).err
    assert "is damaged" in vfab("attach", "s1:eth1", code=1).err
    assert "2 processes ended" in vfab("down").out
    assert nothing_left(home)


def test_broken_pipe_is_quiet(home: Path) -> None:
    script = f"{sys.executable} -P -m tools.vfab schema | head -c 10; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stderr == "" and len(done.stdout) == 10


def test_an_internal_error_is_one_sentence_and_a_file(home: Path) -> None:
    script = "import tools.labs as l, tools.vfab as v, sys; l.choose = lambda w: 1 / 0; sys.exit(v.main(['ps']))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, env={**os.environ, "TMPDIR": str(home)}
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    told = re.fullmatch(r"vfab: internal error \(ZeroDivisionError: .*\); the details are in (.*)\n", done.stderr)
    assert told and "Traceback" in Path(told[1]).read_text()


def test_not_on_linux(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from tools import vfab as command

    monkeypatch.setattr(command.sys, "platform", "darwin")
    assert command.main(["status"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("verb", ["status", "ps", "down", "logs", "labs"])
def test_quick_verbs_load_nothing_heavy(verb: str) -> None:
    heavy = {"pydantic", "networkx", "ruamel", "zmq", "scapy", "asyncio"}
    script = f"import sys, tools.vfab, tools.verbs.{verb}; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-S", "-P", "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and heavy & set(done.stdout.split()) == set()
