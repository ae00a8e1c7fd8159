"""How much memory this host can give to virtual machines; `admission.py` holds a lab's wishes against it.

Knows: /proc/meminfo, the limits of control groups. Refuses to know: machines.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

# QEMU itself beside the guest's memory: its code, its devices, what TCG has translated. Measured after the start of a
# small Linux: 70 to 90 MiB; it grows with what the guest runs.
OVERHEAD = 128 << 20
_CGROUPS = "/sys/fs/cgroup"


def available(meminfo: str = "/proc/meminfo", groups: str | None = None) -> int | None:
    """Bytes that programs may still take before the host begins to swap or to kill; None: nobody says."""
    rooms = [*_meminfo(meminfo), *_groups(_own_group() if groups is None else groups)]
    return min(rooms, default=None)


def _meminfo(path: str) -> Iterator[int]:
    try:
        with open(path) as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    yield int(line.split()[1]) << 10
    except (OSError, ValueError, IndexError):
        return


def _own_group() -> str:
    """The folder of our control group (version 2)."""
    try:
        with open("/proc/self/cgroup") as file:
            found = next((line.strip()[3:] for line in file if line.startswith("0::")), "/")
    except OSError:
        found = "/"
    return os.path.normpath(_CGROUPS + os.sep + found)


def _groups(folder: str) -> Iterator[int]:
    """What is left in each group from `folder` up to the root, where there is a limit."""
    while True:
        try:
            most = _number(folder, "memory.max")
            yield max(0, most - _number(folder, "memory.current") + _cached(folder))
        except (OSError, ValueError):
            pass  # "max": no limit; no file: the root, or no such group
        if folder in (_CGROUPS, os.path.dirname(folder)):
            return
        folder = os.path.dirname(folder)


def _number(folder: str, name: str) -> int:
    with open(os.path.join(folder, name)) as file:
        return int(file.read())


def _cached(folder: str) -> int:
    """What the kernel gives up first: files that were read and are not in use."""
    with open(os.path.join(folder, "memory.stat")) as file:
        return next((int(line.split()[1]) for line in file if line.startswith("inactive_file ")), 0)
