"""DOT as the real dot reads it, Mermaid by a grammar of what we write; nothing of a file becomes markup in either."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import pytest

from daemons.lab import loader, picture, shapes
from daemons.lab.lab import Lab
from tests.support.peers import need

NAMES = [*loader.examples(), "ring,4", "fat-tree,4"]
NASTY = 'a "b" \\ <b>&amp;</b> {x|y} `c` #35; %% --> end; \\N\\G ]"'
HOSTILE = f"""
name: end
description: {json.dumps(NASTY)}
topology:
  nodes:
    graph: {{kind: switch, ports: {{eth5: {{access: 10, qemu: dial}}, eth6: {{access: 10}}}}}}
    end: {{kind: switch}}
    subgraph: {{addresses: [10.0.0.1/24]}}
  links:
    - endpoints: ["graph:e.1", "end:e.1"]
    - endpoints: ["end:x", "subgraph:eth0"]
storage:
  pools: {{class: {{members: {json.dumps([f"/x/{NASTY.replace('/', '')}.img", "/x/b.img"])}, size: 1GiB}}}}
  volumes: {{style: {{pool: class, size: 1MiB, raid: raid1}}}}
  luns: {{click: {{volume: style, nbd: true}}}}
"""


def lab(name: str) -> Lab:
    if name == "hostile":
        return loader.parse(HOSTILE).lab
    return loader.parse(shapes.parse(name).to_yaml()).lab if "," in name else loader.load(loader.find(name)).lab


def read_by_dot(text: str) -> dict[str, Any]:
    """The graph as Graphviz understands it; it says nothing where all is well."""
    done = subprocess.run(
        [need("dot"), "-Tdot_json"], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    value: dict[str, Any] = json.loads(done.stdout)
    return value


@pytest.mark.parametrize("name", [*NAMES, "hostile"])
def test_dot_reads_all_boxes_and_cables(name: str) -> None:
    drawn = lab(name)
    graph = read_by_dot(picture.dot(drawn))
    assert graph["name"] == drawn.name and not graph["directed"]
    nodes = {node["name"]: node for node in graph["objects"] if "nodes" not in node and "label" in node}
    assert {*drawn.switches, *drawn.hosts} <= set(nodes)
    ends = {node["_gvid"]: node["name"] for node in graph["objects"]}
    edges = [frozenset((ends[edge["tail"]], ends[edge["head"]])) for edge in graph.get("edges", ())]
    for link in drawn.links:
        assert frozenset((link.a.node, link.b.node)) in edges
    blocked = [edge for edge in graph.get("edges", ()) if edge.get("label") == "blocked"]
    assert len(blocked) == len(drawn.blocked)


def test_nothing_in_a_file_is_markup_for_dot() -> None:
    graph = read_by_dot(picture.dot(lab("hostile")))
    labels = [graph["label"], *(node.get("label", "") for node in graph["objects"])]
    unescaped = [each.replace("\\\\", "\\").replace('\\"', '"') for each in labels]
    escaped = NASTY.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert escaped in unescaped[0], "the description"
    assert f"{escaped.replace('/', '')}.img" in unescaped, "the member's name"


def test_dot_draws_it() -> None:
    drawn = subprocess.run(
        [need("dot"), "-Tsvg"],
        input=picture.dot(lab("hostile")),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "<script" not in drawn.stdout and "&lt;b&gt;" in drawn.stdout


# What a line of ours may be (https://mermaid.js.org/syntax/flowchart.html): ids of our own, words in quotes with
# entities for all but letters, digits and harmless punctuation.
WORDS = r'"(?:[^\W_]|[ ./:,=-]|#\d+;|<br/>)*"'
BOX = re.compile(rf"  (n\d+)(?:\[{WORDS}\]|\({WORDS}\)|\(\[{WORDS}\]\)|\[\[{WORDS}\]\]|\[\({WORDS}\)\])(?::::(\w+))?")
LINE = re.compile(rf"  (n\d+) (?:===|-\.-|---|-->)(?:\|{WORDS}\|)? (n\d+)")
STYLE = re.compile(r"  linkStyle ([\d,]+) stroke:#[0-9a-f]{6}")
CLASS = re.compile(r"  classDef (\w+) [\w:,#-]+(?: \d)?")


@pytest.mark.parametrize("name", [*NAMES, "hostile"])
def test_mermaid_is_what_its_grammar_says(name: str) -> None:
    drawn = lab(name)
    begin, title, end, head, *lines = picture.mermaid(drawn).splitlines()
    assert (begin, end, head) == ("---", "---", "flowchart TB") and re.fullmatch(r'title: "?[\w ./:,=-]+"?', title)
    boxes, classes, ends, styled = [], set(), [], []
    for line in lines:
        matches = [pattern.fullmatch(line) for pattern in (BOX, LINE, STYLE, CLASS)]
        assert sum(match is not None for match in matches) == 1, line
        box, cable, style, css = matches
        if box:
            boxes.append(box[1])
            classes |= {box[2]} - {None}
        elif cable:
            ends.append((cable[1], cable[2]))
        elif style:
            styled += [int(number) for number in style[1].split(",")]
        elif css:
            classes -= {css[1]}
    assert len(set(boxes)) == len(boxes) and {end for pair in ends for end in pair} <= set(boxes)
    assert classes == set(), "every class is defined"
    assert len(set(styled)) == len(styled) and all(number < len(ends) for number in styled)
    assert len(ends) >= len(drawn.links) and len(boxes) >= len(drawn.switches) + len(drawn.hosts)


def test_status_is_shown() -> None:
    drawn = lab("two-switches")
    state = {"s1": True, "s2": False, "h1": False}
    assert picture.dot(drawn, state).count("down") == 2 and picture.mermaid(drawn, state).count(":::down") == 2
    assert "down" not in picture.dot(drawn)


def test_an_empty_lab_has_pictures() -> None:
    empty = loader.parse("name: t\ntopology: {nodes: {}}").lab
    assert read_by_dot(picture.dot(empty))["name"] == "t"
    assert picture.mermaid(empty).startswith("---\ntitle: t\n---\nflowchart TB\n")
