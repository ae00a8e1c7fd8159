"""TAP to TAP in two namespaces through one switchd, beside other switches and the bare loop. Rows net/tap/*.

Knows: what is sent and how it is counted. Refuses to know: how a switch is started (tap_switches), rows.
Needs CAP_NET_ADMIN, ip, cc, iperf3 and ping; a switch that is not installed is left out, and said so.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tools.bench.rig import Folder
from tools.bench.rows import Row, make_row
from tools.bench.tap_switches import ADDRESSES, NAMES, SPACES, SWITCHES, inside, missing, process, run, spaces

RUNS = 3
SECONDS = 3
PINGS = 200
SOURCE = Path(__file__).parent / "tap_tools.c"
NEEDED = ("ip", "cc", "iperf3", "ping")
FIRST, SECOND = SPACES


def _tcp(folder: str, tools: str) -> float:
    """Gbit/s that arrive."""
    serve = ("ip", "netns", "exec", SECOND, "iperf3", "-s", "--forceflush")
    with process(folder, *serve, ready="Server listening"):
        words = ("iperf3", "-c", ADDRESSES[1], "-t", str(SECONDS), "-J")
        answer = json.loads(inside(FIRST, *words, seconds=SECONDS + 20))
    return float(answer["end"]["sum_received"]["bits_per_second"]) / 1e9


def _frames(folder: str, tools: str) -> float:
    """Thousands of 60-byte frames a second that arrive."""
    found = re.search(r"link/ether (\S+)", inside(SECOND, "ip", "link", "show", NAMES[1]))
    assert found is not None
    before = _arrived()
    sent = json.loads(inside(FIRST, tools, "blast", NAMES[0], found[1], str(SECONDS), seconds=SECONDS + 20))
    while _arrived() != (now := _arrived()):
        time.sleep(0.02)  # the kernel tells of a counter when it is asked
    return (now - before) / float(sent["seconds"]) / 1e3


def _arrived() -> int:
    show = json.loads(inside(SECOND, "ip", "-s", "-j", "link", "show", NAMES[1]))
    return int(show[0]["stats64"]["rx"]["packets"])


def _ping(folder: str, tools: str) -> float:
    """Milliseconds there and back, the median."""
    words = ("ping", "-c", str(PINGS), "-i", "0.02", ADDRESSES[1])
    return statistics.median(map(float, re.findall(r"time=([\d.]+)", inside(FIRST, *words, seconds=60))))


# Row: unit, with offload, how it is measured.
MEASURES: dict[str, tuple[str, bool, Callable[[str, str], float]]] = {
    "tcp-offload": ("Gbit/s", True, _tcp),
    "tcp-plain": ("Gbit/s", False, _tcp),
    "60B-frames": ("kframes/s", True, _frames),
    "ping": ("ms", True, _ping),
}


def _once(folder: str, tools: str, name: str, measure: str) -> float:
    _, offload, how = MEASURES[measure]
    with spaces(), SWITCHES[name][0](folder, tools, offload):
        deadline = time.monotonic() + 10
        while True:  # until the switch, and both stacks, have learned who is where
            try:
                inside(FIRST, "ping", "-c", "1", "-W", "1", ADDRESSES[1])
                break
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
        return how(folder, tools)


def _names() -> list[str]:
    absent = [program for program in NEEDED if shutil.which(program) is None]
    if os.geteuid() or absent:
        print(f"net/tap is left out: it needs root and {', '.join(absent or NEEDED)}", file=sys.stderr)
        return []
    for name in SWITCHES:
        if missing(name):
            print(f"net/tap without {name}: {missing(name)} is not installed", file=sys.stderr)
    return [name for name in SWITCHES if not missing(name)]


def rows() -> Iterator[Row]:
    names = _names()
    if not names:
        return
    with Folder() as folder:
        tools = os.path.join(folder.path, "tap_tools")
        run("cc", "-O2", "-o", tools, str(SOURCE))
        for measure, (unit, offload, _) in MEASURES.items():
            found: dict[str, list[float]] = {name: [] for name in names}
            for _ in range(RUNS):
                for name in names:
                    found[name].append(_once(folder.path, tools, name, measure))
            settings = f"two namespaces, offload {'on' if offload else 'off'}, in turns, two cores for everything"
            for name in names[1:]:
                row = f"net/tap/{measure}/vs-{name.lower().replace(' ', '-')}"
                yield make_row(row, unit, found["ours"], found[name], name, settings)
