"""What an import has to say: one line for each thing that came over otherwise, or not at all.

Knows: places and sentences. Refuses to know: formats.
"""

from __future__ import annotations

from typing import NamedTuple

from ..mistake import printable

MOST_NOTES = 1000  # a file with more than this to say about is not a lab; nobody reads on


class Note(NamedTuple):
    """`line` counts from 1; 0 means the file as a whole."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}" if self.line else f"{self.file}: {self.what}"


class Unreadable(Exception):
    """Nothing could be made of the file; `notes` say why."""

    def __init__(self, *notes: Note) -> None:
        self.notes = notes
        super().__init__("\n".join(map(str, notes)))


class Report:
    """Notes, in the order in which they were made."""

    def __init__(self, file: str) -> None:
        self.file = printable(file)
        self.notes: list[Note] = []
        self.more = 0

    def say(self, line: int, what: str, file: str | None = None) -> None:
        """`what` is a sentence of ours; what it quotes from the file is cut and made printable there."""
        if len(self.notes) < MOST_NOTES:
            self.notes.append(Note(printable(file) if file is not None else self.file, line, printable(what)))
        else:
            self.more += 1

    def lines(self) -> list[str]:
        rest = [f"{self.file}: and {self.more} more like these"] if self.more else []
        return [*map(str, self.sorted()), *rest]

    def sorted(self) -> list[Note]:
        """By their places; the imported file comes before those beside it."""
        return sorted(self.notes, key=lambda note: (note.file != self.file, note.file, note.line))

    def unreadable(self, line: int, what: str) -> Unreadable:
        return Unreadable(Note(self.file, line, printable(what)))
