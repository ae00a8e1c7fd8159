"""Where everything in an SVG picture of a lab stands, in pixels.

Knows: sizes, rows, room for ports. Refuses to know: SVG, colours, what runs.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from .lab import End, Lab
from .layout import Attached, Trunk, attached, rows, trunks

MARGIN = 28
HEAD = 58  # title and description
BOX_HEIGHT = 52
WIRE = 58  # from a switch's edge to a chip
CHIP_GAP = 14
CHIP_LINE = 15
FOOT = 64  # room for a trunk's port along a switch's edge
SECOND_NIC = 46  # room for a port whose host already has its chip
LANE = 26
ROW_GAP = 132  # trunks between two rows
NEAR = 36  # between neighbours without a cable
FAR = 178  # between neighbours with one: both ports' names and the VLANs stand in it
NAME_PX, SMALL_PX = 7.9, 6.9  # widest usual letters at 13 and 11 pixels


class Chip(NamedTuple):
    """What is in a port: a host, once, or somebody from outside."""

    item: Attached
    x: float
    y: float
    width: float
    height: float


class Wire(NamedTuple):
    """From a port at a switch's edge to its chip."""

    item: Attached
    x1: float
    y1: float
    x2: float
    y2: float


class Box(NamedTuple):
    """A switch."""

    name: str
    x: float
    y: float
    width: float


class Route(NamedTuple):
    """A trunk's way: `kind` is side (neighbours), down (to the next row) or lane (round the others of the row)."""

    trunk: Trunk
    kind: str
    x1: float
    y1: float
    x2: float
    y2: float
    via: float  # down: where it has passed the chips; lane: the lane's y


class Sheet(NamedTuple):
    width: float
    height: float
    boxes: list[Box]
    chips: list[Chip]
    wires: list[Wire]
    routes: list[Route]


class _Sketch(NamedTuple):
    """A switch with the sizes of what is around it."""

    name: str
    slots: list[tuple[Attached, Attached | None, float]]  # what is in the port, its chip (once per host), room
    chip_width: float
    chip_height: float
    down: list[Trunk]  # trunks that leave at the bottom
    up: list[Trunk]
    width: float


def sheet(lab: Lab) -> Sheet:
    """Places for the whole lab, rows centred."""
    placed = rows(lab)
    links = trunks(lab, placed)
    sides = _sides(placed, links)
    place = {name: (y, x) for y, row in enumerate(placed) for x, name in enumerate(row)}
    sketches = [[_sketch(lab, name, links, sides, place) for name in row] for row in placed]
    gaps = [[_gap(one, other, sides) for one, other in pairwise(row)] for row in placed]
    widths = [sum(each.width for each in row) + sum(gap) for row, gap in zip(sketches, gaps, strict=True)]
    width = max([*widths, 430.0])
    made = Sheet(width + 2 * MARGIN, 0, [], [], [], [])
    feet: dict[End, tuple[float, float]] = {}
    y, floors = float(HEAD + MARGIN), []
    for level, row in enumerate(sketches):
        above = level == 0 and len(sketches) > 1  # hosts of the top row stand over it, out of the trunks' way
        tall = max((each.chip_height + WIRE for each in row if each.slots), default=0.0)
        y += tall if above else 0
        x = MARGIN + (width - widths[level]) / 2
        for each, gap in zip(row, [*gaps[level], 0.0], strict=True):
            _put(made, each, x, y, above, feet)
            x += each.width + gap
        floor = y + BOX_HEIGHT + (0 if above else tall)
        around = (link for link in links if link not in sides)
        lanes = sum(place[link.one.node][0] == level == place[link.other.node][0] for link in around)
        floors.append(floor)
        last = level == len(sketches) - 1
        y = floor + lanes * LANE + (0 if last else ROW_GAP)
    made.routes.extend(_routes(links, sides, place, made.boxes, feet, floors))
    return made._replace(height=y + MARGIN)


def _sides(placed: list[list[str]], links: list[Trunk]) -> list[Trunk]:
    """The trunks between neighbours of a row."""
    neighbours = {pair for row in placed for pair in pairwise(row)}
    return [link for link in links if (link.one.node, link.other.node) in neighbours]


def _gap(one: str, other: str, sides: list[Trunk]) -> float:
    mine = [link for link in sides if (link.one.node, link.other.node) == (one, other)]
    names = max((len(link.one.port) + len(link.other.port) for link in mine), default=0)
    return float(NEAR if not mine else FAR + max(0, names - 10) * SMALL_PX)


