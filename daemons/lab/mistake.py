"""How a lab file's mistakes are said: one sentence with a place, what is wrong, and what to do.

Knows: the shape of a mistake and how text from a file is quoted in it. Refuses to know: YAML, the model, networks.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import NamedTuple

At = tuple[str | int, ...]  # the way to a value in the file: ("topology", "links", 3, "endpoints")

NODES: At = ("topology", "nodes")
LINKS: At = ("topology", "links")
MOST_SHOWN = 100  # a file with more mistakes than this is not a lab file; nobody reads on


class Finding(NamedTuple):
    """Something wrong, placed by its way through the file; `key` points at the key instead of at its value."""

    at: At
    what: str
    fix: str
    key: bool = False


class Mistake(NamedTuple):
    """A finding with its place: line and column count from 1; line 0 means the file as a whole."""

    file: str
    line: int
    column: int
    what: str
    fix: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.what}; {self.fix}"


class LabError(Exception):
    """A lab file that cannot be used; `mistakes` holds all that was found, in the file's order."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(sorted(dict.fromkeys(mistakes), key=lambda mistake: mistake[1:3]))
        super().__init__(str(self))

    def __str__(self) -> str:
        lines = [str(mistake) for mistake in self.mistakes[:MOST_SHOWN]]
        if len(self.mistakes) > MOST_SHOWN:
            lines.append(f"{self.mistakes[0].file}: and {len(self.mistakes) - MOST_SHOWN} more mistakes")
        return "\n".join(lines)


def whole_file(file: str, what: str, fix: str) -> LabError:
    """A mistake that has no line: the file is missing, unreadable, too big."""
    return LabError([Mistake(printable(file), 0, 0, what, fix)])


def printable(text: str) -> str:
    """`text` without anything that could move a terminal's cursor or break the line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)


def quoted(value: object) -> str:
    """A value from the file as it stands in a sentence: in quotes, printable, at most 40 characters."""
    text = printable(str(value)[:200])
    return f"'{text if len(text) <= 40 else text[:37] + '...'}'"


def did_you_mean(wrong: object, choices: Iterable[str], else_say: str) -> str:
    """The fix for a name that is not one of `choices`: the nearest of them, or `else_say`."""
    near = difflib.get_close_matches(str(wrong)[:100], list(choices), n=1)
    return f"did you mean '{near[0]}'?" if near else else_say


def listed(names: Iterable[str], most: int = 12) -> str:
    """Names as a list for a sentence, in the order given, cut at `most`."""
    all_names = list(names)
    return ", ".join(all_names[:most]) + (f" and {len(all_names) - most} more" if len(all_names) > most else "")
