"""Machines and cables from elsewhere, as far as they are read; `finishing.py` makes a lab of them.

Knows: that a cable of ours has a switch at one end at least. A cable between two machines goes through the switch
`wires`, in a VLAN of its own with dot1q-tunnel ports, which let everything pass as it is, tags and LLDP too: so it is a
wire still.
Refuses to know: the formats, and what the lab file says in the end.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..mistake import quoted
from .cleaning import NODE_LENGTH, PORT_LENGTH, Unique, node_name, port_name
from .report import Report

MOST_NODES, MOST_CABLES = 2000, 4000  # loader.MOST_NODES, MOST_LINKS; a test holds them together
WIRES = "wires"
FIRST_LETTERS = {"switch": "s", "external": "n"}  # of those whose name begins with a digit; of all others h


class Interface:
    """What is known of an interface; `line` and `file` say where it was said last."""

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self.mac: str | None = None
        self.mtu: int | None = None
        self.line = 0
        self.file: str | None = None


class Route(NamedTuple):
    """A network, or `default`; via a router, or at an interface itself."""

    to: str
    via: str | None
    dev: str | None
    line: int
    file: str | None


class Machine:
    """A node that is being put together; `kind` as in lab files."""

    def __init__(self, name: str, kind: str, line: int) -> None:
        self.name, self.kind, self.line = name, kind, line
        self.description = ""
        self.interfaces: dict[str, Interface] = {}
        self.alias: dict[str, str] = {}  # an interface's name elsewhere -> its name here
        self.routes: list[Route] = []
        self.sysctls: dict[str, str] = {}
        self.settings: dict[str, dict[str, Any]] = {}  # of a switch's ports
        self._names = Unique(PORT_LENGTH)
        self._cabled: dict[str, str] = {}

    def interface(self, name: str, line: int = 0, file: str | None = None) -> Interface:
        found = self.interfaces.setdefault(name, Interface())
        found.line, found.file = line, file
        return found

    def is_free(self, text: str, line: int, report: Report) -> bool:
        """Whether a cable can go into that port."""
        if text in self._cabled:
            report.say(line, f"left out: there is a link in {self.name}:{text[:40]} already")
        return text not in self._cabled

    def plug(self, text: str, line: int, report: Report) -> str:
        """A cable goes into that port, which is free; its name here. "": any port."""
        if not text:
            text = self._free()
        made = self._names.take(port_name(text, dots=self.kind == "switch"))
        self._cabled[text] = made
        if made != text:
            self.alias[text] = made
            report.say(line, f"interface {quoted(text)} of {self.name} is called {made} now")
        return made

    def _free(self) -> str:
        number = 1 if self.kind == "switch" else 0
        while f"eth{number}" in self._cabled:
            number += 1
        return f"eth{number}"

    @property
    def ports(self) -> set[str]:
        """Those with a cable, by their names here."""
        return set(self._cabled.values())


class Builder:
    """Takes machines and cables. Methods with a `line` may say something about what stands there."""

    def __init__(self, hosts: str, report: Report) -> None:
        """hosts: the kind of machines that run programs, netns or host."""
        self.hosts, self.report = hosts, report
        self.name, self.description = "imported", ""
        self.machines: dict[object, Machine] = {}
        self.here = {"host"}  # what the other program calls this computer itself
        self.cables: list[tuple[str, str]] = []  # ends as node:port
        self._names = Unique(NODE_LENGTH)
        self._wires: Machine | None = None
        self._last_vid = 0

    def call(self, name: str, line: int) -> None:
        """The lab's name."""
        self.name = node_name(name, "lab")
        if self.name != name:
            self.report.say(line, f"the lab {quoted(name)} is called {self.name} now")

    def add(self, name: str, kind: str, line: int, want: str = "", key: object = None) -> Machine:
        """A machine, found again by `key` (its name elsewhere if not given); `want`: what to call it, where that is
        something else. Raises Unreadable."""
        if len(self.machines) >= MOST_NODES - 1:  # `wires` is one, too
            raise self.report.unreadable(line, f"there are {MOST_NODES} nodes or more, and a lab may not have more")
        made = Machine(self._names.take(node_name(want or name, FIRST_LETTERS.get(kind, "h"))), kind, line)
        self.machines[name if key is None else key] = made
        if made.name != name:
            self.report.say(line, f"node {quoted(name)} is called {made.name} now")
        return made

    # --- cables

    def cable(self, a: Machine, a_port: str, b: Machine, b_port: str, line: int) -> None:
        """Join two machines; an empty port is the next free one."""
        if a is b:
            self.report.say(line, f"left out: this link joins {a.name} with itself")
            return
        direct = "switch" in (a.kind, b.kind)
        if not (a.is_free(a_port, line, self.report) and b.is_free(b_port, line, self.report)):
            return
        one, other = a.plug(a_port, line, self.report), b.plug(b_port, line, self.report)
        if direct:
            self._join(a, one, b, other, line)
        else:
            vid = self._wire()
            self._join(a, one, *self._through(vid, line), line)
            self._join(*self._through(vid, line), b, other, line)

    def outside(self, machine: Machine, port: str, line: int) -> tuple[str, int]:
        """A port for somebody else, joined with a machine's port: (`switch:port`, its VLAN); ("", 0) where that does
        not go."""
        if machine.kind == "switch":
            if not machine.is_free(port, line, self.report):
                return "", 0
            made = machine.plug(port, line, self.report)
            machine.settings[made] = {"access": 1}
            return f"{machine.name}:{made}", 1
        vid = self.alone(machine, port, line)
        if not vid:
            return "", 0
        switch, free = self._through(vid, line)
        return f"{switch.name}:{free}", vid

    def alone(self, machine: Machine, port: str, line: int) -> int:
        """A cable with nobody at its other end; the VLAN of its wire, 0 where that does not go."""
        if not machine.is_free(port, line, self.report):
            return 0
        vid = self._wire()
        self._join(machine, machine.plug(port, line, self.report), *self._through(vid, line), line)
        return vid

    def _wire(self) -> int:
        """The next VLAN of the switch `wires`. There are enough: each has a cable at least, and a lab 4000 of these."""
        self._last_vid += 1
        return self._last_vid

    def _through(self, vid: int, line: int) -> tuple[Machine, str]:
        """One more port of `wires` in that VLAN."""
        if self._wires is None:
            self._wires = Machine(self._names.take(WIRES), "switch", line)
            self._wires.description = "each link between two machines is a VLAN here, with all that is in it"
            self.machines[WIRES,] = self._wires
        made = self._wires.plug(f"p{len(self._wires.settings) + 1}", line, self.report)
        self._wires.settings[made] = {"tunnel": vid, "reserved": {"all": "tunnel"}}
        return self._wires, made

    def _join(self, a: Machine, a_port: str, b: Machine, b_port: str, line: int) -> None:
        if len(self.cables) >= MOST_CABLES:
            raise self.report.unreadable(line, f"there are more than {MOST_CABLES} links, and a lab may not have more")
        self.cables.append((f"{a.name}:{a_port}", f"{b.name}:{b_port}"))
