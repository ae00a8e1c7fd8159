"""Two names of a lab that would be one file in its run folder: switch `a` with port `b-c`, machine `a-b` with NIC `c`.

Knows: how the planner calls the sockets of ports and machines. Refuses to know: the folder, what is in a file.
"""

from __future__ import annotations

from collections.abc import Iterator

from .lab import End, Lab
from .machines import TAPPED
from .mistake import NODES, Finding


def clashing(lab: Lab) -> Iterator[Finding]:
    owner: dict[str, str] = {}
    for file, node, name in _files(lab):
        first = owner.setdefault(file, name)
        if first != name:
            what = f"{first} and {name} would both have the socket {file}"
            yield Finding((*NODES, node), what, "give one of them another name", key=True)


def _files(lab: Lab) -> Iterator[tuple[str, str, str]]:
    """(file, node, what people call its owner)."""
    for switch in lab.switches.values():
        for port in switch.ports.values():
            if port.qemu is not None and port.qemu.path is None:
                yield f"{switch.name}-{port.name}.qemu", switch.name, str(End(switch.name, port.name))
            if port.monitor is not None and not port.monitor.path:
                yield f"{switch.name}-{port.name}.qmp", switch.name, str(End(switch.name, port.name))
    for _, near, far in lab.nic_links():
        kind = lab.hosts[near.node].kind
        if kind in TAPPED:
            yield f"{far.node}-{far.port}.tap", far.node, str(far)
        elif kind == "vm":
            yield from ((f"{near.node}-{near.port}.{end}", near.node, str(near)) for end in ("qemu", "qmp"))
    for host in lab.of_kind("vm"):
        yield f"{host.name}.qmp", host.name, host.name
