"""A lab of 256 switches of 8 ports: up, down, memory of all its processes together, and what it costs while nothing is
sent. Rows proc/many/*."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tools.bench.processes import VFAB
from tools.bench.rig import Folder, command, memory_kib
from tools.bench.rows import Row, make_row

SWITCHES = 256
FANOUT = 6  # with the port up and one that is free: 8 ports
IDLE_SECONDS = 20.0


def wide_tree(switches: int) -> str:
    """A lab file: each switch has 8 ports, 6 of them for switches below it."""
    ports = ", ".join(f"eth{number}: {{}}" for number in range(1, 9))
    nodes = [f"    s{number}: {{kind: switch, ports: {{{ports}}}}}" for number in range(switches)]
    links = [
        f'    - endpoints: ["s{(n - 1) // FANOUT}:eth{(n - 1) % FANOUT + 1}", "s{n}:eth8"]' for n in range(1, switches)
    ]
    return "\n".join(["name: wide", "topology:", "  nodes:", *nodes, "  links:", *links, ""])


def _pids() -> list[int]:
    done = subprocess.run(
        [*VFAB, "-l", "wide", "ps", "--json"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=True
    )
    told = json.loads(done.stdout)
    return [told["fabricd"]["pid"], *(row["pid"] for row in told["nodes"].values())]


def _cpu_seconds(pids: list[int]) -> float:
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])  # utime, stime: fields 14 and 15 of proc(5)
    return ticks / os.sysconf("SC_CLK_TCK")


def rows() -> Iterator[Row]:
    with Folder() as folder:
        for name, variable in (("run", "XDG_RUNTIME_DIR"), ("state", "XDG_STATE_HOME")):
            os.mkdir(f"{folder.path}/{name}", 0o700)
            os.environ[variable] = f"{folder.path}/{name}"
        lab = Path(folder.path, "wide.fab.yml")
        lab.write_text(wide_tree(SWITCHES))
        up = command([*VFAB, "up", str(lab)])
        try:
            time.sleep(8)  # the nursery has ended by then; its end is told to fabricd alone
            pids = _pids()
            memory = sum(memory_kib(pid)["pss"] for pid in pids) / 1024
            before, begun = _cpu_seconds(pids), time.monotonic()
            time.sleep(IDLE_SECONDS)  # the time that is measured
            busy = (_cpu_seconds(pids) - before) / (time.monotonic() - begun) * 100
        finally:
            down = command([*VFAB, "-l", "wide", "down"])
    settings = f"{SWITCHES} switches of 8 ports in a tree, one lab, all links up"
    yield make_row(f"proc/many/up-{SWITCHES}/vs-none", "s", [up], None, "none", settings)
    yield make_row(f"proc/many/down-{SWITCHES}/vs-none", "s", [down], None, "none", settings)
    yield make_row(f"proc/many/pss-{SWITCHES}/vs-none", "MiB", [memory], None, "none", f"{settings}; fabricd, too")
    yield make_row(
        f"proc/many/idle-cpu-{SWITCHES}/vs-none", "% core", [busy], None, "none", f"{settings}; nothing sent"
    )
