"""How the command writes: tables, colours, progress, JSON. No dependency, and nothing fancy when nobody looks at it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

COLOURS = {"green": "32", "red": "31", "yellow": "33", "dim": "2", "bold": "1"}
# What a word in a table means for the eye.
WORDS = {
    "up": "green",
    "ok": "green",
    "yes": "green",
    "warn": "yellow",
    "starting": "yellow",
    "waiting": "yellow",
    "silent": "yellow",
    "blocked": "yellow",
    "down": "red",
    "dead": "red",
    "no": "red",
}


def colourful(stream: TextIO) -> bool:
    """Colours only for eyes: a terminal, and no NO_COLOR (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str | None, stream: TextIO | None = None) -> str:
    if colour is None or not colourful(stream or sys.stdout):
        return text
    return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns as wide as they must be, two blanks between; words of WORDS in their colour."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(header), *cells]) for i in range(len(header))]

    def line(row: Sequence[str], colour: str | None) -> str:
        last = len(row) - 1
        padded = [text if i == last else text.ljust(widths[i]) for i, text in enumerate(row)]
        return "  ".join(paint(text, colour or WORDS.get(text.strip())) for text in padded).rstrip()

    return "\n".join([line(list(header), "dim"), *(line(row, None) for row in cells)])


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else str(value)


def duration(seconds: float | None) -> str:
    """`7s`, `3m12s`, `5h02m`, `4d03h`."""
    if seconds is None:
        return ""
    whole = int(seconds)
    for size, unit, below, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // below:02d}{small}"
    return f"{whole}s"


def count(number: int, one: str, many: str = "") -> str:
    """`1 step`, `2 steps`; many: where it is not `one` with an s."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def print_json(value: Any) -> None:
    # Bytes of a file's name that are no UTF-8 become the escapes that JSON has for them.
    print(json.dumps(value, indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace").decode())


def warn(sentence: str) -> None:
    print(paint("warning: ", "yellow", sys.stderr) + sentence, file=sys.stderr)


class Progress:
    """One line that is written over and over on a terminal's stderr; nothing at all elsewhere."""

    def __init__(self) -> None:
        self._on = sys.stderr.isatty()

    def show(self, text: str) -> None:
        if self._on:
            width = shutil.get_terminal_size().columns
            print(f"\r\x1b[K{text[: max(0, width - 1)]}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._on:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
