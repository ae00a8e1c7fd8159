"""Labs of real machines: 50 namespaces and 10 switches, `vfab exec`, and 4 QEMU guests. Rows proc/machines/*.

Knows: what is timed. Refuses to know: guests (tests.support.guest.lab, a process of its own).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tools.bench.processes import VFAB
from tools.bench.rig import Folder, command
from tools.bench.rows import Row, make_row

SWITCHES, HOSTS = 10, 5
GUESTS = 4
RUNS = 3
EXECS = 9
GUEST_SECONDS = 200
ROOT = Path(__file__).parents[2]


def _private(folder: str) -> None:
    for name, variable in (("run", "XDG_RUNTIME_DIR"), ("state", "XDG_STATE_HOME")):
        os.mkdir(f"{folder}/{name}", 0o700)
        os.environ[variable] = f"{folder}/{name}"


def namespaces(switches: int, hosts: int) -> str:
    """A lab file: switches in a row, each with so many namespaces."""
    nodes = [f"    s{n}: {{kind: switch}}" for n in range(switches)]
    links = [f'    - endpoints: ["s{n}:right", "s{n + 1}:left"]' for n in range(switches - 1)]
    for number in range(switches * hosts):
        nodes.append(f"    h{number}: {{kind: netns, addresses: [10.0.0.{number + 1}/24]}}")
        links.append(f'    - endpoints: ["s{number // hosts}:eth{number % hosts}", "h{number}:eth0"]')
    return "\n".join(["name: rooms", "topology:", "  nodes:", *nodes, "  links:", *links, ""])


def _timed(*words: str) -> float:
    """Milliseconds."""
    begin = time.perf_counter()
    subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=60, check=True)
    return (time.perf_counter() - begin) * 1e3


def _rooms() -> Iterator[Row]:
    ups, downs, added, floor = [], [], [], []
    with Folder() as folder:
        _private(folder.path)
        lab = Path(folder.path, "rooms.fab.yml")
        lab.write_text(namespaces(SWITCHES, HOSTS))
        for run in range(RUNS):
            ups.append(command([*VFAB, "up", str(lab)]))
            try:
                for _ in range(0 if run else EXECS):
                    floor.append(_timed("/bin/true"))
                    added.append(_timed(*VFAB, "exec", "h0", "--", "/bin/true"))
            finally:
                downs.append(command([*VFAB, "-l", "rooms", "down"]))
    settings = f"{SWITCHES} switches in a row, {SWITCHES * HOSTS} network namespaces, all links up"
    yield make_row("proc/machines/up-50-netns/vs-none", "s", ups, None, "none", settings)
    yield make_row("proc/machines/down-50-netns/vs-none", "s", downs, None, "none", settings)
    how = "vfab exec h0 -- /bin/true, the whole command; peer: the program by itself"
    yield make_row("proc/machines/exec/vs-nothing", "ms", added, floor, "/bin/true", how)


def _guests() -> Iterator[Row]:
    with Folder() as folder:
        _private(folder.path)
        argv = [sys.executable, "-m", "tests.support.guest.lab", folder.path]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=GUEST_SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(f"the guests failed: {done.stderr.strip()[-500:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    if "missing" in found:
        print(f"# proc/machines/guests is left out: {found['missing']}", file=sys.stderr)
        return
    settings = f"{GUESTS} QEMU guests of 128 MiB (emulated where KVM is not), a switch and a host, one lab"
    for name, key, unit, more in (
        ("up", "up_s", "s", ""),
        ("ping", "answer_s", "s", "; from the command until all have booted and answer"),
        ("pss", "pss_mib", "MiB", "; all processes together"),
    ):
        yield make_row(f"proc/machines/{name}-4-guests/vs-none", unit, [found[key]], None, "none", settings + more)


def rows() -> Iterator[Row]:
    yield from _rooms()
    yield from _guests()
