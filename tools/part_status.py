"""`vfab volume status` and `vfab lun status`: what is wrong with volumes or LUNs, and an exit code that says so.

Knows: what both have in common. Refuses to know: what is asked of a pool, and how a row looks (tools.storage).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from tools import storage
from tools.labs import choose
from tools.output import print_json, warn


def status(options: argparse.Namespace, part: str, table: Callable[[list[dict[str, Any]]], str]) -> int:
    """part: "volumes" or "luns". 1 where anything is wrong."""
    chosen, problems = storage.health(storage.statuses(choose(options.lab)), part, options.name)
    if options.json:
        print_json({part: chosen, "problems": problems})
        return 1 if problems else 0
    if chosen or not problems:
        print(table(chosen) if chosen else f"This lab has no {_WORDS[part]}.")
    for problem in problems:
        warn(problem)
    return 1 if problems else 0


_WORDS = {"volumes": "volumes", "luns": "LUNs"}
