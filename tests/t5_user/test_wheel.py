"""The wheel: what is in it, and that it works for somebody who has nothing, in a folder that means him harm."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path

from tests.support.installed import NOBODY, ROOT, Installed, Nobody, tracked
from tests.support.user import left_in

# Names that the program imports, and that must never be found in the folder where somebody happens to be.
HOSTILE = ("daemons/__init__.py", "tools/__init__.py", "netvirt/__init__.py", "zmq.py", "json.py", "sitecustomize.py")
# What the demo shows
FACTS = {
    "the picture": r"┌─ s1 ─+┐   ┌─ s2 ─+┐",
    "the lab is up": r"Lab two-switches is up",
    "a ping inside a VLAN": r"10\.0\.0\.3: 3 sent, 3 received",
    "no ping across VLANs": r"10\.0\.0\.2: 1 sent, 0 received",
    "everybody with everybody": r"All 24 pings as the lab file says: 8 answered, 16 stayed apart",
    "tags of the office": r"(?m)^.* eth9 +(in|out) .*vlan 10 ",
    "tags of the lab": r"(?m)^.* eth9 +(in|out) .*vlan 20 ",
    "throughput": r"h1 -> h3: \d+\.\d+ Gbit/s, [\d,]+ frames/s",
    "a switch killed and back": r"s1 was pid (\d+) and is pid (?!\1 )\d+ now",
    "the end": r"Lab two-switches is down; 3 processes ended",
    "what to try next": r"What to try next:\n(.*\n)+.*vfab up two-switches",
}


def test_what_is_in_the_wheel_and_what_is_not(installed: Installed) -> None:
    names = zipfile.ZipFile(installed.wheel).namelist()
    packages = {name.partition("/")[0] for name in names if ".dist-info" not in name}
    assert packages == {"netvirt", "storvirt", "daemons", "tools", "topologies"}
    examples = {path.name for path in (ROOT / "topologies").glob("*.fab.yml")}
    assert {f"topologies/{name}" for name in {*examples, "lab.schema.json"}} <= set(names)
    assert {"netvirt/py.typed", "netvirt/burst.pyi", "netvirt/dataplane/plane.pyi", "tools/verbs/demo.py"} <= set(names)
    for source in tracked("*.pyx"):
        start = source.removesuffix("pyx")
        assert [name for name in names if name.startswith(start) and name.endswith(".so")], f"{source} is not built"
    assert set(tracked("*.pyi", "*py.typed")) <= set(names)
    assert [name for name in names if Path(name).suffix in (".c", ".pyx", ".pxd", ".html")] == []


def test_every_module_of_the_tree_is_in_the_wheel(installed: Installed) -> None:
    """A new folder that pyproject.toml does not list would be missing only where nobody of us looks."""
    names = set(zipfile.ZipFile(installed.wheel).namelist())
    wanted = {name for name in tracked("*.py") if "/" in name and not name.startswith(("tests/", "examples/"))}
    assert len(wanted) > 50 and wanted <= names, wanted - names


def pids(nobody: Nobody) -> dict[str, int]:
    return {name: row["pid"] for name, row in nobody("ps", "--json").json["nodes"].items()}


def test_the_demo_shows_what_it_should_and_touches_and_leaves_nothing_but_a_picture(nobody: Nobody) -> None:
    nobody("up", "two-switches")  # a lab of the user's own, of which the demo's has the name
    before = pids(nobody)
    shown = nobody("demo", "--svg", "picture.svg")
    assert [fact for fact, pattern in FACTS.items() if not re.search(pattern, shown.out)] == [], shown.told
    assert left_in(nobody.work) == ["picture.svg"] and pids(nobody) == before
    nobody("down")
    assert left_in(nobody.home) == [] and nobody.processes() == []


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
        "up two-switches", "pingall", "capture s1 --seconds 0.1 --decode", "traffic h1 h3 --seconds 0.1",
        "status --ports", "restart s1", "logs s1", "doctor", "graph", "schema", "down",
    )  # fmt: skip
    for command in commands:
        answer = nobody(*command.split())
        assert "picked up" not in answer.out + answer.err, answer.told
    assert sorted(left_in(nobody.work)) == sorted(HOSTILE)
