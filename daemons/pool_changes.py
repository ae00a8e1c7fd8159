"""Changes of a running pool's settings: a wish -> the whole configuration that follows, and how two of these differ.

Knows: the pool's part of stord's value of `configure`, which of its settings may be changed without the lab file.
Refuses to know: what a setting does, processes, who asks.

A wish is `{"repair_rate": bytes/s}`; 0 = no limit. What else a pool is stands in the lab file, because files follow
from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from daemons.errors import UserError
from daemons.lab.mistake import did_you_mean, listed, quoted
from daemons.lab.sizes import about

Config = dict[str, Any]
LARGEST: Final = 1 << 50


def _rate(value: Any) -> str:
    return f"{about(value)}/s" if value else "no limit"


# Setting -> (what it is where the file says nothing, its name for people, a value of it for people)
_SETTINGS: Final[dict[str, tuple[int, str, Callable[[Any], str]]]] = {"repair_rate": (0, "repair-rate", _rate)}


def changed(node: str, config: Config, wish: object) -> Config:
    """The configuration with the wish in it. Raises UserError for the first thing that can't be."""
    if not isinstance(wish, dict):
        raise UserError(f"{node}: a change is keys and values, not {quoted(wish)}")
    for key, value in wish.items():
        if key not in _SETTINGS:
            fix = did_you_mean(key, _SETTINGS, f"there are {listed(_SETTINGS)}")
            raise UserError(f"{node}: {quoted(key)} cannot be changed; {fix}")
        if type(value) is not int or not 0 <= value <= LARGEST:
            raise UserError(f"{node}: {key} is a number of bytes from 0 to {LARGEST}, not {quoted(value)}")
    return {**config, "pool": {**config["pool"], **wish}}


def differences(node: str, before: Config, after: Config) -> Iterator[dict[str, Any]]:
    """What a change changes: rows as those of `changes.differences`."""
    for key, (usual, name, said) in _SETTINGS.items():
        was, now = before["pool"].get(key, usual), after["pool"].get(key, usual)
        if was != now:
            text = f"{node} {name}: {said(was)} -> {said(now)}"
            yield {"node": node, "port": "", "what": key, "before": was, "after": now, "text": text}
