"""The project's own source files, as the rules of the house look at them: by syntax tree, nothing is imported.

Knows: which files there are, what each one imports. Refuses to know: which imports are allowed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
ROOMS = ("netvirt", "storvirt", "daemons", "tools")
# Cython is no Python to `ast`, so its imports are found by pattern; `cimport` counts as an import.
_CYTHON = re.compile(
    r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+c?import|c?import[ \t]+([\w.]+(?:[ \t]*,[ \t]*[\w.]+)*))", re.M
)


class Source(NamedTuple):
    """path: relative to the project, with slashes."""

    path: str
    text: str

    @property
    def module(self) -> str:
        return self.path.rsplit(".", 1)[0].replace("/", ".").removesuffix(".__init__")

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)


class Function(NamedTuple):
    where: str  # path:line
    name: str
    lines: int


def sources(*suffixes: str) -> Iterator[Source]:
    """Every file with one of these suffixes in the four rooms."""
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*")):
            if path.suffix in suffixes and path.is_file():
                yield Source(path.relative_to(ROOT).as_posix(), path.read_text())


def imports(source: Source) -> Iterator[str]:
    """Dotted names of all that a file imports, wherever in the file it does, `from a import b` as a.b.

    What stands under `if TYPE_CHECKING` counts too: a type from above is knowledge of what is above.
    """
    if source.path.endswith((".pyx", ".pxd")):
        for match in _CYTHON.finditer(source.text):
            yield from (match[1] or match[2]).replace(" ", "").split(",")
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _base(source, node)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _base(source: Source, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = source.module.split(".") + ([""] if source.path.endswith("__init__.py") else [])
    return ".".join([*parts[: -node.level], *([node.module] if node.module else [])])


def functions(source: Source) -> Iterator[Function]:
    """Every function, those of .pyx files found by their indentation."""
    if source.path.endswith(".pyx"):
        yield from _cython_functions(source)
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield Function(f"{source.path}:{node.lineno}", node.name, node.end_lineno - node.lineno + 1)


_CYTHON_DEF = re.compile(r"^([ ]*)(?:def|cdef|cpdef)\b(?![ ]+class\b)[^=]*?(\w+)\(.*$")


def _cython_functions(source: Source) -> Iterator[Function]:
    lines = source.text.splitlines()
    for first, line in enumerate(lines):
        match = _CYTHON_DEF.match(line)
        if not match:
            continue
        last, depth, in_head = first, len(match[1]), True
        for number in range(first, len(lines)):
            text = lines[number]
            if number > first and text.strip() and not in_head and len(text) - len(text.lstrip()) <= depth:
                break
            if text.strip():
                last = number
            in_head = in_head and not text.split("#")[0].rstrip().endswith(":")
        yield Function(f"{source.path}:{first + 1}", match[2], last - first + 1)
