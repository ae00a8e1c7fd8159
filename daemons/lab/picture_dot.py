"""The lab as a graph for Graphviz (`dot -Tpdf`, `neato`, xdot, and whatever else reads DOT).

Knows: DOT's words and its escapes (https://graphviz.org/doc/info/lang.html). Refuses to know: places.
"""

from __future__ import annotations

from .lab import Lab
from .picture_parts import BLOCKED, Box, Line, Status, parts

BOXES = {
    "switch": 'shape=box, style="rounded,filled", fillcolor="#eef2f7", penwidth=1.6',
    "host": 'shape=box, style="rounded"',
    "open": 'shape=box, style="rounded,dashed", fontcolor="#59636e"',
    "pool": 'shape=box3d, style=filled, fillcolor="#eef2f7"',
    "disk": "shape=cylinder",
    "volume": "shape=box",
    "lun": 'shape=box, style="rounded"',
}
LINES = {
    "trunk": "penwidth=3",
    "blocked": f'style=dashed, color="{BLOCKED}", constraint=false',
    "wire": "penwidth=1.6",
    "open": "style=dashed",
    "storage": "dir=forward, arrowsize=0.6",
}
_ESCAPES = {"\\": "\\\\", '"': '\\"', "&": "&amp;", "<": "&lt;", ">": "&gt;"}


def dot(lab: Lab, status: Status | None = None) -> str:
    """The picture as a DOT document."""
    found = parts(lab, status)
    head = _text((lab.name, lab.description) if lab.description else (lab.name,))
    made = [
        f"graph {_text((lab.name,))} {{",
        f"  graph [label={head}, labelloc=t, nodesep=0.4, ranksep=0.8, fontname=Helvetica];",
        "  node [fontname=Helvetica, fontsize=11];",
        "  edge [fontname=Helvetica, fontsize=9];",
        *(_box(box) for box in found.boxes),
        *(f"  {{ rank=same; {'; '.join(_text((name,)) for name in row)} }}" for row in found.rows if len(row) > 1),
        *(_line(line) for line in found.lines),
        "}",
    ]
    return "\n".join(made) + "\n"


def _text(lines: tuple[str, ...]) -> str:
    """A quoted text; entities, because labels read them (`&lt;`), and backslashes twice, because labels read those."""
    return '"' + "\\n".join(_safe(line) for line in lines) + '"'


def _safe(text: str) -> str:
    return "".join(_ESCAPES.get(c, c) if c.isprintable() else " " for c in text)


def _box(box: Box) -> str:
    lines = (*box.lines, "down") if box.up is False else box.lines
    bad = f', color="{BLOCKED}", fontcolor="{BLOCKED}"' if box.up is False else ""
    return f"  {_text((box.key,))} [label={_text(lines)}, {BOXES[box.kind]}{bad}];"


def _line(line: Line) -> str:
    words = [f"{key}={_text((said,))}" for key, said in (("taillabel", line.near), ("headlabel", line.far)) if said]
    if line.middle and line.kind in ("trunk", "blocked"):
        words.append(f"label={_text((line.middle,))}")
    if line.kind in ("wire", "open"):
        words.append(f'color="{line.colour}"')
    return f"  {_text((line.one,))} -- {_text((line.other,))} [{', '.join([*words, LINES[line.kind]])}];"
