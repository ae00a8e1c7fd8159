"""vfab run: a lab that is up while a command runs; the fixture for other people's tests; the examples as they stand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemons.client import Client, Refused
from daemons.paths import LabPaths, lab_id
from daemons.spawn import spawn
from tests.support.user import BIN, left_in, run, vfab
from tests.support.waiting import until
from tools.verbs import run as run_verb

EXAMPLES = Path(__file__).parents[2] / "examples"
LAB = """
name: captive
topology:
  nodes:
    s1:
      kind: switch
      ports: {eth1: {access: 10}, eth2: {access: 10, qemu: listen}, up-1: {trunk: [10]}, up.1: {access: 10}}
    h1: {addresses: [10.0.0.1/24]}
    h2: {addresses: [10.0.0.2/24]}
  links:
    - endpoints: ["s1:eth3", "h1:eth0"]
    - endpoints: ["s1:eth4", "h2:eth0"]
storage:
  pools: {p0: {members: [disks/a.img, disks/b.img], size: 64MiB}}
  volumes: {v0: {pool: p0, raid: raid1, size: 16MiB}}
  luns: {first: {volume: v0, nbd: true}}
"""
VFAB = str(BIN / "vfab")
TOLD = "import json, os; print(json.dumps({k: v for k, v in os.environ.items() if 'VFAB' in k or 'NBD' in k}))"


@pytest.fixture
def file(home: Path) -> Iterator[Path]:
    (home / "disks").mkdir()
    path = home / "captive.fab.yml"
    path.write_text(LAB)
    yield path
    assert not left_in(home / "run"), "a lab is still up"


def python(text: str) -> tuple[str, ...]:
    return (sys.executable, "-P", "-c", text)


def test_the_command_finds_ports_and_disks_and_its_code_is_ours(file: Path) -> None:
    told = vfab("run", str(file), "--", *python(TOLD)).json
    run_folder = told["VFAB_RUN"]
    ours = {"VFAB_CI", "VFAB_LONG", "VFAB_TEST_CACHE"}
    assert set(told) - ours == {"VFAB_LAB", "VFAB_RUN", "VFAB_PORT_S1_ETH1", "VFAB_PORT_S1_ETH2", "VFAB_PORT_S1_UP_1",
                         "VFAB_PORT_S1_UP_1_2", "VFAB_LUN_FIRST", "NBD_URI"}  # fmt: skip
    assert told["VFAB_PORT_S1_ETH1"] == f"ipc://{run_folder}/s1.zmq#eth1"
    ups = [told["VFAB_PORT_S1_UP_1"], told["VFAB_PORT_S1_UP_1_2"]]
    assert ups == [f"ipc://{run_folder}/s1.zmq#{port}" for port in ("up-1", "up.1")]
    assert told["VFAB_PORT_S1_ETH2"].startswith(f"{run_folder}/")
    assert told["NBD_URI"] == told["VFAB_LUN_FIRST"] == f"nbd+unix:///first?socket={run_folder}/p0-first.nbd"
    assert (file.parent / "disks/a.img").exists()
    ping = (
        f"import subprocess; raise SystemExit(subprocess.call([{str(BIN / 'vfab')!r}, 'ping', 'h1', 'h2', '-c', '1']))"
    )
    assert "1 received" in vfab("run", str(file), "--", *python(ping)).out
    assert vfab("run", str(file), "--", *python("raise SystemExit(7)"), code=7).err == ""
    assert vfab("run", str(file), "--", *python("import os; os.kill(os.getpid(), 9)"), code=137).err == ""


def test_the_lab_of_the_environment_is_meant_among_several(file: Path) -> None:
    other = file.with_name("other.fab.yml")
    other.write_text(LAB.replace("captive", "other"))
    vfab("up", str(other))
    try:
        assert vfab("run", "--fresh", str(file), "--", VFAB, "status", "--json").json["name"] == "captive"
    finally:
        vfab("down")


def test_fresh_copies_run_side_by_side_and_leave_nothing(file: Path) -> None:
    inner = [VFAB, "run", "--fresh", str(file), "--", *python(TOLD)]
    both = f"{TOLD}; import subprocess, sys; subprocess.run(sys.argv[1:], check=True)"
    answer = vfab("run", "--fresh", str(file), "--", *python(both), *inner)
    labs = [json.loads(line)["VFAB_LAB"] for line in answer.out.splitlines()]
    assert len(set(labs)) == 2
    assert os.listdir(file.parent / "disks") == []


def test_a_shape_without_a_file(home: Path) -> None:
    vfab("run", "--topo", "single,3", "--", VFAB, "pingall")
    assert not left_in(home / "run")


def test_what_goes_wrong_is_a_sentence(file: Path) -> None:
    assert "what is to run?" in vfab("run", str(file), code=2).sentence
    assert "which lab?" in vfab("run", code=2).sentence
    assert "no such file" in vfab("run", "nowhere", "--", "true", code=2).err
    assert "cannot run /no/such" in vfab("run", str(file), "--", "/no/such", code=127).err
    assert "cannot run" in vfab("run", str(file), "--", str(file), code=126).err
    vfab("up", str(file))
    assert "is up already" in vfab("run", str(file), "--", "true", code=1).sentence
    vfab("down")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["term", "kill"])
def test_the_lab_ends_with_us_however_we_end(file: Path, number: signal.Signals) -> None:
    said = file.with_name("said")
    with said.open("wb") as out:
        waiter = python("import signal; print('here', flush=True); signal.pause()")
        child = subprocess.Popen([VFAB, "run", str(file), "--", *waiter], stdout=out, stderr=out)
    until(lambda: b"here" in said.read_bytes(), 30)
    pids = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _parent(pid) == child.pid]
    child.send_signal(number)
    assert child.wait(30) == (128 + signal.SIGTERM if number == signal.SIGTERM else -signal.SIGKILL)
    if number == signal.SIGKILL:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)  # the command is nobody's then, and would stay
    until(lambda: not left_in(file.parent / "run"), 30)


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def test_a_test_of_somebody_else(home: Path) -> None:
    """The example for CI with the fixture; and a lab that can't come up fails the test with vfab's sentence."""
    suite = home / "suite"
    suite.mkdir()
    (suite / "lab.fab.yml").write_text((EXAMPLES / "backend/lab.fab.yml").read_text())
    text = (EXAMPLES / "ci/test_with_a_lab.py").read_text().replace("../backend/", "")
    (suite / "test_it.py").write_text(
        text + "\n\ndef test_two(vfab_lab):\n    assert vfab_lab('lab.fab.yml') != vfab_lab('--topo', 'single,1')\n"
        "\n\ndef test_wrong(vfab_lab):\n    vfab_lab('no.fab.yml')\n"
    )
    done = run(sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(suite), code=1, cwd=suite)
    assert "1 failed, 2 passed" in done.out, done.told
    assert "LabProblem" in done.out and "no such file" in done.out, done.told
    assert not left_in(home / "run")


def test_the_backend_answers_and_counts_its_boots(home: Path) -> None:
    for name in ("lab.fab.yml", "machine.py"):
        (home / name).write_text((EXAMPLES / "backend" / name).read_text())
    script = (
        f"rm -f said; {sys.executable} -P machine.py 10.0.0.9 > said & p=$!; "
        "until grep -q boot said; do sleep 0.1; done; cat said; "
        f"{VFAB} ping h1 10.0.0.9 -c 2; code=$?; kill $p; exit $code"
    )
    for boots in (1, 2):
        answer = run(VFAB, "run", "lab.fab.yml", "--", "sh", "-c", script, cwd=home)
        assert f"boot {boots}, 16 MiB" in answer.out and "2 received" in answer.out, answer.told
    assert len((EXAMPLES / "backend/machine.py").read_text().splitlines()) <= 60


def test_the_generator(home: Path) -> None:
    lab, script = str(EXAMPLES / "backend/lab.fab.yml"), str(EXAMPLES / "generator/frames.py")
    answer = vfab("run", "--fresh", lab, "--", sys.executable, "-P", script, "3")
    assert answer.out.startswith("3 frames from 02:")
    assert len(Path(script).read_text().splitlines()) <= 20


def test_the_second_of_two_at_once_is_told_and_does_not_end_the_first(file: Path) -> None:
    paths = LabPaths(lab_id("captive", file))
    spawn(paths)
    with Client(paths.control("fabricd")) as first:
        assert first.begin("hold") == {"held": True}
        with Client(paths.control("fabricd")) as second, pytest.raises(Refused, match="is up already"):
            second.begin("hold")
        assert first.call("ps")["nodes"] == {}
    until(lambda: not left_in(file.parent / "run"), 30)


@pytest.mark.parametrize("words", [("--fresh", "FILE"), ("--topo", "single,2"), ("--fresh", "--topo", "single,2")])
def test_who_is_ended_while_the_lab_comes_up_leaves_no_file(file: Path, words: tuple[str, ...]) -> None:
    home, temporary = file.parent, file.parent / "tmp"
    temporary.mkdir()
    command = [VFAB, "run", *(str(file) if word == "FILE" else word for word in words), "--", "sleep", "30"]
    child = subprocess.Popen(command, env={**os.environ, "TMPDIR": str(temporary)})
    until(lambda: list(temporary.iterdir()) or list((home / "state").rglob("single-2.fab.yml")), 30)
    child.send_signal(signal.SIGTERM)
    assert child.wait(30) == 128 + signal.SIGTERM
    assert not list(temporary.iterdir()) and not list((home / "state").rglob("*.fab.yml"))
    until(lambda: not left_in(home / "run"), 30)


def test_a_signal_that_comes_while_the_command_starts_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    real = subprocess.Popen

    def start(*args: Any, **more: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*args, **more)

    monkeypatch.setattr(subprocess, "Popen", start)
    assert run_verb._command(["sleep", "30"], {}) == 128 + signal.SIGTERM
