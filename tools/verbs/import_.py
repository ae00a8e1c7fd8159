"""vfab import FILE: a lab file from one of containerlab (*.clab.yml), Kathará (lab.conf) or GraphML.

The lab file goes to the output, a line for each thing that came over otherwise or not at all to stderr.
Exit code 1 when nothing could be made of it.
"""

from __future__ import annotations

import argparse
import sys

from daemons.errors import UserError
from daemons.lab import loader
from daemons.lab.imports.reading import FORMATS, HOSTS, format_of, read
from daemons.lab.imports.report import Unreadable
from daemons.lab.mistake import LabError
from tools.errors import BadInput
from tools.importing import chosen, read_text, startups
from tools.output import print_json
from tools.shapes import keep


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="FILE", help="a *.clab.yml, a lab.conf (or its folder), a *.graphml; '-': input"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write the lab file there, not to the output")
    parser.add_argument("--format", choices=FORMATS, metavar="FORMAT", help=f"one of {', '.join(FORMATS)}")
    parser.add_argument(
        "--hosts", choices=HOSTS, default="netns", metavar="KIND",
        help="netns: machines become namespaces that run programs (the default); userspace: hosts that answer pings",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    path = chosen(options.file)
    if path.endswith(".fab.yml") and options.format is None:  # its shape is near enough to containerlab's to be misread
        raise BadInput(f"{path} is a lab file of virtfab itself, nothing to import: vfab up {path}")
    text = read_text(path)
    form = options.format or format_of(path, text)
    try:
        found = read(text, path, options.hosts, form, startups(path, text) if form == "kathara" else None)
    except Unreadable as error:
        for note in error.notes:
            print(note, file=sys.stderr)
        raise UserError(f"nothing could be made of {options.file}") from None
    said = found.report.lines()
    mistakes = _mistakes(found.topo.to_yaml(), options.output or "the lab file")
    kept = keep(found.topo, options.output) if options.output else None
    if options.json:
        print_json({"lab": found.topo.to_dict(), "notes": [note._asdict() for note in found.report.sorted()]})
    elif kept:
        print(f"The lab file is {kept}.")
    else:
        print(found.topo.to_yaml(), end="")
    for line in (*said, *mistakes):
        print(line, file=sys.stderr)
    return 0


def _mistakes(text: str, name: str) -> list[str]:
    """What is wrong with the lab as it was there already, such as an address that two machines have."""
    try:
        loader.parse(text, name)
    except LabError as error:
        return [str(mistake) for mistake in error.mistakes]
    return []
