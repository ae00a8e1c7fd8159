"""The one error that is the user's to read, not ours to mend: a sentence that says what is wrong and what to do."""

from __future__ import annotations


class UserError(Exception):
    """One sentence for the person at the keyboard; `details` are further lines, one mistake each."""

    def __init__(self, sentence: str, details: tuple[str, ...] = ()) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.details = details

    def __str__(self) -> str:
        return "\n".join((*self.details, self.sentence))
