"""The smallest pieces of an SVG picture: text that can't become markup, and the lamp that says up or down.

Knows: escaping. Refuses to know: labs, places.
"""

from __future__ import annotations

from html import escape


def safe(text: str) -> str:
    """Text for an XML document: escaped, and without the characters that XML 1.0 forbids even so (section 2.2)."""
    return escape("".join(c if c.isprintable() else " " for c in text))


def text(x: float, y: float, said: str, css: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{css}">{safe(said)}</text>' if said else ""


def lamp(x: float, y: float, up: bool | None) -> str:
    if up is None:
        return ""
    fill = 'fill="#2da44e"' if up else 'class="bad"'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" {fill}/>'
