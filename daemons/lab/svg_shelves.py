"""The storage of a lab in its SVG picture: a card for each pool, with its files as platters, its volumes, their LUNs.

Knows: shapes and places of the cards, which stand in rows below the network. Refuses to know: what is written in them
(`shelves`), colours (`picture_svg` has the style).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from .lab import Lab
from .shelves import Drawer, Shelf, shelves
from .svg_parts import lamp, safe, text
from .svg_places import MARGIN, NAME_PX, SMALL_PX

PAD = 14
HEAD = 46  # the pool's name and what it consists of
FILES = 62  # platters and the files' names
ROW = 34  # a volume
GAP = 20
PLATTER = 34
LEAST = 640  # pixels that a row may take, however small the network is
MOST_FILES = 8  # platters that are drawn; the others are counted
LONGEST = 18  # letters of a file's name
ARROW = 42


class Cards(NamedTuple):
    """SVG elements, and how far to the right and down they reach."""

    parts: list[str]
    right: float
    bottom: float


def cards(lab: Lab, top: float, width: float, state: Mapping[str, bool]) -> Cards:
    """All pools from `top` down, in rows that are `width` wide if no card is wider."""
    parts: list[str] = []
    x, y, tall, right = float(MARGIN), top, 0.0, 0.0
    width = max(width, LEAST)
    for shelf in shelves(lab):
        wide, high = _size(shelf)
        if x > MARGIN and x + wide > width - MARGIN:
            x, y, tall = float(MARGIN), y + tall + GAP, 0.0
        parts += _card(shelf, x, y, wide, high, state.get(shelf.name))
        right, tall = max(right, x + wide), max(tall, high)
        x += wide + GAP
    return Cards(parts, right, y + tall if parts else top)


def _columns(shelf: Shelf) -> tuple[float, float]:
    """Widths of the volumes and of the LUNs."""
    volumes = [max(len(each.name) * NAME_PX, len(each.about) * SMALL_PX) for each in shelf.volumes]
    luns = [_pill(name) for each in shelf.volumes for name in (", ".join(each.luns),) if name]
    return max(volumes, default=0.0) + 24, max(luns, default=0.0)


def _pill(said: str) -> float:
    return len(said) * NAME_PX + 22


def _slot(shelf: Shelf) -> float:
    """Room for one platter and the file's name under it."""
    return max([float(PLATTER), *(len(_cut(name)) * SMALL_PX for name in shelf.files[:MOST_FILES])]) + 10


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def _size(shelf: Shelf) -> tuple[float, float]:
    volumes, luns = _columns(shelf)
    files = (min(len(shelf.files), MOST_FILES) + (len(shelf.files) > MOST_FILES)) * _slot(shelf)
    head = max(len(shelf.name) * NAME_PX + 30, len(f"pool, {shelf.about}") * SMALL_PX)
    wide = max(volumes + (luns + ARROW if luns else 0), files, head, 150.0)
    return wide + 2 * PAD, HEAD + FILES + len(shelf.volumes) * (ROW + 8) + PAD - 8


def _card(shelf: Shelf, x: float, y: float, wide: float, high: float, up: bool | None) -> list[str]:
    made = [
        f'<g class="{"down" if up is False else ""}">',
        f'<rect class="shelf" x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{high:.1f}" rx="9"/>',
        text(x + PAD, y + 22, shelf.name, "name"),
        text(x + PAD, y + 38, f"pool, {shelf.about}{'' if up is None else ', up' if up else ', down'}", "small soft"),
        lamp(x + wide - 14, y + 14, up),
    ]
    slot = _slot(shelf)
    for i, name in enumerate(shelf.files[:MOST_FILES]):
        middle = x + PAD + (i + 0.5) * slot
        made += [_platter(middle, y + HEAD + 10), text(middle, y + HEAD + 44, _cut(name), "small soft middle")]
    if len(shelf.files) > MOST_FILES:
        more = f"and {len(shelf.files) - MOST_FILES}"
        made.append(text(x + PAD + (MOST_FILES + 0.5) * slot, y + HEAD + 24, more, "small soft middle"))
    for i, drawer in enumerate(shelf.volumes):
        made += _drawer(drawer, x + PAD, y + HEAD + FILES + i * (ROW + 8), _columns(shelf)[0])
    return [*made, "</g>"]


def _platter(middle: float, y: float) -> str:
    """A disk, seen from the side."""
    left, radius = middle - PLATTER / 2, PLATTER / 2
    body = f"M{left:.1f} {y:.1f}v16a{radius} 5 0 0 0 {PLATTER} 0v-16a{radius} 5 0 0 0 -{PLATTER} 0"
    return f'<path class="disk" d="{body}a{radius} 5 0 0 0 {PLATTER} 0"/>'


def _drawer(drawer: Drawer, x: float, y: float, wide: float) -> list[str]:
    made = [
        f'<rect class="drawer" x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{ROW}" rx="6"/>',
        text(x + 10, y + 15, drawer.name, "name"),
        text(x + 10, y + 28, drawer.about, "small soft"),
    ]
    if drawer.luns:
        said, middle = ", ".join(drawer.luns), y + ROW / 2
        made += [
            f'<path class="wire lun" d="M{x + wide:.1f} {middle:.1f}h{ARROW}"/>',
            f'<rect class="label" x="{x + wide + ARROW:.1f}" y="{middle - 11:.1f}" width="{_pill(said):.1f}" '
            'height="22" rx="11"/>',
            f'<text x="{x + wide + ARROW + _pill(said) / 2:.1f}" y="{middle + 4.5:.1f}" class="middle">'
            f"{safe(said)}</text>",
            text(x + wide + ARROW / 2, middle - 5, "LUN", "small soft middle"),
        ]
    return made
