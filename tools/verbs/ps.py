"""vfab ps: the processes of a lab. Nobody is asked but the controller, so nobody can keep it waiting.

What a node has started for its machines (QEMU, pasta) stands below it, as /proc tells: the node itself is not asked.
"""

from __future__ import annotations

import argparse
from typing import Any

from daemons.process import Process, age, memory_kib
from daemons.teardown import lab_machines, lab_ways
from tools.labs import KnownLab, choose, overview
from tools.output import duration, print_json, table, warn

# A node -> what it starts, and how that is found.
_STARTS = {"vmd": ("qemu", lab_machines), "netnsd": ("pasta", lab_ways)}
_HEADER = ("NODE", "KIND", "PID", "STATE", "EPOCH", "RESTARTS", "UPTIME", "MEMORY")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(options: argparse.Namespace) -> int:
    lab = choose(options.lab)
    value = overview(lab, "ps")
    nodes = value["nodes"]
    value["children"] = [row for node in nodes for row in _children(lab, node)]
    if options.json:
        print_json(value)
        return 0
    rows: list[tuple[object, ...]] = []
    own = value["fabricd"]
    if own:
        rows.append(("fabricd", "fabricd", own["pid"], "up", "", "", *_running(own)))
    for name, row in nodes.items():
        rows.append((name, row["kind"], row["pid"], row["state"], row["epoch"], row["restarts"], *_running(row)))
        below = [each for each in value["children"] if each["of"] == name]
        rows += [(f"  {each['node']}", each["kind"], each["pid"], "up", "", "", *_running(each)) for each in below]
    print(table(_HEADER, rows))
    for name, row in nodes.items():
        if row["problem"]:
            warn(f"{name}: {row['problem']}")
    if value.get("problem"):
        warn(value["problem"])
    return 0


def _children(lab: KnownLab, node: str) -> list[dict[str, Any]]:
    kind, find = _STARTS.get(node, ("", _nothing))
    return [
        {
            "node": name,
            "kind": kind,
            "of": node,
            "pid": process.pid,
            "uptime_s": round(age(process), 1),
            "memory_kib": memory_kib(process),
        }
        for process, name in sorted(find(lab.paths).items(), key=lambda found: found[1])
    ]


def _nothing(paths: object) -> dict[Process, str]:
    return {}


def _running(row: dict[str, Any]) -> tuple[str, str]:
    kib = row["memory_kib"]
    return duration(row["uptime_s"]), "" if kib is None else f"{kib / 1024:.1f} MiB"
