"""YAML text -> a tree of values, each with its place in the text.

Knows: which part of YAML a lab file may use, and how much of it: events are read one by one, so that nothing in it
(depth, aliases, sheer number) can cost more than the limits below. Refuses to know: what a lab is.
Scalars follow the YAML 1.2 core schema: `no` and `on` are text, and so is 02:00:00:00:00:01.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from .mistake import At, quoted

MAX_BYTES = 4 << 20  # the largest lab file that is read
MAX_VALUES = 100_000  # aliases counted as what they stand for; a switch with 48 ports and hosts needs about 1000
MAX_DEPTH = 24  # a lab file needs 8
PLAIN = (  # 24 digits: 0.0001 has 17 more in Python's shortest words for it
    (re.compile(r"|~|null|Null|NULL"), lambda text: None),
    (re.compile(r"true|True|TRUE"), lambda text: True),
    (re.compile(r"false|False|FALSE"), lambda text: False),
    (re.compile(r"[-+]?[0-9]{1,18}"), int),
    (re.compile(r"0x[0-9a-fA-F]{1,15}"), lambda text: int(text, 16)),
    (re.compile(r"[-+]?(\.[0-9]{1,24}|[0-9]{1,18}(\.[0-9]{0,24})?)([eE][-+]?[0-9]{1,3})?"), float),
)


class Spot(NamedTuple):
    """A place in the text, both counted from 1."""

    line: int
    column: int


class Tree:
    """A value with its place. `value` is a scalar, a list of trees, or a dict: key -> (place of the key, tree)."""

    __slots__ = ("size", "spot", "value")

    def __init__(self, value: Any, spot: Spot) -> None:
        self.value = value
        self.spot = spot
        self.size = 1  # values inside, aliases counted as what they stand for

    def plain(self) -> Any:
        """The value without places."""
        if isinstance(self.value, dict):
            return {key: tree.plain() for key, (_, tree) in self.value.items()}
        return [tree.plain() for tree in self.value] if isinstance(self.value, list) else self.value

    def child(self, step: str | int) -> tuple[Spot, Tree] | None:
        """One step down: the place of the key (of the item, in a list) and what is there."""
        if isinstance(self.value, dict):
            found: tuple[Spot, Tree] | None = self.value.get(step)
            return found
        if isinstance(self.value, list) and isinstance(step, int) and 0 <= step < len(self.value):
            return self.value[step].spot, self.value[step]
        return None

    def spot_of(self, at: At, key: bool = False) -> Spot:
        """The place of what is `at` that way, or of the last thing on the way that exists."""
        tree, spot = self, self.spot
        for step in at:
            found = tree.child(step)
            if found is None:
                return spot
            key_spot, tree = found
            spot = tree.spot
            if key or tree.value is None:  # an empty value has no place worth pointing at
                spot = key_spot
        return spot


class TextError(Exception):
    """Text that is no YAML, or more of it than a lab file may use. `problems`: (place, what, fix)."""

    def __init__(self, problems: list[tuple[Spot, str, str]]) -> None:
        self.problems = problems
        super().__init__(problems)


def read(text: str) -> tuple[Tree, list[tuple[Spot, str, str]]]:
    """The tree in `text`, and what is wrong with it that does not hinder reading on (such as a key given twice).

    Raises TextError, and nothing else.
    """
    builder = _Builder()
    spot = Spot(1, 1)
    try:
        for event in _events(text):
            spot = Spot(event.start_mark.line + 1, event.start_mark.column + 1)
            builder.take(event, spot)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Spot(mark.line + 1, mark.column + 1) if mark else spot
        why = " ".join(str(error.problem or "it breaks YAML's rules").split())[:120]
        raise TextError(
            [(place, f"this is not YAML: {why}", "check quotes, brackets and indentation near here")]
        ) from None
    except ReaderError as error:
        before = text[: error.position]
        place = Spot(before.count("\n") + 1, error.position - before.rfind("\n"))
        raise TextError([(place, "this character cannot stand in YAML", "remove it, or escape it")]) from None
    except (YAMLError, ValueError, LookupError, TypeError, AttributeError, OverflowError, AssertionError):
        # ruamel's scanner lets a few of these out, such as for an escape beyond Unicode; the place is the last good one
        raise TextError(
            [(spot, "from here on this is not YAML", "check quotes, escapes and special characters")]
        ) from None
    if builder.root is None:
        raise TextError([(Spot(1, 1), "this file is empty", "begin with name: and topology:, as in the example labs")])
    return builder.root, builder.problems


def _events(text: str) -> Iterator[Any]:
    yaml = YAML(typ="safe", pure=True)  # pure: the same positions with and without ruamel's C library
    yield from yaml.parse(text)


class _Open:
    """A list or mapping that is being read."""

    __slots__ = ("anchor", "key", "tree")

    def __init__(self, tree: Tree, anchor: str | None) -> None:
        self.tree = tree
        self.anchor = anchor
        self.key: tuple[str | None, Spot] | None = None  # None: the next event is a key


class _Builder:
    """Puts events together to a tree, on a stack of its own: no recursion."""

    def __init__(self) -> None:
        self.root: Tree | None = None
        self.problems: list[tuple[Spot, str, str]] = []
        self._stack: list[_Open] = []
        self._anchors: dict[str, Tree] = {}
        self._count = 0

    def take(self, event: Any, spot: Spot) -> None:
        if getattr(event, "ctag", None) is not None:
            self.problems.append((spot, f"YAML tags such as {quoted(event.tag)} mean nothing here", "remove the tag"))
        if isinstance(event, MappingStartEvent | SequenceStartEvent):
            self._open(event, spot)
        elif isinstance(event, MappingEndEvent | SequenceEndEvent):
            done = self._stack.pop()
            if done.anchor:
                self._anchors[done.anchor] = done.tree
            self._add(done.tree)
        elif isinstance(event, ScalarEvent):
            self._scalar(event, spot)
        elif isinstance(event, AliasEvent):
            self._alias(event, spot)
        elif isinstance(event, DocumentStartEvent) and self.root is not None:
            self._stop(spot, "a second YAML document begins here", "keep one lab per file")

    def _open(self, event: Any, spot: Spot) -> None:
        if len(self._stack) >= MAX_DEPTH:
            self._stop(
                spot, f"this is nested more than {MAX_DEPTH} levels deep", "a lab file needs eight; take levels away"
            )
        self._stack.append(_Open(Tree({} if isinstance(event, MappingStartEvent) else [], spot), event.anchor))

    def _scalar(self, event: Any, spot: Spot) -> None:
        tree = Tree(_scalar_value(event), spot)
        if event.anchor:
            self._anchors[event.anchor] = tree
        parent = self._stack[-1] if self._stack else None
        if parent is not None and isinstance(parent.tree.value, dict) and parent.key is None:
            self._key(parent, event.value, spot)
        else:
            self._add(tree)

    def _key(self, parent: _Open, name: str, spot: Spot) -> None:
        parent.key = (name, spot)
        before = parent.tree.value.get(name)
        if before is not None:
            line = before[0].line
            self.problems.append(
                (spot, f"{quoted(name)} stands here twice (first in line {line})", "keep one of the two")
            )

    def _alias(self, event: Any, spot: Spot) -> None:
        tree = self._anchors.get(event.anchor)
        if tree is None:
            self._stop(spot, f"nothing above is called &{event.anchor[:30]}", "write the value out, or add the anchor")
        else:
            self._add(tree)

    def _add(self, tree: Tree) -> None:
        self._count += 1
        if not self._stack:
            self.root = tree
            return
        parent = self._stack[-1]
        parent.tree.size += tree.size
        if self._count > MAX_VALUES or parent.tree.size > MAX_VALUES:
            self._stop(tree.spot, f"this file holds more than {MAX_VALUES} values", "split it into several labs")
        if isinstance(parent.tree.value, list):
            parent.tree.value.append(tree)
        elif parent.key is None:
            parent.key = (None, tree.spot)
            self.problems.append((tree.spot, "a list or mapping cannot be a key", "write a name before the colon"))
        else:
            name, spot = parent.key
            parent.key = None
            if name is not None:
                parent.tree.value.setdefault(name, (spot, tree))

    def _stop(self, spot: Spot, what: str, fix: str) -> None:
        raise TextError([*self.problems, (spot, what, fix)])


def _scalar_value(event: Any) -> Any:
    text = event.value
    if not event.implicit[0]:  # quoted, a block, or tagged: text
        return text
    for pattern, make in PLAIN:
        if pattern.fullmatch(text):
            return make(text)
    return text
