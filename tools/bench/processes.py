"""What processes cost: an idle switchd, its start, a lab of 32 switches, and asking for status. Rows proc/*."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tools.bench.rig import Folder, SwitchRig, command, memory_kib
from tools.bench.rows import Row, make_row

RUNS = 5
VFAB = (sys.executable, "-P", "-m", "tools.vfab")


def tree_lab(switches: int) -> str:
    """A lab file: a binary tree of switches, a host at each leaf."""
    nodes = [f"    s{number}: {{kind: switch}}" for number in range(1, switches + 1)]
    links = [f'    - endpoints: ["s{n // 2}:down{n % 2}", "s{n}:up"]' for n in range(2, switches + 1)]
    for number in range(switches // 2 + 1, switches + 1):
        nodes.append(f"    h{number}: {{kind: host, addresses: [10.0.0.{number}/24]}}")
        links.append(f'    - endpoints: ["s{number}:eth1", "h{number}:eth0"]')
    return "\n".join(["name: tree", "topology:", "  nodes:", *nodes, "  links:", *links, ""])


def _idle() -> Iterator[Row]:
    private, pss, ready = [], [], []
    for _ in range(RUNS):
        with Folder() as folder, SwitchRig(folder.path, ports=8) as rig:
            ready.append(rig.ready_ms)
            time.sleep(0.3)  # what its start left to do is done by then; an idle process does not tell that it is
            memory = memory_kib(rig.process.pid)
            private.append(memory["private"] / 1024)
            pss.append(memory["pss"] / 1024)
    settings = "one switchd alone, 8 ports, idle; libraries shared with nobody count as private"
    yield make_row("proc/idle/switchd-private/vs-none", "MiB", private, None, "none", settings)
    yield make_row("proc/idle/switchd-pss/vs-none", "MiB", pss, None, "none", settings)
    settings = "from exec to the answer to configure, 8 ports"
    yield make_row("proc/start/switchd-ready/vs-none", "ms", ready, None, "none", settings)


def _lab() -> Iterator[Row]:
    up: list[float] = []
    status: list[float] = []
    down: list[float] = []
    with Folder() as folder:
        for name, variable in (("run", "XDG_RUNTIME_DIR"), ("state", "XDG_STATE_HOME")):
            os.mkdir(f"{folder.path}/{name}", 0o700)
            os.environ[variable] = f"{folder.path}/{name}"
        lab = Path(folder.path, "tree.fab.yml")
        lab.write_text(tree_lab(32))
        for _ in range(3):
            up.append(command([*VFAB, "up", str(lab)]))
            status.extend(command([*VFAB, "-l", "tree", "status", "--json"]) * 1e3 for _ in range(3))
            down.append(command([*VFAB, "-l", "tree", "down"]))
    settings = "32 switches in a binary tree, 16 hosts, from the command to its end, all links up"
    yield make_row("proc/up/tree-32-switches/vs-none", "s", up, None, "none", settings)
    yield make_row("proc/down/tree-32-switches/vs-none", "s", down, None, "none", settings)
    yield make_row(
        "proc/status/tree-32-switches/vs-none", "ms", status, None, "none", "vfab status --json, whole command"
    )


def rows() -> Iterator[Row]:
    yield from _idle()
    yield from _lab()
