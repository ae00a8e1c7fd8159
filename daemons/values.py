"""The types of JSON, asked of a configuration that another process has sent; mistakes are UserErrors that say where.

Knows: what a key must be. Refuses to know: which keys there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, TypeVar

from daemons.errors import UserError


class HasName(Protocol):
    @property
    def name(self) -> str: ...


Named = TypeVar("Named", bound=HasName)


def table(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{where} must be an object, not {type(value).__name__}")
    return value


def text(row: dict[str, Any], key: str, where: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value:
        raise UserError(f"{where} needs a {key!r}, which is text")
    return value


def whole(row: dict[str, Any], key: str, where: str) -> int:
    value = row.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise UserError(f"{where} needs a {key!r}, which is a whole number")
    return value


def items(row: dict[str, Any], key: str, where: str) -> list[Any]:
    value = row.get(key)
    if not isinstance(value, list):
        raise UserError(f"{where} needs a list of {key!r}")
    return value


def named(rows: Iterable[Named], where: str) -> dict[str, Named]:
    """By name; two of one name are a mistake."""
    found: dict[str, Named] = {}
    for row in rows:
        if row.name in found:
            raise UserError(f"{where}: the name {row.name} is there twice")
        found[row.name] = row
    return found
