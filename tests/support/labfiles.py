"""Lab files with a mistake in them, for tests: where it stands is marked in the file itself.

Knows: the mark, the shape of every sentence about a mistake. Refuses to know: which mistakes there are.
"""

from __future__ import annotations

import re

import pytest

from daemons.lab import loader
from daemons.lab.mistake import LabError

FILE = "x.fab.yml"


def one_mistake(marked: str, pattern: str) -> None:
    """`marked`, without its ¤, is refused, and what is said of just that line and column matches `pattern`."""
    before = marked[: marked.index("¤")]
    line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
    with pytest.raises(LabError) as caught:
        loader.parse(marked.replace("¤", ""), FILE)
    found = [str(mistake) for mistake in caught.value.mistakes]
    here = [text for text in found if text.startswith(f"{FILE}:{line}:{column}: ")]
    assert any(re.search(pattern, text) for text in here), found
    assert all("; " in text and "\n" not in text and text.isprintable() for text in found)
