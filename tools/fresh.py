"""A copy of a lab file in a folder of its own: another lab, with pools of its own, however many run at a time.

Knows: which words of a lab file are paths. Refuses to know: what a lab is otherwise; the file was read and found good.
"""

from __future__ import annotations

import os
from typing import Any

_IMAGES = ("image", "kernel", "initrd")


def copy(file: str, folder: str) -> str:
    """Write `folder`/<its name> and return that path.

    Members of pools that are relative to the file are made in `folder`, so they begin empty; absolute ones are the
    user's own and stay what they are. What machines boot from is read where it is.
    """
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    with open(file, encoding="utf-8-sig") as source:
        lab = yaml.load(source)
    here = os.path.dirname(os.path.realpath(file))
    topology = lab.get("topology") or {}
    rows = [*(topology.get("nodes") or {}).values(), *(topology.get("kinds") or {}).values()]
    for row in (*rows, topology.get("defaults")):
        _absolute(row, here)
    for pool in ((lab.get("storage") or {}).get("pools") or {}).values():
        _folders(pool, folder)
    path = os.path.join(folder, os.path.basename(file))
    with open(path, "w", encoding="utf-8") as target:
        yaml.dump(lab, target)
    return path


def _absolute(row: Any, here: str) -> None:
    for key in _IMAGES:
        if isinstance(row, dict) and isinstance(row.get(key), str):
            row[key] = os.path.join(here, row[key])


def _folders(pool: Any, folder: str) -> None:
    """Members may lie in folders beside the file."""
    for member in pool.get("members") or ():
        if isinstance(member, str) and not os.path.isabs(member):
            os.makedirs(os.path.dirname(os.path.join(folder, member)), exist_ok=True)
