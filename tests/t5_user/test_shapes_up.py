"""Labs from a word, and pictures in other programs' languages, as a user types it."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from tests.support.user import BIN, inside, left_in, run, vfab


def test_a_lab_from_a_word_comes_up_and_leaves_nothing(work: Path, home: Path) -> None:
    up = vfab("up", "--topo", "ring,3")
    file = home / "state/virtfab/shapes/ring-3-1.fab.yml"
    assert "Lab ring-3-1 is up" in up.out and up.out.endswith(f"The lab file is {file}.\n")
    assert "gone with `vfab down`" in file.read_text()
    assert "6 answered, 0 stayed apart" in vfab("pingall").out
    assert "Nothing to do" in vfab("up", "--topo", "ring,switches=3").out
    changed = vfab("up", "--topo", "ring,3", "--json").json
    assert changed["actions"] == [] and changed["name"] == "ring-3-1"
    vfab("down")
    assert left_in(home / "state") == [] and list((home / "run").iterdir()) == [] and list(work.iterdir()) == []
    assert not (home / "state/virtfab").exists()


def test_its_file_can_be_kept(work: Path, home: Path) -> None:
    assert vfab("up", "--topo", "single,2", "--save", "mine.fab.yml").out.endswith(f"{work / 'mine.fab.yml'}.\n")
    assert "Nothing to do" in vfab("up", "mine.fab.yml").out
    vfab("down")
    assert vfab("topo", "single").out == Path("mine.fab.yml").read_text(), "what --save writes is what topo prints"
    Path("mine.fab.yml").write_text("name: other\n")
    assert "says something else" in vfab("up", "--topo", "single,2", "--save", "mine.fab.yml", code=2).sentence
    assert Path("mine.fab.yml").read_text() == "name: other\n"
    assert left_in(home / "state") == []


def test_a_dry_run_leaves_no_file(work: Path, home: Path) -> None:
    assert "+ start s1: it is new" in vfab("up", "--topo", "single", "--dry-run", "--save", "x.fab.yml").out
    assert left_in(home) == []


def test_a_dry_run_leaves_the_file_of_a_running_lab(work: Path, home: Path) -> None:
    vfab("up", "--topo", "single,2")
    (file,) = (home / "state/virtfab/shapes").iterdir()
    before = file.read_text()
    assert "start netnsd" in vfab("up", "--topo", "single,2", "--hosts", "netns", "--dry-run").out
    assert file.read_text() == before and "netns" not in before


def test_topo_prints_a_lab_file(work: Path) -> None:
    Path("t.fab.yml").write_text(vfab("topo", "tree,depth=2,fanout=3", "--hosts", "netns").out)
    assert "4 switches" in vfab("validate", "t.fab.yml").out and "--hosts netns" in Path("t.fab.yml").read_text()
    assert vfab("topo", "minimal", "--json").json["topology"]["nodes"]["h2"] == {
        "kind": "host", "addresses": ["10.0.0.2/24"]
    }  # fmt: skip
    assert vfab("topo", "minimal", "-o", "m.fab.yml").out == "The lab file is m.fab.yml.\n"
    assert "fat-tree,[k=4]" in vfab("topo", "--help").out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["up"], "Name a lab file or an example, or a shape: vfab up --topo single,4"),
        (["up", "x", "--topo", "single"], "leave out x, or --topo"),
        (["up", "x", "--save", "y"], "--save goes with --topo"),
        (["up", "--topo", "singel"], "there is no shape 'singel'; did you mean 'single'?"),
        (["topo", "ring,2"], "switches of ring can be 3 to 2000, not 2"),
        (["topo", "single", "--hosts", "docker"], "invalid choice: 'docker'"),
        (["graph", "two-switches", "--svg", "-", "--format", "dot"], "--svg FILE says all"),
    ],
)
def test_mistakes_are_one_sentence(words: list[str], sentence: str, work: Path) -> None:
    told = inside(*words)
    assert told.code == 2 and sentence in told.sentence


def test_a_folder_that_cannot_be_written(work: Path) -> None:
    assert "cannot write /nonexistent/x" in vfab("topo", "single", "-o", "/nonexistent/x", code=1).sentence


def test_pictures_by_format_or_by_the_files_name(work: Path) -> None:
    for name, begins in (
        ("a.svg", "<svg"),
        ("a.dot", 'graph "ring-4-1" {'),
        ("a.mmd", "---\ntitle: "),
        ("a.txt", "ring-4-1"),
    ):
        Path("ring.fab.yml").write_text(vfab("topo", "ring,4").out)
        assert vfab("graph", "ring.fab.yml", "-o", name).out == f"The picture is in {name}.\n"
        text = Path(name).read_text()
        assert text.startswith(begins) and "\x1b" not in text
        form = {"svg": "svg", "dot": "dot", "mmd": "mermaid", "txt": "text"}[name.partition(".")[2]]
        assert vfab("graph", "ring.fab.yml", "--format", form).out == text
    assert os.path.getsize("a.svg") > 1000


def test_a_running_lab_shows_what_is_down(work: Path) -> None:
    vfab("up", "--topo", "single,2")
    assert "down" not in vfab("graph", "--format", "dot").out
    vfab("port", "set", "s1:eth1", "state=disabled")
    assert ":::switch" in vfab("graph", "--format", "mermaid").out


README = (Path(__file__).parents[2] / "README.md").read_text()
CLAB = """\
name: frr
topology:
  nodes:
    router1: {kind: frr}
    PC1: {kind: linux, exec: [ip addr add 192.168.11.2/24 dev eth1, ip route add 10.0.0.0/8 via 192.168.11.1]}
  links: [{endpoints: ["PC1:eth1", "router1:eth3"]}]
"""


def block(language: str) -> str:
    """The only block in that language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return str(found)


def test_the_readmes_commands_work_as_they_stand(work: Path, home: Path) -> None:
    Path("frr.clab.yml").write_text(CLAB)
    for line in block("console").splitlines():
        run("sh", "-c", f"PATH={BIN}:$PATH; {line}")
    assert "6 switches, 8 hosts" in vfab("validate", "clos.fab.yml").out
    assert "1 external" in vfab("validate", "frr.fab.yml").out
    assert left_in(home / "state") == []
    words = re.findall(r"\b[a-z-]+(?:,[\da-z=]+)+", block("console").splitlines()[0])
    assert len(words) == 7 and all(vfab("topo", each).out for each in words)


def test_the_readmes_program_makes_a_lab(work: Path) -> None:
    run(sys.executable, "-c", block("py3"))
    vfab("up", "three.fab.yml")
    assert "6 answered, 0 stayed apart" in vfab("pingall").out
    assert '-netdev "stream' in vfab("attach", "s1:eth9").out
