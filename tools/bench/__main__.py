"""`make bench`: measure, print, and keep the rows."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from tools.bench import (
    blk_disk,
    blk_kernels,
    blk_levels,
    blk_library,
    blk_nbd,
    blk_p99,
    blk_raid,
    blk_rebuild,
    blk_sustained,
    net_datagram,
    net_guests,
    net_memory,
    net_offload,
    net_profile,
    net_stopped,
    net_tap,
    net_zmq,
    proc_machines,
    proc_many,
    proc_stord,
    processes,
)
from tools.bench.rows import Row, line, machine, write_json, write_markdown

FAMILIES = {
    "blk/memory": blk_kernels.rows,
    "blk/tmpfs/nbd": blk_nbd.rows,
    "blk/tmpfs/raid5": blk_raid.rows_tmpfs,
    "blk/tmpfs/levels": blk_levels.rows_tmpfs,
    "blk/disk/levels": blk_levels.rows_disk,
    "blk/tmpfs/library": blk_library.rows_tmpfs,
    "blk/disk/nbd": blk_disk.rows,
    "blk/disk/raid5": blk_raid.rows_disk,
    "blk/tmpfs/rebuild": blk_rebuild.rows_tmpfs,
    "blk/disk/rebuild": blk_rebuild.rows_disk,
    "blk/tmpfs/sustained": blk_sustained.rows_tmpfs,
    "blk/disk/sustained": blk_sustained.rows_disk,
    "blk/p99/tmpfs": blk_p99.rows_tmpfs,
    "blk/p99/disk": blk_p99.rows_disk,
    "net/datagram": net_datagram.rows,
    "net/guests": net_guests.rows,
    "net/memory/forward": net_memory.rows,
    "net/memory/offload": net_offload.rows,
    "net/profile": net_profile.rows,
    "net/stopped": net_stopped.rows,
    "net/tap": net_tap.rows,
    "net/zmq": net_zmq.rows,
    "proc": processes.rows,
    "proc/idle/stord": proc_stord.rows,
    "proc/machines": proc_machines.rows,
    "proc/many": proc_many.rows,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench ONLY=...", description="Measures and keeps the rows.")
    parser.add_argument("--only", default="", help="families whose name begins so, such as net or net/zmq")
    options = parser.parse_args()
    families = {name: family for name, family in FAMILIES.items() if name.startswith(options.only)}
    if not families:
        parser.error(f"there is no family {options.only!r}; there are: {', '.join(FAMILIES)}")
    # What was mounted, attached and started is taken down on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(f"# {machine()}", flush=True)
    rows: list[Row] = []
    for family in families.values():
        for row in family():
            print(line(row), flush=True)
            rows.append(row)
    write_json(rows, Path("bench.json"))
    write_markdown(rows, Path("BENCHMARKS.md"))


if __name__ == "__main__":
    main()
