"""The lab as an SVG picture: self-contained, for light and dark pages.

Knows: shapes, colours, the legend. Refuses to know: where things stand (`svg_places`), what they are (`layout`), pools
(`svg_shelves`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .lab import Lab
from .layout import Attached, colours, short
from .svg_chips import outline
from .svg_parts import lamp as _lamp
from .svg_parts import safe as _safe
from .svg_parts import text as _text
from .svg_places import BOX_HEIGHT, CHIP_LINE, HEAD, MARGIN, SMALL_PX, Box, Chip, Route, Sheet, Wire, sheet
from .svg_shelves import cards

# Middle tones that stand out from white and from near-black; red is kept for what is blocked or down.
PALETTE = ("#2f81f7", "#e08a1e", "#2da44e", "#a371f7", "#12a5a5", "#d6569c", "#a58a00", "#7d8da1")
GREY = "#8b949e"
STYLE = """
svg { --paper: #ffffff; --ink: #1f2328; --soft: #59636e; --line: #8b949e; --box: #eef2f7; --chip: #ffffff; }
svg { --bad: #d1242f; }
@media (prefers-color-scheme: dark) {
  svg { --paper: #0d1117; --ink: #e6edf3; --soft: #9aa4af; --line: #6e7681; --box: #1c2430; --chip: #161b22; }
  svg { --bad: #ff6a61; }
}
.paper { fill: var(--paper); }
text { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
text { font-size: 13px; fill: var(--ink); }
.title { font-size: 20px; font-weight: 650; }
.soft { fill: var(--soft); }
.small { font-size: 11px; }
.port { font-size: 10.5px; fill: var(--soft); }
.port { stroke: var(--paper); stroke-width: 4px; paint-order: stroke; stroke-linejoin: round; }
.name { font-weight: 650; }
.middle { text-anchor: middle; }
.end { text-anchor: end; }
.box { fill: var(--box); stroke: var(--ink); stroke-width: 1.6; }
.chip { fill: var(--chip); stroke: var(--line); stroke-width: 1.2; }
.inner { fill: none; stroke: var(--line); stroke-width: 1; }
.open { stroke-dasharray: 4 3; }
.wire { fill: none; stroke-width: 2; }
.trunk { fill: none; stroke: var(--ink); stroke-width: 5; stroke-linecap: round; }
.shelf { fill: var(--box); stroke: var(--line); stroke-width: 1.2; }
.drawer { fill: var(--chip); stroke: var(--line); stroke-width: 1.2; }
.disk { fill: var(--chip); stroke: var(--soft); stroke-width: 1.4; }
.lun { stroke: var(--soft); }
.blocked { stroke: var(--bad); stroke-width: 2.4; stroke-dasharray: 7 6; }
.label { fill: var(--paper); stroke: var(--line); stroke-width: 1; }
.bad { fill: var(--bad); }
.down { opacity: 0.55; }
"""
SAID = {None: "switch", True: "switch, up", False: "switch, down"}
Status = Mapping[str, bool]  # node -> it is up


def svg(lab: Lab, status: Status | None = None) -> str:
    """The picture as an SVG document."""
    state = status or {}
    places = sheet(lab)
    colour = {vid: PALETTE[number] for vid, number in colours(lab, len(PALETTE)).items()}
    # Without a network the pools begin where it would have stood.
    top = places.height + 6 if lab.switches else HEAD + MARGIN
    shelved = cards(lab, top, max(places.width, _text_width(lab)), state)
    if lab.storage.pools:
        places = places._replace(width=max(places.width, shelved.right + MARGIN), height=shelved.bottom + MARGIN)
    legend, bottom = _legend(lab, colour, places)
    width, height = round(max(places.width, _text_width(lab))), round(bottom)
    size = f'width="{width}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {size} role="img">',
        f"<title>{_safe(lab.name)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="paper" width="{width}" height="{height}" rx="10"/>',
        _text(MARGIN, 40, lab.name, "title"),
        _text(MARGIN, HEAD, lab.description, "soft"),
        *(_route(route) for route in places.routes),
        *(_wire(wire, colour) for wire in places.wires),
        *(_box(box, state) for box in places.boxes),
        *(_chip(chip, colour, state) for chip in places.chips),
        *(_ends(route) for route in places.routes),
        *(_wire_ends(wire) for wire in places.wires),
        *(_label(route, colour) for route in places.routes),
        *shelved.parts,
        *legend,
        "</svg>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _text_width(lab: Lab) -> float:
    return min(1400.0, max(len(lab.description) * 6.8, len(lab.name) * 12) + 2 * MARGIN)


def _box(box: Box, state: Status) -> str:
    up = state.get(box.name)
    middle = box.x + box.width / 2
    made = [
        f'<g class="{"down" if up is False else ""}">',
        f'<rect class="box" x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{BOX_HEIGHT}" rx="9"/>',
        _text(middle, box.y + 24, box.name, "name middle"),
        _text(middle, box.y + 40, SAID[up], "small soft middle"),
        _lamp(box.x + box.width - 14, box.y + 14, up),
        "</g>",
    ]
    return "".join(made)


def _colours(item: Attached, colour: Mapping[int, str]) -> list[str]:
    return [colour.get(vid, GREY) for vid in item.vlans[:4]] or [GREY]


def _chip(chip: Chip, colour: Mapping[int, str], state: Status) -> str:
    machine = chip.item.machine
    up = state.get(chip.item.name) if machine else None
    made = [f'<g class="{"down" if up is False else ""}">', outline(chip)]
    bars = _colours(chip.item, colour)
    step = (chip.height - 12) / len(bars)
    for i, fill in enumerate(bars):
        y = chip.y + 6 + i * step
        made.append(f'<rect x="{chip.x + 6:.1f}" y="{y:.1f}" width="5" height="{step - 1:.1f}" rx="2" fill="{fill}"/>')
    made.append(_text(chip.x + 19, chip.y + 19, chip.item.name, "name" if machine else "soft"))
    lines = [*filter(None, [chip.item.word]), *chip.item.addresses] if machine else [_whereabouts(chip.item)]
    for i, line in enumerate(lines):
        made.append(_text(chip.x + 19, chip.y + 19 + (i + 1) * CHIP_LINE, line, "small soft"))
    made.append(_lamp(chip.x + chip.width - 10, chip.y + 10, up))
    made.append("</g>")
    return "".join(made)


def _whereabouts(item: Attached) -> str:
    vlans = short(item.vlans, 12) if item.vlans else "all"
    return f"trunk: {vlans}" if item.tagged else f"VLAN {vlans}"


def _wire(wire: Wire, colour: Mapping[int, str]) -> str:
    dashes = "" if wire.item.machine and wire.item.kind != "external" else ' stroke-dasharray="4 4"'
    made = []
    several = _colours(wire.item, colour)
    for i, stroke in enumerate(several):  # a tagged port: one strand per VLAN
        aside = (i - (len(several) - 1) / 2) * 4
        way = f"M{wire.x1 + aside:.1f} {wire.y1:.1f}L{wire.x2 + aside:.1f} {wire.y2:.1f}"
        made.append(f'<path class="wire" d="{way}" stroke="{stroke}"{dashes}/>')
    return "".join(made)


def _wire_ends(wire: Wire) -> str:
    way = 1 if wire.y2 > wire.y1 else -1
    near = _text(wire.x1 + 7, wire.y1 + way * 14 + 4, wire.item.port, "port")
    return near + _text(wire.x2 + 7, wire.y2 - way * 8 + 3, wire.item.nic, "port")


def _route(route: Route) -> str:
    x1, y1, x2, y2, via = route.x1, route.y1, route.x2, route.y2, route.via
    if route.kind == "side":
        way = f"M{x1:.1f} {y1:.1f}H{x2:.1f}"
    elif route.kind == "lane":
        turn = 10 if x2 > x1 else -10
        way = f"M{x1:.1f} {y1:.1f}V{via - 10:.1f}q0 10 {turn} 10H{x2 - turn:.1f}q{turn} 0 {turn} -10V{y2:.1f}"
    else:
        half = (via + y2) / 2
        way = f"M{x1:.1f} {y1:.1f}V{via:.1f}C{x1:.1f} {half:.1f} {x2:.1f} {half:.1f} {x2:.1f} {y2:.1f}"
    return f'<path class="trunk{" blocked" if route.trunk.blocked else ""}" d="{way}"/>'


def _ends(route: Route) -> str:
    one, other = route.trunk.one.port, route.trunk.other.port
    if route.kind == "side":
        return _text(route.x1 + 6, route.y1 - 7, one, "port") + _text(route.x2 - 6, route.y2 - 7, other, "port end")
    far = -8 if route.kind == "down" else 16
    return _text(route.x1 + 7, route.y1 + 16, one, "port") + _text(route.x2 + 7, route.y2 + far, other, "port")


def _label(route: Route, colour: Mapping[int, str]) -> str:
    """The VLANs on a trunk, each in its colour."""
    vlans = sorted(route.trunk.vlans)
    said = "blocked" if route.trunk.blocked else "all VLANs" if short(vlans) == "all" else short(vlans, 26)
    x, y = _middle(route)
    width = len(said) * SMALL_PX + 16
    made = [f'<rect class="label" x="{x - width / 2:.1f}" y="{y - 10:.1f}" width="{width:.1f}" height="20" rx="10"/>']
    made.append(f'<text x="{x:.1f}" y="{y + 4:.1f}" class="small name middle{" bad" if route.trunk.blocked else ""}">')
    if said == ", ".join(str(vid) for vid in vlans):
        spans = (f'<tspan style="fill:{colour.get(vid, GREY)}">{vid}</tspan>' for vid in vlans)
        made.append('<tspan class="soft">, </tspan>'.join(spans))
    else:
        made.append(_safe(said))
    return "".join([*made, "</text>"])


def _middle(route: Route) -> tuple[float, float]:
    """Where the label goes; labels of trunks that lean to different sides keep out of each other's way."""
    if route.kind != "down":
        return (route.x1 + route.x2) / 2, route.via
    lean = route.x2 - route.x1
    t = 0.5 if abs(lean) < 30 else 0.3 if lean > 0 else 0.68
    x = route.x1 * ((1 - t) ** 3 + 3 * (1 - t) ** 2 * t) + route.x2 * (3 * (1 - t) * t**2 + t**3)
    half = (route.via + route.y2) / 2
    y = route.via * (1 - t) ** 3 + half * (3 * (1 - t) ** 2 * t + 3 * (1 - t) * t**2) + route.y2 * t**3
    return x, y


def _legend(lab: Lab, colour: Mapping[int, str], places: Sheet) -> tuple[Iterable[str], float]:
    """The legend's parts, and where the picture ends."""
    entries = [(f"{name}: VLAN {vid}", colour[vid]) for name, vid in lab.vlans.items()]
    entries += [("blocked: it would close a loop", "")] if lab.blocked else []
    made = []
    x, y = float(MARGIN), places.height + 4
    for said, fill in entries:
        width = len(said) * 7.2 + 34
        if x > MARGIN and x + width > places.width - MARGIN:
            x, y = float(MARGIN), y + 22
        if fill:
            made.append(f'<circle cx="{x + 6:.1f}" cy="{y - 4:.1f}" r="6" fill="{fill}"/>')
        else:
            made.append(f'<path class="trunk blocked" d="M{x - 2:.1f} {y - 4:.1f}h11"/>')
        made.append(_text(x + 18, y, said, "soft"))
        x += width
    return made, y + MARGIN - 6 if entries else places.height
