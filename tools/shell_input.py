"""Lines for `vfab shell`: from a terminal with history and completion, or from a file or pipe without.

Knows: readline. Refuses to know: what the lines mean.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator

from daemons.paths import PathError, state_root

MOST_HISTORY = 1000


def lines(prompt: str, words: Callable[[], list[str]]) -> Iterator[str]:
    """One line after the other until the end of the input. words: what a line can begin with."""
    if not sys.stdin.isatty():
        yield from sys.stdin
        return
    with _remembered(words):
        while True:
            try:
                yield input(prompt)
            except EOFError:
                print()
                return
            except KeyboardInterrupt:
                print("^C")


@contextlib.contextmanager
def _remembered(words: Callable[[], list[str]]) -> Iterator[None]:
    try:
        import readline
    except ImportError:  # a Python that was built without it
        yield
        return
    history = _history_file()
    if history:
        with contextlib.suppress(OSError):
            readline.read_history_file(history)
    readline.set_history_length(MOST_HISTORY)
    readline.set_completer_delims(" ")
    readline.set_completer(_Completer(words))
    readline.parse_and_bind("tab: complete")
    try:
        yield
    finally:
        if history:
            with contextlib.suppress(OSError):
                os.makedirs(os.path.dirname(history), 0o700, exist_ok=True)
                readline.write_history_file(history)


def _history_file() -> str | None:
    try:
        return os.path.join(state_root(), "shell-history")
    except PathError:
        return None


class _Completer:
    """readline asks for one after the other, by number."""

    def __init__(self, words: Callable[[], list[str]]) -> None:
        self._words = words
        self._found: list[str] = []

    def __call__(self, text: str, number: int) -> str | None:
        if number == 0:
            self._found = [f"{word} " for word in self._words() if word.startswith(text)]
        return self._found[number] if number < len(self._found) else None
