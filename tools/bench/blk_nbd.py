"""A volume over NBD beside nbdkit's file plugin and qemu-nbd on the same medium, by fio. Rows blk/tmpfs/nbd-*."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import NamedTuple

from tools.bench.rig import Child, Folder
from tools.bench.rows import Row, make_row

RUNS = 3
SECONDS = 3
SIZE = 1 << 30
MEMBER = 4 << 30
TMPFS = "/dev/shm"


class Job(NamedTuple):
    """what, fio's rw, block size, depth, and what is read of fio's answer."""

    what: str
    rw: str
    size: str
    depth: int
    unit: str


JOBS = (
    Job("nbd-randread", "randread", "4k", 32, "k/s"),
    Job("nbd-randread", "randread", "4k", 1, "k/s"),
    Job("nbd-randwrite", "randwrite", "4k", 32, "k/s"),
    Job("nbd-randwrite", "randwrite", "4k", 1, "k/s"),
    Job("nbd-seqread", "read", "1m", 4, "GB/s"),
    Job("nbd-seqwrite", "write", "1m", 4, "GB/s"),
)


def fio(socket: str, job: Job, seconds: int = SECONDS) -> float:
    """One run of fio's nbd engine against a unix socket, in the job's unit."""
    out = f"{socket}.json"
    argv = ["fio", "--name=j", "--ioengine=nbd", f"--uri=nbd+unix:///?socket={socket}", f"--rw={job.rw}"]
    argv += [f"--bs={job.size}", f"--iodepth={job.depth}", "--time_based", f"--runtime={seconds}", f"--size={SIZE}"]
    argv += ["--randrepeat=0", "--output-format=json", f"--output={out}"]
    with open(f"{socket}.log", "wb") as log:
        subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=seconds + 60, check=True)
    with open(out, encoding="utf-8") as file:
        text = file.read()
    result = json.loads(text[text.index("{") :])["jobs"][0]["read" if "read" in job.rw else "write"]
    return float(result["iops"] / 1e3 if job.unit == "k/s" else result["bw_bytes"] / 1e9)


class Peer:
    """nbdkit or qemu-nbd on a raw file; a new one that is fully written, if no other is named."""

    def __init__(self, name: str, folder: str, image: str = "") -> None:
        self.name = name
        self.socket = f"{folder}/{name}.sock"
        if not image:
            image = f"{folder}/{name}.img"
            with open(image, "wb") as file:
                for _ in range(SIZE >> 20):
                    file.write(os.urandom(1 << 20))
        commands = {
            "nbdkit": ["nbdkit", "-f", "-U", self.socket, "file", image],
            "qemu-nbd": ["qemu-nbd", "-f", "raw", "-t", "-e", "8", "-k", self.socket, "-x", "", image],
        }
        with open(f"{folder}/{name}.out", "wb") as log:
            self._process = subprocess.Popen(commands[name], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 10
        while not os.path.exists(self.socket) and time.monotonic() < deadline:
            time.sleep(0.01)  # their servers do not tell when they listen

    def end(self) -> None:
        self._process.terminate()
        self._process.wait(10)


def rows() -> Iterator[Row]:
    if shutil.which("fio") is None:
        print("# fio is missing: no rows blk/tmpfs/nbd-*")
        return
    peers = [name for name in ("nbdkit", "qemu-nbd") if shutil.which(name)]
    for name in {"nbdkit", "qemu-nbd"} - set(peers):
        print(f"# {name} is missing: no rows against it")
    with Folder(TMPFS) as folder:
        path = folder.path
        ours = Child(path, "tools.bench.nbd_child", "linear", "1", path, f"{path}/ours.sock", str(SIZE), str(MEMBER))
        others: list[Peer] = []
        try:
            ours.wait_for("ready")
            others.extend(Peer(name, path) for name in peers)
            fio(f"{path}/ours.sock", Job("fill", "write", "1m", 4, "GB/s"), 4)
            yield from _beside(f"{path}/ours.sock", others)
        finally:
            ours.end()
            for other in others:
                other.end()


def _beside(ours: str, others: list[Peer]) -> Iterator[Row]:
    settings = "linear, one member, 32 KiB grains, CRC32C on; unix socket, page cache, no flush"
    for job in JOBS:
        mine: list[float] = []
        theirs: dict[str, list[float]] = {other.name: [] for other in others}
        for _ in range(RUNS):
            mine.append(fio(ours, job))
            for other in others:
                theirs[other.name].append(fio(other.socket, job))
        for name, runs in theirs.items() or {"none": []}.items():
            row = f"blk/tmpfs/{job.what}/{job.size}/qd{job.depth}/vs-{name}"
            yield make_row(row, job.unit, mine, runs or None, name, settings)
