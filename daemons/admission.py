"""Whether this machine can carry a lab's machines, asked before anything is started.

Knows: the memory that is there beside what is wanted, files and programs that virtual machines start from, the right
to make namespaces. Refuses to know: the lab file's own limits (daemons.lab.machine_rules), what runs.
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from daemons.errors import UserError
from daemons.lab import sizes
from daemons.lab.machine_plan import vm_config
from daemons.userns import refusal
from daemons.vm_admission import OVERHEAD, available
from daemons.vm_config import parse_config
from daemons.vm_image import check_files

if TYPE_CHECKING:
    from daemons.lab.lab import Lab
    from daemons.lab.machine_plan import MachinePlaces

Rows = Iterable[Mapping[str, Any]]  # machines, as vmd is told of them


def refusals(lab: Lab, places: MachinePlaces, running: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Why this machine cannot run the lab, a sentence each.

    running: what the lab's processes were told already, by node: their machines have what they need.
    """
    found: list[str] = []
    if lab.of_kind("vm"):
        config = vm_config(lab, places, 0)
        found += files(config)
        found += programs(config)
        if lab.limits.vm_memory is None:  # else the file says what there is, and was held against that
            found.append(memory(config["machines"], running.get("vmd", {}).get("machines", ()), available()))
    if lab.of_kind("netns", "uplink") and "netnsd" not in running:
        found.append(refusal())
    return [sentence for sentence in found if sentence]


def memory(wanted: Rows, running: Rows, room: int | None) -> str:
    """ "" or a sentence: what the machines need more than those that run have, held against `room` (bytes). Pure."""
    has = {row["name"]: int(row["memory"]) + OVERHEAD for row in running}
    wants = {row["name"]: int(row["memory"]) for row in wanted}
    more = sum(max(0, size + OVERHEAD - has.get(name, 0)) for name, size in wants.items())
    if room is None or more <= room:
        return ""
    total = sizes.text(sum(wants.values())).replace(" ", "")
    return (
        f"the virtual machines need {sizes.about(more)} of memory, and {sizes.about(room)} are available here; give"
        f" them less with memory:, end something, or write limits: {{vm_memory: {total}}} to start them all the same"
    )


def programs(config: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each QEMU that is not installed, and one where a KVM is demanded that is out of reach."""
    machines = parse_config(config).machines.values()
    for qemu in dict.fromkeys(machine.qemu for machine in machines):
        if shutil.which(qemu) is None:
            names = ", ".join(machine.name for machine in machines if machine.qemu == qemu)
            yield f"{names}: {qemu} is not installed here; install QEMU 7.2 or newer"
    demanding = ", ".join(machine.name for machine in machines if machine.accel == "kvm")
    if demanding and platform.machine() == "x86_64":  # elsewhere KVM is not tried, and who demands it gets it
        from daemons.kvm import refused  # few labs demand it

        if (answer := refused()) is not None:
            yield f"{demanding}: accel is kvm, but: {answer.why}; write accel: auto or tcg"


def files(config: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each machine whose files are not there, cannot be read, or are not what their names say."""
    for machine in parse_config(config).machines.values():
        try:
            check_files(machine)
        except UserError as error:
            yield str(error)
