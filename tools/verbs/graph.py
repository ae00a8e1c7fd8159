"""vfab graph: a picture of a lab, in the terminal or as SVG, DOT or Mermaid; of a lab that runs, with what is up."""

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
from tools.errors import BadFile, BadInput
from tools.labs import all_labs, choose, overview
from tools.output import colourful, print_json

_DRAWN = {"svg": picture.svg, "dot": picture.dot, "mermaid": picture.mermaid}
_ENDINGS = {"svg": "svg", "dot": "dot", "gv": "dot", "mmd": "mermaid", "mermaid": "mermaid"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", nargs="?", help="a lab file or an example; left out: the lab that runs")
    parser.add_argument(
        "--format", choices=("text", *_DRAWN), metavar="FORMAT",
        help="text (in the terminal), svg, dot (Graphviz), mermaid (Markdown); left out: by the file's name, else text",
    )  # fmt: skip
    parser.add_argument("-o", "--output", metavar="FILE", help="write the picture there ('-': to the output)")
    parser.add_argument("--svg", metavar="FILE", help="short for --format svg -o FILE")


def run(options: argparse.Namespace) -> int:
    try:
        loaded = load(find(options.file) if options.file else choose(options.lab).file)
    except LabError as error:
        raise BadFile(str(error)) from None
    lab, status = loaded.lab, _status(str(loaded.path))
    if options.json:
        print_json(_value(lab))
        return 0
    name, output = _wanted(options)
    drawn = _DRAWN[name](lab, status) if name in _DRAWN else _text(lab, status, output)
    if output == "-":
        print(drawn, end="")
    else:
        _write(output, drawn)
    return 0


def _wanted(options: argparse.Namespace) -> tuple[str, str]:
    """(format, file)."""
    if options.svg is not None:
        if options.format not in (None, "svg") or options.output is not None:
            raise BadInput("--svg FILE says all: leave out --format and -o")
        return "svg", options.svg
    output = options.output or "-"
    ending = output.rpartition(".")[2].lower()
    return options.format or _ENDINGS.get(ending, "text"), output


def _text(lab: Lab, status: dict[str, bool] | None, output: str) -> str:
    width = shutil.get_terminal_size((100, 24)).columns
    return picture.text(lab, width=width, colour=output == "-" and colourful(sys.stdout), status=status)


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
        for machine in row.get("machines", ()):
            states[machine["name"]] = machine["state"] == "running"
    return states


def _value(lab: Lab) -> dict[str, Any]:
    return {
        "name": lab.name,
        "switches": list(lab.switches),
        "hosts": list(lab.hosts),
        "kinds": {host.name: host.kind for host in lab.hosts.values()},
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
