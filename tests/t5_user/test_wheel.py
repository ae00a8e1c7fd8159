"""The wheel, as a stranger has it: built from the tracked files, installed beside the distribution's own Python, used
by a user without a name, without privileges, and without anything in his home.

Needs root to become that user, and setpriv (util-linux). Building needs setuptools and Cython, installing needs what
virtfab depends on: pip takes them from its cache or from the network.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import peers
from tests.support.user import Answer, left_in, run

ROOT = Path(__file__).parents[2]
PYTHON = Path("/usr/bin/python3")
NOBODY = 65534  # what Linux calls nobody
BUILD_SECONDS = 400
PIP = ("-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input")
ALONE = (
    f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all",
    "--no-new-privs",
)  # fmt: skip
# Names that the program imports, and that must never be found in the folder where somebody happens to be.
HOSTILE = ("daemons/__init__.py", "tools/__init__.py", "netvirt/__init__.py", "zmq.py", "json.py", "sitecustomize.py")


class Installed(NamedTuple):
    wheel: Path
    vfab: Path


@pytest.fixture(scope="module")
def installed() -> Iterator[Installed]:
    """The wheel and the `vfab` of a venv that everybody can read; both are made once for all tests here."""
    for program in ("git", "setpriv"):
        peers.need(program)
    if not PYTHON.exists():
        peers.missing(f"{PYTHON} (Debian: python3-venv, python3-dev)")
    if os.geteuid() != 0:
        peers.missing("root, to become another user,")
    folder = Path(tempfile.mkdtemp(prefix="vf-wheel-", dir="/tmp"))
    before = os.umask(0o022)
    try:
        folder.chmod(0o755)
        yield _install(folder)
    finally:
        os.umask(before)
        shutil.rmtree(folder, ignore_errors=True)


def _install(folder: Path) -> Installed:
    python = str(folder / "venv/bin/python")
    _done(str(PYTHON), "-m", "venv", str(folder / "venv"))
    source = _copied(folder / "source")
    _done(python, *PIP, "install", "setuptools>=77", "Cython>=3.1")
    _done(python, *PIP, "wheel", "--no-build-isolation", "--no-deps", "-w", str(folder / "dist"), str(source))
    (wheel,) = (folder / "dist").iterdir()
    _done(python, *PIP, "install", str(wheel))
    return Installed(wheel, folder / "venv/bin/vfab")


def tracked(*patterns: str) -> list[str]:
    """The files that git knows, those that are deleted just now left out."""
    git = [peers.need("git"), "-c", f"safe.directory={ROOT}", "-C", str(ROOT), "ls-files", "-z", *patterns]
    names = subprocess.run(git, capture_output=True, check=True, text=True).stdout.split("\0")
    return [name for name in names if name and (ROOT / name).exists()]


def _copied(target: Path) -> Path:
    """A clean copy of the tree: no build products, nothing that git does not know."""
    for name in tracked():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target / name)
    return target


def _done(*command: str) -> None:
    run(*command, seconds=BUILD_SECONDS, env={"PYTHONPATH": None})


class Nobody:
    """Somebody with an empty home and an empty working folder; `vfab` runs there without a privilege."""

    def __init__(self, folder: Path, vfab: Path) -> None:
        self._vfab = vfab
        self.home, self.work = folder / "home", folder / "work"
        for place in (self.home, self.work):
            place.mkdir(mode=0o700)
            os.chown(place, NOBODY, NOBODY)

    def __call__(self, *arguments: str, code: int | None = 0) -> Answer:
        """In the environment of a machine that has just started: no XDG folders, nothing of ours."""
        environment = ("env", "-i", f"HOME={self.home}", "PATH=/usr/bin:/bin", "LANG=C.UTF-8", "NO_COLOR=1")
        return run(str(self._vfab), *arguments, code=code, cwd=self.work, prefix=("setpriv", *ALONE, *environment))

    def processes(self) -> list[str]:
        """The command lines of all that run with this home."""
        mark, found = f"HOME={self.home}".encode(), []
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                if mark in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"):
                    found.append(Path(f"/proc/{entry}/cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
        return found


@pytest.fixture
def nobody(installed: Installed) -> Iterator[Nobody]:
    with tempfile.TemporaryDirectory(prefix="vf-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        somebody = Nobody(folder, installed.vfab)
        yield somebody
        somebody("down", "--all", code=None)
        assert somebody.processes() == []


def test_what_is_in_the_wheel_and_what_is_not(installed: Installed) -> None:
    names = zipfile.ZipFile(installed.wheel).namelist()
    packages = {name.partition("/")[0] for name in names if ".dist-info" not in name}
    assert packages == {"netvirt", "storvirt", "daemons", "tools", "topologies"}
    examples = {path.name for path in (ROOT / "topologies").glob("*.fab.yml")}
    assert {f"topologies/{name}" for name in {*examples, "lab.schema.json"}} <= set(names)
    assert {"netvirt/py.typed", "netvirt/burst.pyi", "netvirt/dataplane/plane.pyi", "tools/verbs/demo.py"} <= set(names)
    for source in tracked("*.pyx"):
        start = source.removesuffix("pyx")
        kinds = {Path(name).suffix for name in names if name.startswith(start)}
        assert kinds == {".so", ".pyi"}, f"{start}* in the wheel: {kinds}"
    assert [name for name in names if Path(name).suffix in (".c", ".pyx", ".pxd", ".html")] == []


def test_every_module_of_the_tree_is_in_the_wheel(installed: Installed) -> None:
    """A new folder that pyproject.toml does not list would be missing only where nobody of us looks."""
    names = set(zipfile.ZipFile(installed.wheel).namelist())
    wanted = {name for name in tracked("*.py") if "/" in name and not name.startswith("tests/")}
    assert len(wanted) > 50 and wanted <= names, wanted - names


def test_demo(nobody: Nobody) -> None:
    told = nobody("demo").out
    assert "0% loss" in told or "3 sent, 3 received" in told
    assert "Lab two-switches is down" in told
    assert left_in(nobody.work) == ["demo.svg"] and left_in(nobody.home) == []


def test_a_lab_from_up_to_down(nobody: Nobody) -> None:
    assert "Lab two-switches is up" in nobody("up", "two-switches").out
    ps = nobody("ps", "--json").json
    pids = [ps["fabricd"]["pid"], *(row["pid"] for row in ps["nodes"].values())]
    for pid in pids:
        status = Path(f"/proc/{pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines())
        assert fields["Uid"].split() == [str(NOBODY)] * 4
        assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0 and fields["NoNewPrivs"].strip() == "1"
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert "8 answered, 16 stayed apart" in nobody("pingall").out
    assert "Lab two-switches is down" in nobody("down").out
    assert left_in(nobody.home) == [] and left_in(nobody.work) == []


def test_the_doctor_finds_nothing_that_stops_him(nobody: Nobody) -> None:
    findings = {finding["what"]: finding for finding in nobody("doctor", "--json").json}
    assert {finding["level"] for finding in findings.values()} <= {"ok", "warn"}
    assert findings["privileges"]["says"] == f"user {NOBODY}; labs need no privileges"
    assert f"/tmp/virtfab-{NOBODY}" in findings["run folder"]["says"]


def test_the_working_folder_is_never_on_the_import_path(nobody: Nobody) -> None:
    for name in HOSTILE:
        file = nobody.work / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("raise SystemExit('picked up ' + __file__)\n")
        file.chmod(0o644)
        file.parent.chmod(0o755)
    nobody.work.chmod(0o755)
    commands = (
        "demo", "up two-switches", "pingall", "capture s1 --seconds 0.1 --decode", "traffic h1 h3 --seconds 0.1",
        "status --ports", "restart s1", "logs s1", "doctor", "graph", "schema", "down",
    )  # fmt: skip
    for command in commands:
        answer = nobody(*command.split())
        assert "picked up" not in answer.out + answer.err, answer.told
    assert sorted(left_in(nobody.work)) == sorted([*HOSTILE, "demo.svg"])
