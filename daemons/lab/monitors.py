"""The QMP monitor of a QEMU guest, by which the switch tells it whether its cable is in: from the file to the row.

Knows: the two keys, what is left out, that a monitor serves one client at a time. Refuses to know: QMP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .lab import Monitor, Switch
from .mistake import At, Finding, quoted
from .port_model import Qemu


def monitor(given: Qemu | None, node: str, name: str) -> Monitor | None:
    """None: the guest is told nothing."""
    if given is None or given.qmp is None:
        return None
    path = "" if given.qmp == "auto" else given.qmp
    return Monitor(path, given.netdev or f"{node}-{name}")


def row(found: Monitor, node: str, name: str, place: Callable[[str], str]) -> dict[str, Any]:
    """The keys of a configuration row. place: from the name of a file in the run folder to its path."""
    return {"qmp": found.path or place(f"{node}-{name}.qmp"), "netdev": found.netdev}


def shared(switches: Mapping[str, Switch]) -> Iterator[Finding]:
    """Two ports at one monitor: the second would never be served."""
    owner: dict[str, str] = {}
    for switch in switches.values():
        for port in switch.ports.values():
            if port.monitor is None or not port.monitor.path:
                continue
            here = f"{switch.name}:{port.name}"
            first = owner.setdefault(port.monitor.path, here)
            if first != here:
                at: At = ("topology", "nodes", switch.name, "ports", port.name, "qemu", "qmp")
                what = f"{quoted(port.monitor.path)} is the monitor of port {first} already"
                yield Finding(at, what, "a monitor serves one client: give QEMU a second -qmp, and this port that one")
