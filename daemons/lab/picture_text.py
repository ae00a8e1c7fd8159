"""The lab as a picture in the terminal: cards of switches with what is in their ports, trunks between them.

Knows: characters, widths, colours of a terminal. Refuses to know: what belongs where (`layout` says that).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from itertools import groupby
from typing import NamedTuple

from .canvas import DASHED, DOUBLE, Canvas
from .lab import End, Lab
from .layout import Attached, Trunk, attached, colours, rows, short, trunks
from .mistake import printable
from .shelves import shelves

PALETTE = (39, 208, 40, 141, 44, 205, 178, 110)  # of 256 colours: readable on black and on white
PLAIN, FAINT, BOLD, BLOCKED, UP, DOWN = 0, 1, 2, 3, 4, 5
FIRST_VLAN = 16  # style FIRST_VLAN + n is the VLAN colour n
CODES = {PLAIN: "", FAINT: "2", BOLD: "1", BLOCKED: "31", UP: "32", DOWN: "31;1"}
GAP = 3  # columns between cards
MOST_SWITCHES = 10

Piece = tuple[str, int]  # text and style
Spot = tuple[int, int]
Status = Mapping[str, bool]  # node -> it is up


class _Card(NamedTuple):
    name: str
    lines: list[list[Piece]]
    top: list[Trunk]  # trunks to the row above
    bottom: list[Trunk]  # trunks to the row below, and within the row
    width: int


def text(lab: Lab, width: int = 100, colour: bool = False, status: Status | None = None) -> str:
    """The picture, at most `width` columns wide; many or wide switches come as a tree instead."""
    state = status or {}
    drawn = None
    if len(lab.switches) <= MOST_SWITCHES:
        for addresses in (2, 1, 0):
            drawn = drawn or _cards(lab, width, addresses, state)
    head = [[(lab.name, BOLD), (f"  {printable(lab.description)}"[: max(0, width - len(lab.name))], FAINT)], []]
    body = drawn or _tree(lab, width, state)
    stored = [_cut(line, width) for line in _storage(lab, state)]
    stored = [[], *stored] if body and stored else stored
    return "".join(_line(pieces, colour) + "\n" for pieces in [*head, *body, *stored, [], *_legend(lab, width)])


def _line(pieces: list[Piece], colour: bool) -> str:
    made = []
    for style, group in groupby(pieces, key=lambda piece: piece[1]):
        part = "".join(text for text, _ in group)
        code = CODES.get(style) if style < FIRST_VLAN else f"38;5;{PALETTE[style - FIRST_VLAN]}"
        made.append(f"\033[{code}m{part}\033[0m" if colour and code else part)
    return "".join(made).rstrip() if not colour else "".join(made)


def _legend(lab: Lab, width: int) -> list[list[Piece]]:
    made: list[list[Piece]] = [[]]
    styles = _styles(lab)
    items = [[("● ", styles[vid]), (f"{name} ({vid})", PLAIN)] for name, vid in lab.vlans.items()]
    items += [[("╌╌ ", BLOCKED), ("blocked, it would close a loop", PLAIN)]] if lab.blocked else []
    for item in items:
        if made[-1] and _width(made[-1]) + 3 + _width(item) > width:
            made.append([])
        made[-1] += [("   ", PLAIN)] * bool(made[-1]) + item
    return made if made != [[]] else []


def _width(pieces: list[Piece]) -> int:
    return sum(len(text) for text, _ in pieces)


def _styles(lab: Lab) -> dict[int, int]:
    return {vid: FIRST_VLAN + number for vid, number in colours(lab, len(PALETTE)).items()}


def _vlans(lab: Lab, item: Attached, styles: Mapping[int, int]) -> list[Piece]:
    names = {vid: name for name, vid in lab.vlans.items()}
    if not item.vlans or len(item.vlans) > 4:
        return [("═ ", FAINT), ("all VLANs" if not item.vlans else f"{len(item.vlans)} VLANs", PLAIN)]
    made: list[Piece] = [("═ ", FAINT)] if item.tagged else []
    for i, vid in enumerate(item.vlans):
        made += [("  " if i else "", PLAIN), ("● ", styles.get(vid, PLAIN)), (names.get(vid, str(vid)), PLAIN)]
    return made


def _port_lines(lab: Lab, switch: str, addresses: int, state: Status) -> list[list[Piece]]:
    """One line per port: its name, who is there, VLANs, and up to that many addresses."""
    items, styles = attached(lab, switch), _styles(lab)
    port_width = max((len(item.port) for item in items), default=0)
    names = [_named(item) for item in items]
    name_width = max(map(len, names), default=0)
    vlans = [_vlans(lab, item, styles) for item in items]
    vlan_width = max(map(_width, vlans), default=0)
    made = []
    for item, name, own in zip(items, names, vlans, strict=True):
        wire = styles.get(item.vlans[0], PLAIN) if len(item.vlans) == 1 else PLAIN
        mark = (DOWN if state.get(item.name) is False else PLAIN) if item.machine else FAINT
        ours = item.machine and item.kind != "external"
        line: list[Piece] = [(f"{item.port:<{port_width}} ", PLAIN), ("── " if ours else "┄┄ ", wire)]
        line += [(f"{name:<{name_width}}", mark), ("  ", PLAIN), *own]
        if item.addresses and addresses:
            pad = " " * (vlan_width - _width(own) + 2)
            line += [(pad + " ".join(item.addresses[:addresses]), FAINT)]
        made.append(line)
    return made


def _named(item: Attached) -> str:
    """`h1`, `h1:eth1`, `vm1 (virtual machine)`."""
    name = f"{item.name}:{item.nic}" if item.nic not in ("", "eth0") else item.name
    return f"{name} ({item.word})" if item.word else name


def _cards(lab: Lab, width: int, addresses: int, state: Status) -> list[list[Piece]] | None:
    """Rows of cards with trunks between them; None if they do not fit."""
    placed = rows(lab)
    links = trunks(lab, placed)
    place = {name: (y, x) for y, row in enumerate(placed) for x, name in enumerate(row)}
    made = []
    for row in placed:
        cards = [_card(lab, name, addresses, state, links, place) for name in row]
        if sum(card.width + GAP for card in cards) - GAP > width:
            return None
        made.append(cards)
    widths = [sum(card.width + GAP for card in level) - GAP for level in made]
    canvas, y, feet = Canvas(), 0, dict[End, Spot]()
    for level, own in zip(made, widths, strict=True):
        x, height = (max(widths) - own) // 2, max(len(card.lines) for card in level) + 2
        for card in level:
            feet |= _draw(canvas, card, x, y, height, state)
            x += card.width + GAP
        y += height + len({trunk.link.index for card in level for trunk in card.bottom}) + 1
    _wires(canvas, links, feet, max(widths, default=0))
    return [[(character, style) for character, style in line] for line in canvas.rows()]


def _card(lab: Lab, name: str, addresses: int, state: Status, links: list[Trunk], place: Mapping[str, Spot]) -> _Card:
    lines = _port_lines(lab, name, addresses, state)
    here = place[name][0]
    own = [trunk for trunk in links if name in (trunk.one.node, trunk.other.node)]
    own.sort(key=lambda trunk: place[trunk.link.other(name).node][1])
    top = [trunk for trunk in own if place[trunk.link.other(name).node][0] < here]
    bottom = [trunk for trunk in own if place[trunk.link.other(name).node][0] >= here]
    feet = [sum(len(trunk.link.end(name).port) + 4 for trunk in side) for side in (top, bottom)]
    wide = [len(name) + 10 + feet[0], feet[1] + 3, *(_width(line) + 4 for line in lines)]
    return _Card(name, lines, top, bottom, max(wide))


def _draw(canvas: Canvas, card: _Card, x: int, y: int, height: int, state: Status) -> dict[End, Spot]:
    """One card; returns where its trunks begin."""
    up = state.get(card.name)
    canvas.box(x, y, card.width, height, FAINT)
    after = canvas.text(x + 2, y, f" {card.name} ", DOWN if up is False else BOLD)
    if up is not None:
        after = canvas.text(after, y, "up " if up else "down ", UP if up else DOWN)
    for i, line in enumerate(card.lines):
        column = x + 2
        for text, style in line:
            column = canvas.text(column, y + 1 + i, text, style)
    feet: dict[End, Spot] = {}
    top = x + card.width - 1 - sum(len(trunk.link.end(card.name).port) + 4 for trunk in card.top)
    for side, border, start in ((card.top, y, top), (card.bottom, y + height - 1, x + 2)):
        column = start
        for trunk in side:
            end = trunk.link.end(card.name)
            column = canvas.text(column, border, f" {end.port} ", FAINT)
            feet[end] = (column, border)
            column += 2
    return feet


def _wires(canvas: Canvas, links: list[Trunk], feet: Mapping[End, Spot], width: int) -> None:
    """The trunks, each on a line of its own between the rows, so that no two run over each other."""
    lanes: dict[int, int] = defaultdict(int)
    routes = []
    for trunk in links:
        (x1, y1), (x2, y2) = feet[trunk.one], feet[trunk.other]
        lanes[y1] += 1
        routes.append((trunk, x1, y1, x2, y2, y1 + lanes[y1]))
    for trunk, x1, y1, x2, y2, lane in routes:
        strokes, style = (DASHED, BLOCKED) if trunk.blocked else (DOUBLE, PLAIN)
        canvas.line([(x1, y1), (x1, lane), (x2, lane), (x2, y2)], strokes, style)
        for x, y in ((x1, y1), (x2, y2)):
            canvas.text(x, y, ("╥┬" if y < lane else "╨┴")[trunk.blocked], style)
    for trunk, x1, _, x2, _, lane in routes:
        said = f" {'blocked' if trunk.blocked else short(trunk.vlans)} "
        uprights = ((x, y, own) for _, a, top, b, bottom, own in routes for x, y in ((a, top), (b, bottom)))
        crossed = {x for x, y, own in uprights if min(y, own) <= lane <= max(y, own)}
        first, last = min(x1, x2) + 2, max(x1, x2) - len(said) - 1
        free = [x for x in range(first, last + 1) if crossed.isdisjoint(range(x, x + len(said)))]
        beside = max(x1, x2) + 1 if max(x1, x2) + 1 + len(said) <= width else min(x1, x2) - len(said)
        at = min(free, key=lambda x: abs(2 * x - first - last), default=beside)
        canvas.text(at, lane, said, BLOCKED if trunk.blocked else BOLD)


def _tree(lab: Lab, width: int, state: Status) -> list[list[Piece]]:
    """One line per port, for many switches or a narrow terminal."""
    made: list[list[Piece]] = []
    ends: dict[str, list[tuple[Trunk, End, End]]] = defaultdict(list)
    for trunk in trunks(lab, rows(lab)):
        ends[trunk.one.node].append((trunk, trunk.one, trunk.other))
        ends[trunk.other.node].append((trunk, trunk.other, trunk.one))
    for name in lab.switches:
        up = state.get(name)
        made.append(
            [(name, DOWN if up is False else BOLD)]
            + [(" up" if up else " down", UP if up else DOWN)] * (up is not None)
        )
        lines: list[list[Piece]] = []
        for trunk, near, far in ends[name]:
            style = BLOCKED if trunk.blocked else PLAIN
            said = "blocked" if trunk.blocked else short(trunk.vlans)
            lines.append([(f"{near.port} {'╌╌' if trunk.blocked else '══'} {far}  ", style), (said, style)])
        lines += _port_lines(lab, name, 1, state)
        for i, line in enumerate(lines):
            made.append([("└─ " if i == len(lines) - 1 else "├─ ", FAINT), *_cut(line, width - 3)])
    return made


def _storage(lab: Lab, state: Status) -> list[list[Piece]]:
    """A line for each pool and one for each volume, with the LUNs that offer it."""
    made: list[list[Piece]] = []
    for shelf in shelves(lab):
        up = state.get(shelf.name)
        said = [(" up" if up else " down", UP if up else DOWN)] * (up is not None)
        files = f"  pool, {shelf.about}: {' '.join(shelf.files)}"
        made.append([(shelf.name, DOWN if up is False else BOLD), *said, (files, FAINT)])
        names, about = (max((len(one[i]) for one in shelf.volumes), default=0) for i in (0, 1))
        for i, drawer in enumerate(shelf.volumes):
            made.append([("└─ " if i == len(shelf.volumes) - 1 else "├─ ", FAINT)])
            made[-1] += [(f"{drawer.name:<{names}}  ", PLAIN), (f"{drawer.about:<{about}}", FAINT)]
            made[-1] += [("  ── ", PLAIN), (", ".join(drawer.luns), BOLD)] if drawer.luns else []
    return made


def _cut(line: list[Piece], width: int) -> list[Piece]:
    made = []
    for text, style in line:
        made.append((text[:width], style))
        width -= len(made[-1][0])
    return made
