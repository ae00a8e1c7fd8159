"""Arguments of hostd's operations. Knows: numbers and their limits. Refuses to know: what they are for."""

from __future__ import annotations

from typing import Any

from daemons.errors import UserError


def number(args: dict[str, Any], key: str, default: float, low: float, high: float) -> float:
    """The number at `key` (null and absent: `default`), from `low` to `high`. Raises UserError."""
    value = args.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise UserError(f"{key!r} must be a number from {low} to {high}, not {value!r:.40}")
    return value
