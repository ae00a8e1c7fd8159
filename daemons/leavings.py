"""What stays on disk when pools and volumes leave a lab file: nothing of theirs is ever deleted, and it is said where
it is. Pure.

Knows: the configuration of a pool (ARCHITECTURE.md). Refuses to know: whether the files are there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from daemons.state import Desired


def left_behind(before: Mapping[str, Desired], after: Mapping[str, Desired]) -> list[str]:
    """A sentence for every pool that is stopped and every volume that is not listed any more."""
    return [sentence for name, pool in before.items() if pool.kind == "stord" for sentence in _pool(name, pool, after)]


def _pool(name: str, pool: Desired, after: Mapping[str, Desired]) -> Iterator[str]:
    wanted = after.get(name)
    if wanted is None or wanted.kind != "stord":
        yield f"pool {name} has left the lab; its data stays in {', '.join(pool.config['pool']['members'])}"
        return
    kept = _names(wanted.config)
    for volume in _names(pool.config):
        if volume not in kept:
            yield f"volume {volume} has left the lab file; it stays in pool {name}, with its data"


def _names(config: Mapping[str, Any]) -> list[str]:
    return [volume["name"] for volume in config["volumes"]]
