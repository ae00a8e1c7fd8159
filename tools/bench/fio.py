"""One run of fio, and what it said. Knows: fio's options and its JSON. Refuses to know: what serves the blocks."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from typing import Any


def over_nbd(socket: str) -> tuple[str, ...]:
    """fio's options for the default export of a unix socket."""
    return "--ioengine=nbd", f"--uri=nbd+unix:///?socket={socket}"


def on_file(path: str) -> tuple[str, ...]:
    """fio's options for a file, past the page cache of its file system."""
    return "--ioengine=libaio", "--direct=1", f"--filename={path}"


def timed(seconds: float) -> tuple[str, ...]:
    return "--time_based", f"--runtime={seconds}"


def run(folder: str, *jobs: Sequence[str], seconds: float = 120.0) -> list[dict[str, Any]]:
    """Run jobs (each: its options) side by side; what fio says of each. RuntimeError with its words if it fails."""
    out, log = f"{folder}/fio.json", f"{folder}/fio.log"
    argv = ["fio", "--randrepeat=0", "--output-format=json", f"--output={out}"]
    for number, job in enumerate(jobs):
        argv += [f"--name=j{number}", *job]
    with open(log, "wb") as output:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=seconds, cwd=folder, check=False
        )
    with open(out, encoding="utf-8", errors="replace") as file:
        text = file.read()
    if done.returncode:
        with open(log, encoding="utf-8", errors="replace") as file:
            raise RuntimeError(f"fio failed: {(file.read() + text)[:500]}")
    jobs_said: list[dict[str, Any]] = json.loads(text[text.index("{") :])["jobs"]
    return jobs_said


def fill(folder: str, target: Sequence[str], size: int) -> None:
    """Write `size` bytes once, in order, and flush."""
    run(folder, [*target, "--rw=write", "--bs=1m", "--iodepth=4", f"--size={size}", "--end_fsync=1"])


def rate(direction: dict[str, Any], unit: str) -> float:
    """What fio says of a job's reads or writes, in k/s (thousands of requests) or GB/s."""
    return float(direction["iops"] / 1e3 if unit == "k/s" else direction["bw_bytes"] / 1e9)
