"""The outlines of what is in a port, in the SVG picture of a lab: one shape for each sort of machine.

Knows: shapes. Refuses to know: places, what is written inside.
"""

from __future__ import annotations

from .svg_places import Chip

_TIP = 9  # how far an uplink's arrow points
_INSET = 3


def outline(chip: Chip) -> str:
    """Rounded: a host, a namespace; two frames: a virtual machine; an arrow: an uplink; dashed: whoever comes."""
    if not chip.item.machine:
        return _rounded(chip, "chip open")
    return _SHAPES.get(chip.item.kind, _host)(chip)


def _frame(chip: Chip, css: str, radius: float, inset: float = 0) -> str:
    x, y, width, height = chip.x + inset, chip.y + inset, chip.width - 2 * inset, chip.height - 2 * inset
    size = f'width="{width:.1f}" height="{height:.1f}"'
    return f'<rect class="{css}" x="{x:.1f}" y="{y:.1f}" {size} rx="{radius}"/>'


def _rounded(chip: Chip, css: str) -> str:
    return _frame(chip, css, 7)


def _host(chip: Chip) -> str:
    return _rounded(chip, "chip")


def _external(chip: Chip) -> str:
    return _rounded(chip, "chip open")


def _vm(chip: Chip) -> str:
    return _frame(chip, "chip", 2) + _frame(chip, "inner", 1, _INSET)


def _uplink(chip: Chip) -> str:
    half = chip.height / 2
    way = f"M{chip.x:.1f} {chip.y:.1f}h{chip.width - _TIP:.1f}l{_TIP} {half:.1f}l-{_TIP} {half:.1f}"
    return f'<path class="chip" d="{way}h-{chip.width - _TIP:.1f}z"/>'


_SHAPES = {"vm": _vm, "external": _external, "uplink": _uplink}
