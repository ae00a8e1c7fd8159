"""vfab labs: the labs that run, and the examples that come with the program."""

from __future__ import annotations

import argparse
import importlib.resources
import os

from tools.labs import all_labs, overview
from tools.output import print_json, table

_SUFFIX = ".fab.yml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(options: argparse.Namespace) -> int:
    rows = []
    for lab in all_labs():
        value = overview(lab, "ps") if os.path.exists(lab.paths.database) else {"nodes": {}, "fabricd": None}
        living = sum(row["pid"] is not None for row in value["nodes"].values())
        state = "up" if value["fabricd"] else "no controller"
        rows.append({"name": lab.name, "id": lab.id, "state": state, "processes": living, "file": lab.file})
    folder = importlib.resources.files("topologies")
    examples = sorted(file.name.removesuffix(_SUFFIX) for file in folder.iterdir() if file.name.endswith(_SUFFIX))
    if options.json:
        print_json({"labs": rows, "examples": examples})
        return 0
    if rows:
        print(table(("LAB", "ID", "STATE", "PROCESSES", "FILE"), [tuple(row.values()) for row in rows]))
    else:
        print("No lab runs.")
    print(f"Examples: {', '.join(examples)}")
    return 0
