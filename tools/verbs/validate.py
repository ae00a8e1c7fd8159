"""vfab validate FILE: all mistakes of a lab file, each with file, line and column. Exit code 0 or 2."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from typing import Final

from daemons.admission import refusals
from daemons.blueprint import LocalPlaces
from daemons.errors import UserError
from daemons.known import desired, known
from daemons.lab.lab import Lab
from daemons.lab.loader import find, load
from daemons.lab.mistake import LabError, Mistake
from daemons.paths import LabPaths, lab_id
from daemons.teardown import FABRICD
from tools.output import print_json, warn

_KINDS: Final = {
    "host": "hosts", "netns": "namespaces", "vm": "virtual machines", "external": "external nodes", "uplink": "uplinks",
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a lab file, or the name of an example")


def run(options: argparse.Namespace) -> int:
    mistakes: tuple[Mistake, ...] = ()
    warnings: tuple[Mistake, ...] = ()
    refused: list[str] = []
    summary = ""
    try:
        loaded = load(find(options.file))
        warnings, lab = loaded.warnings, loaded.lab
        counts = ", ".join(f"{count} {what}" for what, count in _counts(lab))
        if lab.storage.pools:
            storage = lab.storage
            counts += f", {len(storage.pools)} pools, {len(storage.volumes)} volumes, {len(storage.luns)} LUNs"
        summary = f"{loaded.path}: lab {lab.name}, {counts}"
        refused = here(lab, str(loaded.path))
    except LabError as error:
        mistakes = error.mistakes
    if options.json:
        found = {"mistakes": [_value(each) for each in mistakes], "warnings": [_value(each) for each in warnings]}
        print_json({**found, "machine": refused})
        return 2 if mistakes else 0
    for warning in warnings:
        warn(str(warning))
    for sentence in refused:
        warn(f"it cannot come up here: {sentence}")
    for mistake in mistakes:
        print(mistake, file=sys.stderr)
    if mistakes:
        return 2
    print(f"{summary}: ok")
    return 0


def _counts(lab: Lab) -> Iterator[tuple[str, int]]:
    yield "switches", len(lab.switches)
    for kind, what in _KINDS.items():
        count = len(lab.of_kind(kind))
        if count or kind == "host":
            yield what, count
    yield "links", len(lab.links)


def here(lab: Lab, file: str) -> list[str]:
    """Why this machine cannot run the lab as it is now; nothing is made or started."""
    if not lab.of_kind("netns", "vm", "uplink"):
        return []
    try:
        paths = LabPaths(lab_id(lab.name, file))
        running = {}
        if os.path.exists(paths.control(FABRICD)):
            running = {name: want.config for name, want in desired(known(paths.id)).items()}
        return refusals(lab, LocalPlaces(paths, file, lab.name, None, dry=True), running)
    except UserError as error:  # no folder for sockets, or for state
        return [str(error)]


def _value(mistake: Mistake) -> dict[str, object]:
    return {**mistake._asdict(), "text": str(mistake)}
