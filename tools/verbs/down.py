"""vfab down: end a lab. It leaves no process, no socket and no file but data, also when its controller was killed."""

from __future__ import annotations

import argparse

from daemons.teardown import end_lab
from tools import shapes
from tools.labs import KnownLab, all_labs, choose
from tools.output import Progress, count, print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="LAB", nargs="?", help="the lab: its name, its id or its file (as -l)")
    parser.add_argument("--all", action="store_true", help="end all labs of this user")


def run(options: argparse.Namespace) -> int:
    labs = all_labs() if options.all else [choose(options.name or options.lab)]
    ended = {lab.id: _end(lab) for lab in labs}
    if options.json:
        print_json({"ended": ended})
    elif not labs:
        print("No lab runs.")
    else:
        for lab in labs:
            print(f"Lab {lab.name} is down; {count(len(ended[lab.id]), 'process', 'processes')} ended.")
    return 0


def _end(lab: KnownLab) -> list[str]:
    progress = Progress()
    try:
        ended = end_lab(lab.paths, lambda event: progress.show(f"{lab.name}: {event['left']} processes left"))
        shapes.forget(lab.file)
        return ended
    finally:
        progress.clear()
