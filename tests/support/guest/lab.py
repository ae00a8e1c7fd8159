"""Four guests in a lab: for the benchmarks, how long until all answer, and what they take. Ends with JSON.

python -m tests.support.guest.lab FOLDER     `up_s`, `answer_s`, `pss_mib`; or `missing`: what is not installed

Knows: the lab, the guests' shells. Refuses to know: rows.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from tests.support.guest.image import image
from tests.support.machines import APPEND, Shell, shell_arguments
from tests.support.user import vfab
from tests.support.waiting import until
from tools.bench.rig import memory_kib

GUESTS = 4
MEMORY = "128MiB"


def lab(folder: Path) -> str:
    files = image()
    kinds = (
        f"kinds: {{vm: {{memory: {MEMORY}, kernel: {files.kernel}, initrd: {files.initramfs}, append: '{APPEND}'}}}}"
    )
    names = [f"vm{number}" for number in range(1, GUESTS + 1)]
    nodes = [f"    {name}: {{kind: vm, args: {shell_arguments(str(folder / name))}}}" for name in names]
    links = [f'    - endpoints: ["s1:{name}", "{name}:eth0"]' for name in [*names, "h1"]]
    host = "    h1: {addresses: [10.0.0.100/24]}"
    parts = ["name: guests", "topology:", f"  {kinds}", "  nodes:", "    s1: {kind: switch}", host, *nodes, "  links:"]
    return "\n".join([*parts, *links, ""])


def everybody(run: str) -> list[int]:
    """All processes of the lab: they have its run folder in their environment."""
    mark, found = f"XDG_RUNTIME_DIR={run}".encode(), []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            environment = Path(f"/proc/{name}/environ").read_bytes()
        except OSError:
            continue
        if mark in environment.split(b"\0") and int(name) not in (os.getpid(), os.getppid()):
            found.append(int(name))
    return found


def measure(folder: Path) -> dict[str, float]:
    file = folder / "guests.fab.yml"
    file.write_text(lab(folder))
    begin = time.monotonic()
    vfab("up", str(file))
    up = time.monotonic() - begin
    try:
        for number in range(1, GUESTS + 1):
            shell = Shell(str(folder / f"vm{number}")).wait()
            shell.must(f"ip addr add 10.0.0.{number}/24 dev eth0; ip link set eth0 up")
            shell.close()
        for number in range(1, GUESTS + 1):
            until(lambda: vfab("ping", "h1", f"10.0.0.{number}", "-c", "1", code=None).code == 0, 60)  # noqa: B023
        answered = time.monotonic() - begin
        memory = sum(memory_kib(pid)["pss"] for pid in everybody(os.environ["XDG_RUNTIME_DIR"])) / 1024
    finally:
        vfab("down")
    return {"up_s": up, "answer_s": answered, "pss_mib": memory}


def main() -> None:
    try:
        found: dict[str, object] = dict(measure(Path(sys.argv[1])))
    except pytest.skip.Exception as missing:
        found = {"missing": str(missing)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
