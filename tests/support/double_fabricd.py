"""The real fabricd with doubles as children; its lab files are JSON: {"name": ..., "nodes": {name: config}}."""

from __future__ import annotations

import json
import os
import sys
import types

from daemons import fabricd
from daemons.errors import UserError
from daemons.paths import LabPaths
from daemons.state import Desired, StateStore

CHILD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "double_child.py")
ARGV = (sys.executable, "-P", CHILD, "--name", "{node}", "--control-fd", "{control}", "--lock", "{lock}")
TABLE = {"switchd": ARGV, "hostd": ARGV}


class Plan(types.SimpleNamespace):
    """What `daemons.blueprint.draw` returns."""


def draw(file: str, paths: LabPaths, store: StateStore, dry: bool) -> Plan:
    try:
        with open(file) as text:
            lab = json.load(text)
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: {error}") from None
    nodes = {name: Desired("hostd" if name == "hostd" else "switchd", config) for name, config in lab["nodes"].items()}
    return Plan(nodes=nodes, lab={"name": lab["name"], "file": file}, warnings=[])


if __name__ == "__main__":
    stand_in = types.ModuleType("daemons.blueprint")
    vars(stand_in)["draw"] = draw
    sys.modules["daemons.blueprint"] = stand_in
    sys.exit(fabricd.main(table=TABLE))
