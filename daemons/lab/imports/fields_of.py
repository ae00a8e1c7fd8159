"""A YAML mapping from which keys are taken one by one; what nobody took is reported.

Knows: places of keys. Refuses to know: which keys there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..yamltree import Tree


class Fields:
    """The mapping in a tree; for whatever else stands there it is empty."""

    def __init__(self, tree: Tree | None, line: int = 0) -> None:
        self._rows: dict[Any, Any] = tree.value if tree is not None and isinstance(tree.value, dict) else {}
        self.line = tree.spot.line if tree is not None else line
        self._taken: set[str] = set()

    def take(self, key: str) -> Tree | None:
        """The value of a key; None if it is not there or empty."""
        self._taken.add(key)
        found = self._rows.get(key)
        return None if found is None or found[1].value is None else found[1]

    def text(self, key: str) -> str | None:
        """A scalar as text."""
        tree = self.take(key)
        return None if tree is None or isinstance(tree.value, dict | list) else str(tree.value)

    def items(self, key: str) -> list[Tree]:
        """A list's values; of a single one a list of it."""
        tree = self.take(key)
        if tree is None:
            return []
        return tree.value if isinstance(tree.value, list) else [tree]

    def rows(self, key: str) -> Iterator[tuple[str, int, Tree]]:
        """(key, its line, value) of a mapping below."""
        tree = self.take(key)
        if tree is not None and isinstance(tree.value, dict):
            for name, (spot, value) in tree.value.items():
                yield str(name), spot.line, value

    def line_of(self, key: str) -> int:
        found = self._rows.get(key)
        return found[0].line if found is not None else self.line

    def rest(self) -> Iterator[tuple[str, int]]:
        """(key, line) of those that nobody took."""
        return ((str(key), spot.line) for key, (spot, _) in self._rows.items() if key not in self._taken)

    def __bool__(self) -> bool:
        return bool(self._rows)
