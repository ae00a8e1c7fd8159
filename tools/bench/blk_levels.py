"""Every RAID level beside btrfs of the same profile over loop devices on the same medium, and beside the raw files.

Rows blk/MEDIUM/levels/*, and blk/MEDIUM/rebuild/*. Knows: levels, jobs, what a rebuild reads and writes.
Refuses to know: how a pool or a btrfs is made.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from tools.bench import btrfs, media
from tools.bench.btrfs import Btrfs
from tools.bench.fio import fill, on_file, over_nbd, rate, run, timed
from tools.bench.rig import Folder
from tools.bench.rows import Row, make_row
from tools.bench.stor_lab import StorLab

RUNS = 3
SECONDS = 1.5
MEMBERS = 4
SIZE = 512 << 20
MEMBER = 1200 << 20
# Our level -> btrfs's profiles for data and metadata; raid4, raid7 and the nested ones btrfs does not have.
LEVELS = {
    "raid0": ("raid0", "raid1"),
    "raid1": ("raid1", "raid1"),
    "raid10": ("raid10", "raid1"),
    "raid5": ("raid5", "raid1"),
    "raid6": ("raid6", "raid1c3"),
    "raid4": None,
    "raid7": None,  # with one member more
}


class Job(NamedTuple):
    name: str
    options: tuple[str, ...]
    unit: str
    direction: str


JOBS = (
    Job("seqwrite/1m/qd4", ("--rw=write", "--bs=1m", "--iodepth=4"), "GB/s", "write"),
    Job("seqread/1m/qd4", ("--rw=read", "--bs=1m", "--iodepth=4"), "GB/s", "read"),
    Job("randread/4k/qd32", ("--rw=randread", "--bs=4k", "--iodepth=32"), "k/s", "read"),
    Job("randwrite/4k/qd32", ("--rw=randwrite", "--bs=4k", "--iodepth=32"), "k/s", "write"),
)
SHAPE = (
    "512 MiB filled before, no flush during a run; ours: stord, 32 KiB grains, CRC32C, unix socket, page cache; "
    "btrfs: CRC32C, loop devices, libaio direct=1"
)


def rows_on(medium: str) -> Iterator[Row]:
    why = "fio is missing" if shutil.which("fio") is None else media.problem(medium, 3 * MEMBERS * MEMBER)
    if why:
        print(f"# {why}: no rows blk/{medium}/levels")
        return
    for level, profiles in LEVELS.items():
        yield from _level(medium, level, profiles)
    yield from _raw(medium)
    yield from _rebuild(medium)


def _level(medium: str, level: str, profiles: tuple[str, str] | None) -> Iterator[Row]:
    with Folder(media.FOLDERS[medium]) as folder, ExitStack() as stack:
        members = MEMBERS + (level == "raid7")
        ours = stack.enter_context(StorLab(folder.path, level, members, MEMBER, SIZE))
        peer = None
        if profiles is not None and not btrfs.problem():
            peer = stack.enter_context(Btrfs(folder.path, MEMBERS, MEMBER, *profiles))
        targets = [over_nbd(ours.socket)] + ([on_file(peer.file)] if peer else [])
        for target in targets:
            fill(folder.path, target, SIZE)
        for job in JOBS:
            rates = _rates(folder.path, job, targets, [*ours.files, *(peer.files if peer else ())], peer)
            name = f"blk/{medium}/levels/{level}-{job.name}/vs-{'btrfs' if peer else 'none'}"
            yield make_row(
                name,
                job.unit,
                rates[0],
                rates[1] if peer else None,
                "btrfs" if peer else "none",
                f"{members} members, {SHAPE}",
            )


def _rates(
    folder: str, job: Job, targets: Sequence[Sequence[str]], files: list[str], peer: Btrfs | None
) -> list[list[float]]:
    rates: list[list[float]] = [[] for _ in targets]
    for _ in range(RUNS):
        for target, into in zip(targets, rates, strict=True):
            if peer:
                peer.settle()
            media.settle(files)
            said = run(folder, [*target, *job.options, *timed(SECONDS), f"--size={SIZE}"])
            into.append(rate(said[0][job.direction], job.unit))
    return rates


def _raw(medium: str) -> Iterator[Row]:
    """The members by themselves, all at once: what no RAID over them can exceed (k of n of it, with parity)."""
    with Folder(media.FOLDERS[medium]) as folder:
        files = [f"{folder.path}/raw{number}.img" for number in range(MEMBERS)]
        share = SIZE // MEMBERS
        for path in files:
            fill(folder.path, ("--ioengine=psync", f"--filename={path}"), share)
        for job in JOBS:
            sums = []
            for _ in range(RUNS):
                media.settle(files)
                jobs = [
                    ["--ioengine=psync", f"--filename={path}", *job.options, *timed(SECONDS), f"--size={share}"]
                    for path in files
                ]
                sums.append(sum(rate(said[job.direction], job.unit) for said in run(folder.path, *jobs)))
            settings = f"{MEMBERS} files, a thread each, page cache, pread and pwrite; the sum: for comparison"
            yield make_row(f"blk/{medium}/levels/raw-{job.name}/vs-none", job.unit, sums, None, "none", settings)


def _rebuild(medium: str) -> Iterator[Row]:
    """A member replaced; beside it dd, which reads the other three and writes one."""
    ours, theirs = [], []
    for _ in range(RUNS):
        with Folder(media.FOLDERS[medium]) as folder, StorLab(folder.path, "raid5", MEMBERS, MEMBER, SIZE) as lab:
            fill(folder.path, over_nbd(lab.socket), SIZE)
            media.settle(lab.files)
            begin = time.perf_counter()
            lab.replace(1, "new.img")
            ours.append(SIZE / (time.perf_counter() - begin) / 1e9)
            theirs.append(_copied(folder.path, lab.files))
    settings = (
        "raid5, 4 members, 512 MiB of data; peer: dd reads what three members hold of it and writes one, with fsync; "
        "data rebuilt or read"
    )
    yield make_row(f"blk/{medium}/rebuild/raid5/vs-dd", "GB/s", ours, theirs, "dd", settings)


def _copied(folder: str, files: Sequence[str]) -> float:
    """GB/s of the user's data when dd does the same work: SIZE read from three files, a third of it written."""
    part = SIZE // (MEMBERS - 1) >> 20
    begin = time.perf_counter()
    for number, path in enumerate(files[:-1]):
        target = os.path.join(folder, "dd.img") if number == 0 else os.devnull
        sync = ["conv=fsync"] if number == 0 else []
        words = ["dd", f"if={path}", f"of={target}", "bs=1M", f"count={part}", *sync]
        subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=True)
    return SIZE / (time.perf_counter() - begin) / 1e9


def rows_tmpfs() -> Iterator[Row]:
    yield from rows_on("tmpfs")


def rows_disk() -> Iterator[Row]:
    yield from rows_on("disk")
