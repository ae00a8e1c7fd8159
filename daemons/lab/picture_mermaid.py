"""The lab as a Mermaid flowchart, which GitHub, GitLab and many wikis draw where it stands in a Markdown file.

Knows: Mermaid's words (https://mermaid.js.org/syntax/flowchart.html), that names such as `end` and most punctuation
must not stand there as they are. Refuses to know: places; Mermaid does that.
"""

from __future__ import annotations

from . import yamltext
from .lab import Lab
from .picture_parts import BLOCKED, Box, Line, Status, parts

BOXES = {
    "switch": ("[", "]"),
    "host": ("(", ")"),
    "open": ("([", "])"),
    "pool": ("[[", "]]"),
    "disk": ("[(", ")]"),
    "volume": ("[", "]"),
    "lun": ("(", ")"),
}
LINES = {"trunk": "===", "blocked": "-.-", "wire": "---", "open": "-.-", "storage": "-->"}
_CLASSES = (
    "classDef switch stroke-width:2px,font-weight:bold",
    "classDef open stroke-dasharray:4 3",
    f"classDef down stroke:{BLOCKED},color:{BLOCKED}",
)
_PLAIN = frozenset(" ./:,-=")


def mermaid(lab: Lab, status: Status | None = None) -> str:
    """The picture as a Mermaid document."""
    found = parts(lab, status)
    ids = {box.key: f"n{number}" for number, box in enumerate(found.boxes)}
    colours: dict[str, list[int]] = {}
    for number, line in enumerate(found.lines):
        if line.kind in ("wire", "open", "blocked"):
            colours.setdefault(BLOCKED if line.kind == "blocked" else line.colour, []).append(number)
    made = [
        *("---", f"title: {_title(lab)}", "---", "flowchart TB"),
        *(f"  {_box(box, ids)}" for box in found.boxes),
        *(f"  {_line(line, ids)}" for line in found.lines),
        *(f"  {line}" for line in _CLASSES),
        *(f"  linkStyle {','.join(map(str, numbers))} stroke:{hue}" for hue, numbers in colours.items()),
    ]
    return "\n".join(made) + "\n"


def _title(lab: Lab) -> str:
    """YAML; without what Mermaid would take for the end of it, or for its own."""
    said = f"{lab.name}: {lab.description}" if lab.description else lab.name
    return yamltext.scalar("".join(c if c.isalnum() or c in _PLAIN else " " for c in said).replace("---", " "))


def _safe(text: str) -> str:
    """Letters, digits and a few more as they are; everything else by its number."""
    return "".join(c if c.isalnum() or c in _PLAIN else f"#{ord(c)};" if c.isprintable() else " " for c in text)


def _box(box: Box, ids: dict[str, str]) -> str:
    lines = (*box.lines, "down") if box.up is False else box.lines
    before, behind = BOXES[box.kind]
    css = ":::down" if box.up is False else f":::{box.kind}" if box.kind in ("switch", "open") else ""
    return f'{ids[box.key]}{before}"{"<br/>".join(map(_safe, lines))}"{behind}{css}'


def _line(line: Line, ids: dict[str, str]) -> str:
    middle = line.middle if line.kind in ("trunk", "blocked") else ""
    words = " - ".join(filter(None, (line.near, middle, line.far)))
    said = f'|"{_safe(words)}"|' if words else ""
    return f"{ids[line.one]} {LINES[line.kind]}{said} {ids[line.other]}"
