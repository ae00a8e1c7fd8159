"""A copy of a lab file in a folder of its own: another lab, with pools of its own, however many run at a time.

Knows: which words of a lab file are paths. Refuses to know: what a lab is otherwise; the file was read and found good.
"""

from __future__ import annotations

import os
from typing import Any

from daemons.lab import yamltext, yamltree

_IMAGES = ("image", "kernel", "initrd")


def copy(file: str, folder: str) -> str:
    """Write a file of its name in `folder`, or below it, and return its path. folder: absolute.

    Members of pools that are relative to the file are made in `folder`, so they begin empty; absolute ones are the
    user's own and stay what they are. What machines boot from is read where it is.
    """
    # The reader of labs, and not any reader of YAML: for that 1_000 is a number, and `=` a riddle.
    with open(file, encoding="utf-8-sig") as source:
        lab = yamltree.read(source.read())[0].plain()
    here = os.path.dirname(os.path.realpath(file))
    topology = lab.get("topology") or {}
    rows = [*(topology.get("nodes") or {}).values(), *(topology.get("kinds") or {}).values()]
    for row in (*rows, topology.get("defaults")):
        _absolute(row, here)
    pools = ((lab.get("storage") or {}).get("pools") or {}).values()
    members = [os.path.normpath(member) for pool in pools for member in pool.get("members") or ()]
    # As deep as `../../a.img` climbs: or the copies would share that file, and leave it behind.
    depth = max((member.split(os.sep).count(os.pardir) for member in members), default=0)
    path = os.path.join(folder, *["lab"] * depth, os.path.basename(file))
    for place in (path, *(os.path.join(os.path.dirname(path), member) for member in members)):
        if os.path.commonpath((folder, os.path.normpath(place))) == folder:
            os.makedirs(os.path.dirname(os.path.normpath(place)), exist_ok=True)
    with open(path, "w", encoding="utf-8") as target:
        target.write(yamltext.dump(lab))
    return path


def _absolute(row: Any, here: str) -> None:
    for key in _IMAGES:
        if isinstance(row, dict) and isinstance(row.get(key), str):
            row[key] = os.path.join(here, row[key])
