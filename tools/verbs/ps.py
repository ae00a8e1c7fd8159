"""vfab ps: the processes of a lab. Nobody is asked but the controller, so nobody can keep it waiting."""

from __future__ import annotations

import argparse

from tools.labs import choose, overview
from tools.output import duration, print_json, table, warn


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(options: argparse.Namespace) -> int:
    value = overview(choose(options.lab), "ps")
    if options.json:
        print_json(value)
        return 0
    header = ("NODE", "KIND", "PID", "STATE", "EPOCH", "RESTARTS", "UPTIME", "MEMORY")
    rows: list[tuple[object, ...]] = []
    own = value["fabricd"]
    if own:
        rows.append(
            ("fabricd", "fabricd", own["pid"], "up", "", "", duration(own["uptime_s"]), _memory(own["memory_kib"]))
        )
    for name, row in value["nodes"].items():
        running = (duration(row["uptime_s"]), _memory(row["memory_kib"]))
        rows.append((name, row["kind"], row["pid"], row["state"], row["epoch"], row["restarts"], *running))
    print(table(header, rows))
    for name, row in value["nodes"].items():
        if row["problem"]:
            warn(f"{name}: {row['problem']}")
    if value.get("problem"):
        warn(value["problem"])
    return 0


def _memory(kib: int | None) -> str:
    return "" if kib is None else f"{kib / 1024:.1f} MiB"
