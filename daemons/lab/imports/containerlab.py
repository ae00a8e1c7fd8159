"""containerlab's *.clab.yml -> machines and cables (https://containerlab.dev/manual/topo-def-file/, nodes/, kinds/).

Knows: what a node's kind becomes, from where a node has its settings. Refuses to know: links (`containerlab_links`),
what commands mean (`commands`). Variables and templates in the text are not filled in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .. import yamltree
from ..mistake import quoted
from ..yamltree import Tree
from . import commands, containerlab_links
from .building import Builder, Machine
from .fields_of import Fields
from .report import Report

SWITCHES: Final = ("bridge", "ovs-bridge")
PROGRAMS: Final = ("linux",)  # a container of Linux: a namespace here
# What the lab does not need in order to be one; their absence is no loss.
HARMLESS: Final = ("labels", "mgmt-ipv4", "mgmt-ipv6", "mgmt_ipv4", "mgmt_ipv6")
SOURCES: Final = ("defaults", "kinds", "groups")
WHY: Final = {
    "image": "no container is run: a machine is a namespace with this computer's own programs",
    "cmd": "start it with vfab exec", "entrypoint": "start it with vfab exec", "binds": "a namespace has all files",
    "startup-config": "it belongs to the network OS", "license": "it belongs to the network OS",
    "type": "it belongs to the network OS", "ports": "a namespace has no ports of this computer",
}  # fmt: skip


def read(text: str, builder: Builder) -> None:
    """Raises Unreadable for what is no YAML, or has no topology."""
    report = builder.report
    try:
        tree, problems = yamltree.read(text)
    except yamltree.TextError as error:
        spot, what, _ = error.problems[-1]
        raise report.unreadable(spot.line, what) from None
    for spot, what, _ in problems:
        report.say(spot.line, what)
    top = Fields(tree)
    given = top.take("topology")
    if given is None or not isinstance(given.value, dict):
        raise report.unreadable(tree.spot.line, "there is no topology: in it, so it is no containerlab file")
    name = top.text("name")
    if name is not None:
        builder.call(name, top.line_of("name"))
    _Topology(Fields(given), builder).read()
    for key, line in top.rest():
        report.say(line, f"not carried over: {quoted(key)} of the lab")


class _Topology:
    def __init__(self, fields: Fields, builder: Builder) -> None:
        self._fields, self._builder = fields, builder
        self._report: Report = builder.report
        self._defaults = Fields(fields.take("defaults"))
        self._kinds = {name: Fields(tree, line) for name, line, tree in fields.rows("kinds")}
        self._groups = {name: Fields(tree, line) for name, line, tree in fields.rows("groups")}

    def read(self) -> None:
        for name, line, tree in self._fields.rows("nodes"):
            self._node(name, line, Fields(tree, line))
        containerlab_links.read(self._fields.items("links"), self._builder)
        for where, fields in (("defaults", self._defaults), *self._kinds.items(), *self._groups.items()):
            for key, line in fields.rest():
                if key not in HARMLESS:
                    self._report.say(line, f"not carried over: {quoted(key)} of {where[:40]}{_why(key)}")
        for key, line in self._fields.rest():
            self._report.say(line, f"not carried over: {quoted(key)} of the topology")

    def _node(self, name: str, line: int, fields: Fields) -> None:
        group = self._groups.get(fields.text("group") or "", Fields(None, line))
        kind = fields.text("kind") or group.text("kind") or self._defaults.text("kind") or ""
        above = [self._defaults, self._kinds.get(kind, Fields(None, line)), group]
        if kind == "host":
            containerlab_links.note_host(name, line, self._builder)
            return
        machine = self._builder.add(name, self._ours(kind), line)
        if machine.kind == "external":
            what = f"kind {quoted(kind)} is not run" if kind else "no kind is given"
            machine.description = f"containerlab's kind {kind[:60]}" if kind else ""
            self._report.say(line, f"{machine.name}: {what}: its ports wait for a machine of yours (kind: external)")
        for source in (*above, fields):
            self._commands(machine, source.items("exec"))
            self._sysctls(machine, source)
            self._harmless(source)
        for key, at in fields.rest():
            self._report.say(at, f"not carried over: {quoted(key)} of {machine.name}{_why(key)}")

    def _ours(self, kind: str) -> str:
        if kind in SWITCHES:
            return "switch"
        return self._builder.hosts if kind in PROGRAMS else "external"

    def _harmless(self, fields: Fields) -> None:
        for key in HARMLESS:
            fields.take(key)

    def _commands(self, machine: Machine, lines: list[Tree]) -> None:
        for tree in lines:
            line = tree.spot.line
            if isinstance(tree.value, dict | list):
                self._report.say(line, f"not carried over: a command of {machine.name} that is no text")
            elif machine.kind in ("switch", "external"):
                self._report.say(line, f"not carried over: {quoted(tree.value)} of {machine.name}; it is not run here")
            else:
                place = commands.Place(line, None)
                commands.understand(machine, str(tree.value), place, _saying(self._report, line))

    def _sysctls(self, machine: Machine, fields: Fields) -> None:
        for name, line, tree in fields.rows("sysctls"):
            try:
                if machine.kind in ("switch", "external"):
                    raise commands.NotSimple("it is not run here")
                commands.set_sysctl(machine, name, str(tree.value))
            except commands.NotSimple as error:
                self._report.say(line, f"not carried over: sysctl {quoted(name)} of {machine.name}: {error}")


def _saying(report: Report, line: int) -> Callable[[str], None]:
    return lambda what: report.say(line, what)


def _why(key: str) -> str:
    return f"; {WHY[key]}" if key in WHY else ""
