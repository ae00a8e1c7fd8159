"""A lab as boxes and lines with words on them, for programs that draw for themselves: Graphviz, Mermaid.

Knows: which boxes and lines there are, what stands on them, which VLAN gives the colour. Refuses to know: any language.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from .lab import Host, Lab
from .layout import Attached, attached, colours, rows, short, trunks
from .picture_svg import GREY, PALETTE

Status = Mapping[str, bool]  # node -> it is up
BLOCKED = "#d1242f"


class Box(NamedTuple):
    """kind: switch | host (any machine) | open (what waits for somebody) | disk | pool | volume | lun"""

    key: str
    kind: str
    lines: tuple[str, ...]
    up: bool | None = None


class Line(NamedTuple):
    """From box to box; `near` and `far` are ports. kind: trunk | blocked | wire | open | storage"""

    one: str
    other: str
    kind: str
    near: str = ""
    middle: str = ""
    far: str = ""
    colour: str = GREY


class Parts(NamedTuple):
    """`rows`: keys of switches that stand beside each other, from top to bottom."""

    boxes: list[Box]
    lines: list[Line]
    rows: list[list[str]]


def parts(lab: Lab, status: Status | None = None) -> Parts:
    state = status or {}
    placed = rows(lab)
    boxes = [Box(name, "switch", (name,), state.get(name)) for row in placed for name in row]
    lines = []
    for trunk in trunks(lab, placed):
        kind = "blocked" if trunk.blocked else "trunk"
        said = "blocked" if trunk.blocked else short(trunk.vlans)
        one, other = trunk.one, trunk.other
        lines.append(Line(one.node, other.node, kind, one.port, said, other.port))
    colour = {vid: PALETTE[number] for vid, number in colours(lab, len(PALETTE)).items()}
    seen: set[str] = set()
    for switch in lab.switches:
        for item in attached(lab, switch):
            box = _station(switch, item, state, lab.hosts.get(item.name))
            if box.key not in seen:
                boxes.append(box)
            seen.add(box.key)
            hue = colour.get(item.vlans[0], GREY) if item.vlans else GREY
            kind = "wire" if box.kind == "host" else "open"
            lines.append(Line(switch, box.key, kind, item.port, _vlans(item), item.nic, hue))
    for shelf, joint in _storage(lab, state):
        boxes += shelf
        lines += joint
    return Parts(boxes, lines, placed)


def _station(switch: str, item: Attached, state: Status, host: Host | None) -> Box:
    if host is not None:
        every = [interface for nic in host.nics.values() for interface in nic.interfaces]
        addresses = [str(address) for interface in every for address in interface.addresses]
        lines = (item.name, *filter(None, [item.word]), *addresses)
        return Box(item.name, "open" if item.kind == "external" else "host", lines, state.get(item.name))
    return Box(f"{switch}:{item.port}", "open", (item.name,))


def _vlans(item: Attached) -> str:
    return short(item.vlans, 12) if item.vlans else "all"


def _storage(lab: Lab, state: Status) -> Iterator[tuple[list[Box], list[Line]]]:
    """Keys have a word and a blank before the name, so that a volume may be called as a switch is."""
    storage = lab.storage
    for pool in storage.pools.values():
        key = f"pool {pool.name}"
        boxes = [Box(key, "pool", (pool.name,), state.get(pool.name))]
        lines = []
        for number, member in enumerate(pool.members):
            boxes.append(Box(f"{key} {number}", "disk", (str(member).rpartition("/")[2],)))
            lines.append(Line(f"{key} {number}", key, "storage"))
        yield boxes, lines
    for volume in storage.volumes.values():
        key = f"volume {volume.name}"
        yield [Box(key, "volume", (volume.name,))], [Line(f"pool {volume.pool}", key, "storage")]
    for lun in storage.luns.values():
        key = f"lun {lun.name}"
        yield [Box(key, "lun", (lun.name,))], [Line(f"volume {lun.volume}", key, "storage")]
