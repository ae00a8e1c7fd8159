"""A sheet of characters to draw on: boxes and lines that join where they cross.

Knows: unicode box drawing, and styles (numbers that the caller gives a meaning). Refuses to know: labs.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

UP, DOWN, LEFT, RIGHT = 1, 2, 4, 8
AHEAD = {(0, -1): UP, (0, 1): DOWN, (-1, 0): LEFT, (1, 0): RIGHT, (0, 0): 0}
# the arms of a cell, as a sum -> the character; a lone arm is drawn as the whole stroke
_BY_ARMS = [UP, DOWN, UP | DOWN, LEFT, UP | LEFT, DOWN | LEFT, UP | DOWN | LEFT, RIGHT, UP | RIGHT, DOWN | RIGHT]
_BY_ARMS += [UP | DOWN | RIGHT, LEFT | RIGHT, UP | LEFT | RIGHT, DOWN | LEFT | RIGHT, UP | DOWN | LEFT | RIGHT]
THIN = dict(zip(_BY_ARMS, "│││─┘┐┤─└┌├─┴┬┼", strict=True))
DOUBLE = dict(zip(_BY_ARMS, "║║║═╝╗╣═╚╔╠═╩╦╬", strict=True))
DASHED = dict(zip(_BY_ARMS, "╎╎╎╌┘┐┤╌└┌├╌┴┬┼", strict=True))


class Canvas:
    """Cells by (x, y), from the upper left; what is drawn later lies above. A line joins with itself only."""

    def __init__(self) -> None:
        self._cells: dict[tuple[int, int], tuple[str, int]] = {}

    def text(self, x: int, y: int, text: str, style: int = 0) -> int:
        """Write; returns the column behind the text."""
        for i, character in enumerate(text):
            self._cells[x + i, y] = (character, style)
        return x + len(text)

    def line(self, points: list[tuple[int, int]], strokes: Mapping[int, str], style: int = 0) -> None:
        """A line through points that are apart in x or y only."""
        arms: dict[tuple[int, int], int] = {}
        for (x, y), (x2, y2) in pairwise(points):
            step_x, step_y = (x2 > x) - (x2 < x), (y2 > y) - (y2 < y)
            ahead, back = AHEAD[step_x, step_y], AHEAD[-step_x, -step_y]
            while (x, y) != (x2, y2):
                arms[x, y] = arms.get((x, y), 0) | ahead
                x, y = x + step_x, y + step_y
                arms[x, y] = arms.get((x, y), 0) | back
        for cell, joined in arms.items():
            self._cells[cell] = (strokes[joined], style)

    def box(self, x: int, y: int, width: int, height: int, style: int = 0) -> None:
        right, bottom = x + width - 1, y + height - 1
        self.line([(x, y), (right, y), (right, bottom), (x, bottom), (x, y)], THIN, style)

    def rows(self) -> list[list[tuple[str, int]]]:
        """The cells as rows of (character, style), trailing blanks left out."""
        widths: dict[int, int] = {}
        for x, y in self._cells:
            widths[y] = max(widths.get(y, 0), x + 1)
        height = max(widths, default=-1) + 1
        return [[self._cells.get((x, y), (" ", 0)) for x in range(widths.get(y, 0))] for y in range(height)]
