"""Names from elsewhere -> names that a lab file can have, each once.

Knows: which characters may stand in names of nodes and ports. Refuses to know: what is named.
"""

from __future__ import annotations

import re
import unicodedata

from ..fields import NODE_NAME, PORT_NAME

_NODE = re.compile(NODE_NAME)
_PORT = re.compile(PORT_NAME)
NODE_LENGTH, PORT_LENGTH = 31, 15


def ascii_text(text: str) -> str:
    """Zürich -> Zurich: what is left of letters with marks on them when they must be ASCII (Unicode TR 15, NFKD)."""
    return unicodedata.normalize("NFKD", text[:200]).encode("ascii", "ignore").decode()


def node_name(text: str, otherwise: str = "n") -> str:
    """A node's name as near to `text` as can be."""
    if _NODE.fullmatch(text):
        return text
    return _made(re.sub(r"[^A-Za-z0-9_]+", "-", ascii_text(text)), otherwise, NODE_LENGTH)


def port_name(text: str, dots: bool = True) -> str:
    """A port's name; without `dots` for machines, where eth0.7 would be a VLAN."""
    if _PORT.fullmatch(text) and (dots or "." not in text) and text != "lo":
        return text
    return _made(re.sub(r"[^A-Za-z0-9_]+", "-", ascii_text(text)), "p", PORT_LENGTH)


def _made(text: str, otherwise: str, length: int) -> str:
    text = text.strip("-")
    if not text or not text[0].isalpha() or text == "lo":
        text = f"{otherwise}{text.lstrip('_')}"
    return text[:length].rstrip("-")


class Unique:
    """Gives each name away once; a second comer gets -2 behind it, as far as that fits."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._given: set[str] = set()

    def take(self, name: str) -> str:
        number, found = 1, name
        while found in self._given:
            number += 1
            end = f"-{number}"
            found = name[: self._length - len(end)] + end
        self._given.add(found)
        return found
