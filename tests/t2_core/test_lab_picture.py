"""The picture shows what is there, in the width that it has, and takes nothing from the file for markup."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from daemons.lab import loader, picture, schema
from daemons.lab.canvas import DOUBLE, Canvas
from daemons.lab.lab import Lab

NAMES = loader.examples()


def example(name: str) -> Lab:
    return loader.load(loader.find(name)).lab


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 200])
def test_text(name: str, width: int) -> None:
    lab = example(name)
    drawn = picture.text(lab, width)
    assert "\033" not in drawn
    assert max(map(len, drawn.splitlines())) <= max(width, 46)  # a legend entry is never cut
    for shown in [lab.name, *lab.switches, *(lab.vlans if width >= 60 else ()), *(lab.hosts if width >= 40 else ())]:
        assert shown in drawn
    coloured = picture.text(lab, width, colour=True)
    assert "\033[" in coloured
    plain = re.sub(r"\033\[[0-9;]*m", "", coloured)
    assert [line.rstrip() for line in plain.splitlines()] == drawn.splitlines()


def test_two_switches_word_for_word() -> None:
    assert picture.text(example("two-switches"), 100).splitlines()[2:-2] == [
        "┌─ s1 ───────────────────────────────────────────────┐   ┌─ s2 ──────────────────────────────┐",
        "│ eth1 ── h1          ● office           10.0.0.1/24 │   │ eth1 ── h3  ● office  10.0.0.3/24 │",
        "│ eth2 ── h2          ● lab              10.0.0.2/24 │   │ eth2 ── h4  ● lab     10.0.0.4/24 │",
        "│ eth5 ┄┄ QEMU guest  ● office                       │   │                                   │",
        "│ eth6 ┄┄ QEMU guest  ═ ● office  ● lab              │   │                                   │",
        "└─ eth9 ╥────────────────────────────────────────────┘   └─ eth9 ╥───────────────────────────┘",
        "        ╚════════════════════════ 10, 20 ════════════════════════╝",
    ]


def test_blocked_links_and_status_are_shown() -> None:
    lab = example("datacenter")
    drawn = picture.text(lab, 110, status={"leaf1": False, "spine1": True})
    assert drawn.count("blocked") == 3
    assert "─ leaf1 down ─" in drawn
    assert "─ spine1 up ─" in drawn
    tree = picture.text(lab, 50, status={"leaf1": False})
    assert "leaf1 down\n" in tree
    assert "up2 ╌╌ spine2:leaf1  blocked" in tree


def test_many_switches_come_as_a_tree() -> None:
    nodes = ", ".join(f"s{i}: {{kind: switch}}" for i in range(40))
    links = "\n".join(f"    - endpoints: ['s{(i - 1) // 2}:d{i}', 's{i}:up']" for i in range(1, 40))
    lab = loader.parse(f"name: t\ntopology:\n  nodes: {{{nodes}}}\n  links:\n{links}\n").lab
    assert "├─ up ══ s0:d1  all" in picture.text(lab)
    ElementTree.fromstring(picture.svg(lab))


def boxes(root: ElementTree.Element, css: str) -> list[tuple[float, ...]]:
    found = [each for each in root.iter("{http://www.w3.org/2000/svg}rect") if each.get("class", "").startswith(css)]
    return [tuple(float(each.get(key, "0")) for key in ("x", "y", "width", "height")) for each in found]


STAR = """
name: star
loops: block
topology:
  nodes: {a: {kind: switch}, b: {kind: switch}, c: {kind: switch}, d: {kind: switch}, ha: , hb: , hc: , hd: }
  links:
  - endpoints: ['a:e1', 'b:e1']
  - endpoints: ['a:e2', 'c:e1']
  - endpoints: ['a:e3', 'd:e1']
  - endpoints: ['b:e2', 'd:e2']
  - endpoints: ['a:e9', 'ha:eth0']
  - endpoints: ['b:e9', 'hb:eth0']
  - endpoints: ['c:e9', 'hc:eth0']
  - endpoints: ['d:e9', 'hd:eth0']
"""


@pytest.mark.parametrize("name", [*NAMES, "star"])
def test_svg(name: str) -> None:
    lab = loader.parse(STAR).lab if name == "star" else example(name)
    drawn = picture.svg(lab, dict.fromkeys(lab.switches, True))
    root = ElementTree.fromstring(drawn)
    assert "<script" not in drawn
    assert re.findall(r"https?://[^\"]*", drawn) == ["http://www.w3.org/2000/svg"]
    said = "\n".join(root.itertext())
    for shown in [lab.name, *lab.switches, *lab.hosts, *lab.vlans]:
        assert shown in said
    switches, chips = boxes(root, "box"), boxes(root, "chip")
    assert len(switches) == len(lab.switches)
    width, height = (float(root.get(key, "0")) for key in ("width", "height"))
    every = switches + chips
    for i, (x, y, wide, tall) in enumerate(every):
        assert min(x, y) >= 0
        assert x + wide <= width
        assert y + tall <= height
        for x2, y2, wide2, tall2 in every[:i]:
            assert x + wide <= x2 or x2 + wide2 <= x or y + tall <= y2 or y2 + tall2 <= y
    trunk_paths = [
        path for path in root.iter("{http://www.w3.org/2000/svg}path") if path.get("class", "").startswith("trunk")
    ]
    assert len(trunk_paths) == len(list(lab.trunks())) + bool(lab.blocked)  # the legend shows a blocked one too


def test_markup_in_the_file_stays_text() -> None:
    text = (
        'name: t\ndescription: "<script>alert(1)</script> & \\e[2J \\u202e"\ntopology: {nodes: {s: {kind: switch}}}\n'
    )
    lab = loader.parse(text).lab
    drawn = picture.svg(lab)
    assert "<script" not in drawn
    assert "<script>alert(1)</script> &" in "\n".join(ElementTree.fromstring(drawn).itertext())
    assert "\033" not in picture.text(lab)
    assert "\u202e" not in picture.text(lab) + drawn


def test_an_empty_lab_has_a_picture() -> None:
    lab = loader.parse("name: t\ntopology: {nodes: {}}").lab
    assert picture.text(lab).startswith("t\n")
    ElementTree.fromstring(picture.svg(lab))


def test_lines_join_with_themselves_only() -> None:
    canvas = Canvas()
    canvas.line([(0, 1), (4, 1)], DOUBLE)
    canvas.line([(2, 0), (2, 2)], DOUBLE)
    assert ["".join(character for character, _ in row) for row in canvas.rows()] == ["  ║", "══║══", "  ║"]


def test_the_schema_in_the_folder_is_the_models() -> None:
    import topologies

    folder = Path(topologies.__path__[0])
    assert (folder / "lab.schema.json").read_text() == schema.text()
    for file in folder.glob("*.fab.yml"):
        assert file.read_text().startswith("# yaml-language-server: $schema=lab.schema.json\n#\n# ")


def test_the_schema_knows_every_key_and_says_what_it_is_for() -> None:
    definitions = schema.schema()["$defs"]
    for name, definition in definitions.items():
        assert definition["additionalProperties"] is False, name
        for key, value in definition["properties"].items():
            assert value.get("description") or "$ref" in str(value), (name, key)
