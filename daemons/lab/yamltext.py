"""A value -> YAML text as a person would write a lab file: short mappings on one line, long ones over several.

Knows: which text needs quotes, where a line becomes too long. Refuses to know: what a lab is. `yamltree` reads it back:
for every value of dicts with text keys, lists, text, numbers, booleans and None that gives the same value again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .yamltree import PLAIN

WIDTH = 116
# Plain for every reader: YAML 1.1 has more words that are no text, and numbers to the base of 60 (02:00:00:00:00:01).
_PLAIN_TEXT = re.compile(r"[A-Za-z_/.][A-Za-z0-9_./@+-]*( [A-Za-z0-9_./@+*-]+)*|[0-9]{1,3}(\.[0-9]{1,3}){3}(/[0-9]+)?")
_WORDS = re.compile(r"(?i)y|n|yes|no|on|off|true|false|null|none|inf|nan|[.]inf|[.]nan|[.+-]+|.*[.][0-9].*e.*")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def dump(value: Any, open_depth: int = 1, width: int = WIDTH) -> str:
    """YAML text that ends with a newline. Down to `open_depth` levels everything stands on lines of its own.

    Raises TypeError for a value that no lab file can hold.
    """
    if not isinstance(value, Mapping | list | tuple) or not value:
        return f"{_flow(value)}\n"
    return "\n".join(_block(value, 0, open_depth, width)) + "\n"


def scalar(value: Any) -> str:
    """One value that holds no others."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return _number(value)
    if isinstance(value, float):
        return _quoted(repr(value)) if value != value or value in (float("inf"), float("-inf")) else repr(value)
    if isinstance(value, str):
        return value if _is_plain(value) else _quoted(value)
    raise TypeError(f"a lab file cannot hold a {type(value).__name__}")


def _number(value: int) -> str:
    text = str(int(value))
    if len(text.lstrip("-")) > 18:  # beyond what yamltree reads as a number, and beyond what any key of a lab takes
        raise TypeError("a lab file cannot hold a number of more than 18 digits")
    return text


def _is_plain(text: str) -> bool:
    if not _PLAIN_TEXT.fullmatch(text) or _WORDS.fullmatch(text):
        return False
    return not any(pattern.fullmatch(text) for pattern, _ in PLAIN)


def _quoted(text: str) -> str:
    return '"' + "".join(_escaped(character) for character in text) + '"'


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    code = ord(character)
    if 0xD800 <= code <= 0xDFFF:
        raise TypeError("a lab file cannot hold half a character (a lone surrogate)")
    if character.isprintable():
        return character
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _key(value: Any) -> str:
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise TypeError(f"a lab file cannot have a {type(value).__name__} as a key")
    return scalar(value)


def _flow(value: Any) -> str:
    """On one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)}: {_flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return scalar(value)


def _block(value: Mapping[Any, Any] | Sequence[Any], indent: int, open_depth: int, width: int) -> list[str]:
    """On lines of their own; what is inside goes on one line where there is room for it."""
    lines = []
    items = value.items() if isinstance(value, Mapping) else ((None, item) for item in value)
    for key, inner in items:
        head = " " * indent + ("-" if key is None else f"{_key(key)}:")
        if isinstance(inner, Mapping | list | tuple) and inner:
            short = f"{head} {_flow(inner)}"
            if open_depth <= 0 and len(short) <= width:
                lines.append(short)
            else:
                lines += [head, *_block(inner, indent + 2, open_depth - 1, width)]
        else:
            lines.append(f"{head} {_flow(inner)}")
    return lines
