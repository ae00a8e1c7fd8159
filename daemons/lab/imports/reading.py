"""The door: a file of another program -> a Topo and a Report.

Knows: how the formats are told apart. Refuses to know: what stands in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from ..mistake import did_you_mean, printable
from ..topo import Topo
from ..yamltree import MAX_BYTES
from . import containerlab, graphml, kathara
from .building import Builder
from .finishing import finish
from .report import Report

FORMATS: Final = ("containerlab", "kathara", "graphml")
MOST_SAID: Final = 50  # lines of the report in the lab file itself
HOSTS: Final = ("netns", "userspace")


class Imported(NamedTuple):
    """A lab, and a line for each thing that is otherwise in it, or missing."""

    topo: Topo
    report: Report


def format_of(name: str, text: str) -> str:
    """By the file's name, else by what it begins with."""
    base = name.rpartition("/")[2].lower()
    if base.endswith((".graphml", ".xml")) or text.lstrip("\ufeff \t\r\n").startswith("<"):
        return "graphml"
    if base.endswith((".yml", ".yaml")):
        return "containerlab"
    return "kathara" if base.endswith(".conf") else "containerlab"


def read(
    text: str, name: str, hosts: str = "netns", form: str | None = None, startups: Mapping[str, str] | None = None
) -> Imported:
    """`name` stands in the report. Raises Unreadable when nothing can be made of it, ValueError for wrong words."""
    report = Report(name)
    if hosts not in HOSTS:
        raise ValueError(did_you_mean(hosts, HOSTS, f"hosts are {' or '.join(HOSTS)}"))
    form = form or format_of(name, text)
    if len(text) > MAX_BYTES:
        raise report.unreadable(0, f"this file is larger than {MAX_BYTES >> 20} MiB")
    if "\0" in text:
        raise report.unreadable(
            text.count("\n", 0, text.index("\0")) + 1, "this is no text: there are zero bytes in it"
        )
    builder = Builder("host" if hosts == "userspace" else "netns", report)
    base = name.rpartition("/")[2].partition(".")[0]
    if form == "graphml":
        builder.call(base, 0)
        graphml.read(text, builder)
    elif form == "kathara":
        kathara.read(text, builder, startups or {})
    else:
        containerlab.read(text, builder)
    return Imported(finish(builder, _comment(name, form, report)), report)


def _comment(name: str, form: str, report: Report) -> str:
    """At the top of the lab file: where it is from, and what went otherwise."""
    head = f"Made by vfab import of {printable(name)[:200]} ({form})."
    said = report.lines()
    if len(said) > MOST_SAID:
        said = [*said[:MOST_SAID], f"and {len(said) - MOST_SAID} lines more"]
    return "\n".join([head, *(f"  {line}"[:200] for line in said)])
