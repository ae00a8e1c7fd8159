"""vfab graph: a picture of a lab, in the terminal or as SVG; of a lab that runs, with what is up and what is not."""

from __future__ import annotations

import argparse
import shutil
import sys
from typing import Any

from daemons.errors import UserError
from daemons.lab import picture
from daemons.lab.lab import Lab
from daemons.lab.loader import find, load
from daemons.lab.mistake import LabError
from tools.errors import BadFile
from tools.labs import all_labs, choose, overview
from tools.output import colourful, print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", nargs="?", help="a lab file or an example; left out: the lab that runs")
    parser.add_argument("--svg", metavar="FILE", help="write an SVG picture there ('-': to the output)")


def run(options: argparse.Namespace) -> int:
    try:
        loaded = load(find(options.file) if options.file else choose(options.lab).file)
    except LabError as error:
        raise BadFile(str(error)) from None
    lab, status = loaded.lab, _status(str(loaded.path))
    if options.json:
        print_json(_value(lab))
    elif options.svg == "-":
        print(picture.svg(lab), end="")
    elif options.svg:
        _write(options.svg, picture.svg(lab))
    else:
        width = shutil.get_terminal_size((100, 24)).columns
        print(picture.text(lab, width=width, colour=colourful(sys.stdout), status=status), end="")
    return 0


def _status(file: str) -> dict[str, bool] | None:
    """Node -> it is up, for a lab that runs; None for one that does not."""
    running = [lab for lab in all_labs() if lab.file == file]
    if not running:
        return None
    states: dict[str, bool] = {}
    for name, row in overview(running[0], "status")["nodes"].items():
        states[name] = row["state"] == "up"
        for host in row.get("hosts", ()):
            states[host["name"]] = all(nic["carrier"] for nic in host["nics"])
    return states


def _value(lab: Lab) -> dict[str, Any]:
    return {
        "name": lab.name,
        "switches": list(lab.switches),
        "hosts": list(lab.hosts),
        "pools": [{"name": pool.name, "members": list(pool.members)} for pool in lab.storage.pools.values()],
        "volumes": [{"name": volume.name, "pool": volume.pool} for volume in lab.storage.volumes.values()],
        "luns": [{"name": lun.name, "volume": lun.volume} for lun in lab.storage.luns.values()],
        "links": [{"ends": [str(link.a), str(link.b)], "blocked": link.index in lab.blocked} for link in lab.links],
    }


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    print(f"The picture is in {path}.")
