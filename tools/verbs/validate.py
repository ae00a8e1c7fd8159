"""vfab validate FILE: all mistakes of a lab file, each with file, line and column. Exit code 0 or 2."""

from __future__ import annotations

import argparse
import sys

from daemons.lab.loader import find, load
from daemons.lab.mistake import LabError, Mistake
from tools.output import print_json, warn


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a lab file, or the name of an example")


def run(options: argparse.Namespace) -> int:
    mistakes: tuple[Mistake, ...] = ()
    warnings: tuple[Mistake, ...] = ()
    summary = ""
    try:
        loaded = load(find(options.file))
        warnings, lab = loaded.warnings, loaded.lab
        counts = f"{len(lab.switches)} switches, {len(lab.hosts)} hosts, {len(lab.links)} links"
        if lab.storage.pools:
            storage = lab.storage
            counts += f", {len(storage.pools)} pools, {len(storage.volumes)} volumes, {len(storage.luns)} LUNs"
        summary = f"{loaded.path}: lab {lab.name}, {counts}"
    except LabError as error:
        mistakes = error.mistakes
    if options.json:
        print_json({"mistakes": [_value(each) for each in mistakes], "warnings": [_value(each) for each in warnings]})
        return 2 if mistakes else 0
    for warning in warnings:
        warn(str(warning))
    for mistake in mistakes:
        print(mistake, file=sys.stderr)
    if mistakes:
        return 2
    print(f"{summary}: ok")
    return 0


def _value(mistake: Mistake) -> dict[str, object]:
    return {**mistake._asdict(), "text": str(mistake)}
