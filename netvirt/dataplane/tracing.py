"""What the notes of tracing.pxd mean: one frame's way through the rules of one switch, in words.

Knows: the names of the rules and how their values are read. Refuses to know: port names (the caller has them), who
makes notes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from netvirt.dataplane.drops import REASONS

# In the order of the numbers in tracing.pxd: change both.
RULES = ("drop", "tag", "untagged", "vlan", "learn", "found", "flood", "leave", "copy", "lost")
VERDICTS = ("learned", "no room in the table", "limit of the port or VLAN", "static elsewhere", "sticky elsewhere")
KINDS = ("unknown unicast", "multicast", "broadcast")


class Step(NamedTuple):
    """One rule. port: where; detail: words; of `drop` a reason (drops.REASONS), of `lost` (a copy) it ends in one."""

    rule: str
    port: str
    detail: str


def steps(
    notes: Sequence[tuple[int, int, int]], port_name: Callable[[int], str], mirrors: Sequence[str] = ()
) -> list[Step]:
    """Notes as Plane.trace() gives them (rule, port, value), in words. mirrors: their names, in the plane's order."""
    return [Step(RULES[rule], port_name(port), _detail(RULES[rule], value, mirrors)) for rule, port, value in notes]


def _detail(rule: str, value: int, mirrors: Sequence[str]) -> str:
    if rule == "drop":
        return REASONS[value]
    if rule in ("tag", "vlan"):
        return f"VLAN {value}" if rule == "vlan" else _tag(value)
    if rule == "learn":
        return VERDICTS[value]
    if rule == "flood":
        return KINDS[value]
    if rule == "leave":
        return f"tag {value >> 16:#06x}, {_tag(value & 0xFFFF)}" if value else "without a tag"
    if rule == "copy":
        return f"mirror {mirrors[value]}"
    if rule == "lost":
        return f"mirror {mirrors[value >> 8]}: {REASONS[value & 0xFF]}"
    return ""


def _tag(tci: int) -> str:
    return f"VID {tci & 0xFFF}, PCP {tci >> 13}" + (", DEI" if tci & 0x1000 else "")