def _sketch(lab: Lab, name: str, links: list[Trunk], sides: list[Trunk], place: dict[str, tuple[int, int]]) -> _Sketch:
    items = attached(lab, name)
    chips: dict[str, Attached] = {}  # a host with several NICs in this switch has one chip
    for item in items:
        key = item.name if item.machine else item.port + ":"
        first = chips.get(key)
        chips[key] = item if first is None else _with(first, item)
    chip_width, chip_height = 92.0, 0.0
    for item in chips.values():
        texts = [len(item.name) * NAME_PX, *(len(text) * SMALL_PX for text in (item.word, *item.addresses))]
        chip_width = max([chip_width, *(width + 30 for width in texts)])
        chip_height = max(chip_height, _chip_height(item))
    slots: list[tuple[Attached, Attached | None, float]] = []
    for item in items:
        chip = chips.pop(item.name if item.machine else item.port + ":", None)
        slots.append((item, chip, chip_width + CHIP_GAP if chip else float(SECOND_NIC)))
    mine = [link for link in links if name in (link.one.node, link.other.node) and link not in sides]
    mine.sort(key=lambda link: place[link.link.other(name).node][1])
    up = [link for link in mine if place[link.link.other(name).node][0] < place[name][0]]
    down = [link for link in mine if link not in up]
    edge = max(sum(width for *_, width in slots) + len(down) * FOOT, len(up) * FOOT)
    width = max(edge + CHIP_GAP, len(name) * NAME_PX + 70, 128.0)
    return _Sketch(name, slots, chip_width, chip_height, down, up, width)


def _chip_height(item: Attached) -> float:
    lines = 1 + bool(item.word) + len(item.addresses) if item.machine else 2
    return 14.0 + lines * CHIP_LINE


def _with(first: Attached, more: Attached) -> Attached:
    vlans = tuple(dict.fromkeys(first.vlans + more.vlans))
    return first._replace(addresses=first.addresses + more.addresses, vlans=vlans)


def _put(made: Sheet, each: _Sketch, x: float, y: float, above: bool, feet: dict[End, tuple[float, float]]) -> None:
    """One switch with its chips; notes where its trunks begin."""
    made.boxes.append(Box(each.name, x, y, each.width))
    used = sum(width for *_, width in each.slots)
    chip_y = y - WIRE - each.chip_height if above else y + BOX_HEIGHT + WIRE
    edge, chip_edge = (y, chip_y + each.chip_height) if above else (y + BOX_HEIGHT, chip_y)
    room = used if above else used + len(each.down) * FOOT
    left = x + (each.width - room) / 2
    where: dict[str, Chip] = {}
    for item, shown, width in each.slots:
        middle = left + width / 2
        left += width
        end = middle
        if shown is not None:
            height = _chip_height(shown)
            top = chip_edge - height if above else chip_edge
            chip = Chip(shown, middle - each.chip_width / 2, top, each.chip_width, height)
            where[item.name] = chip
            made.chips.append(chip)
        else:
            end = min(middle, where[item.name].x + each.chip_width - 14)
        made.wires.append(Wire(item, middle, edge, end, chip_edge))
    left = left if not above else x + (each.width - len(each.down) * FOOT) / 2
    for i, link in enumerate(each.down):
        feet[link.link.end(each.name)] = (left + (i + 0.5) * FOOT, y + BOX_HEIGHT)
    first = x + (each.width - len(each.up) * FOOT) / 2
    for i, link in enumerate(each.up):
        feet[link.link.end(each.name)] = (first + (i + 0.5) * FOOT, y)


def _routes(
    links: list[Trunk],
    sides: list[Trunk],
    place: dict[str, tuple[int, int]],
    boxes: list[Box],
    feet: dict[End, tuple[float, float]],
    floors: list[float],
) -> list[Route]:
    box = {each.name: each for each in boxes}
    made = []
    lanes = [0] * len(floors)
    for link in links:
        one, other = box[link.one.node], box[link.other.node]
        row = place[link.one.node][0]
        if link in sides:
            same = [each for each in sides if (each.one.node, each.other.node) == (one.name, other.name)]
            y = one.y + BOX_HEIGHT * (same.index(link) + 1) / (len(same) + 1)
            made.append(Route(link, "side", one.x + one.width, y, other.x, y, y))
            continue
        (x1, y1), (x2, y2) = feet[link.one], feet[link.other]
        if row == place[link.other.node][0]:
            lanes[row] += 1
            made.append(Route(link, "lane", x1, y1, x2, y2, floors[row] + lanes[row] * LANE - 6))
        else:
            made.append(Route(link, "down", x1, y1, x2, y2, floors[row]))
    return made
