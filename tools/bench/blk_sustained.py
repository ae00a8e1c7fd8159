"""4 KiB writes at random over 8 GiB on raid5, for so long that what they leave to be done later is being done: beside
btrfs raid5 over loop devices on the same medium. Rows blk/MEDIUM/sustained/*.

Knows: how long that is. Refuses to know: how a pool or a btrfs is made.

Both are filled before. Ours is written to until its log has been full for a while; what is measured then begins after
some seconds of the same load, so that nobody lives on what a pause let him catch up with. On a disk both take turns,
each with a page cache that has all of his files and none of the other's, as if he had been writing alone for long; on
tmpfs one comes after the other, because the memory is not enough for both.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

from tools.bench import btrfs, media
from tools.bench.btrfs import Btrfs
from tools.bench.fio import fill, on_file, over_nbd, rate, run, timed
from tools.bench.rig import Folder
from tools.bench.rows import Row, make_row
from tools.bench.stor_lab import StorLab

RUNS = 3
MEMBERS = 4
SIZE = 8 << 30
MEMBER = 8 << 30  # sparse
TAKES = SIZE * 3 // 2 + (3 << 30)  # bytes: data, parity, and the log
UNTIL_FULL = 45  # seconds
_WRITES = ("--rw=randwrite", "--bs=4k", "--iodepth=32", f"--size={SIZE}")
SHAPE = (
    "4 members of 8 GiB, 8 GiB filled before; ours: stord, 32 KiB grains, CRC32C, unix socket, page cache; "
    "btrfs: raid5 data, raid1 metadata, CRC32C, loop devices, libaio direct=1"
)


class Job(NamedTuple):
    """seconds: of what is measured."""

    name: str
    options: tuple[str, ...]
    seconds: int
    flushing: str


JOBS = (
    Job("raid5-randwrite/4k/qd32", (), 10, "no flush during the run"),
    Job("raid5-randwrite-fsync256/4k/qd32", ("--fsync=256",), 6, "a flush every 256 writes"),
)
RAMP = 4  # seconds of load before what is measured


class Side(NamedTuple):
    """target: fio's options; files: what lies below; peer: where it is btrfs."""

    target: tuple[str, ...]
    files: list[str]
    peer: Btrfs | None


def _why_not(medium: str, sides: int) -> str:
    if shutil.which("fio") is None:
        return "fio is missing"
    short = media.problem(medium, sides * TAKES)
    return short or (media.memory_problem(TAKES) if medium == "tmpfs" else "")


def _ours(stack: ExitStack, folder: str) -> Side:
    lab = stack.enter_context(StorLab(folder, "raid5", MEMBERS, MEMBER, SIZE))
    side = Side(over_nbd(lab.socket), lab.files, None)
    fill(folder, side.target, SIZE)
    run(folder, [*side.target, *_WRITES, *timed(UNTIL_FULL)])
    return side


def _theirs(stack: ExitStack, folder: str) -> Side:
    peer = stack.enter_context(Btrfs(folder, MEMBERS, MEMBER))
    side = Side(on_file(peer.file), peer.files, peer)
    fill(folder, side.target, SIZE)
    return side


def _measure(folder: str, side: Side, job: Job) -> float:
    if side.peer:
        side.peer.settle()
    media.settle(side.files)
    options = (*_WRITES, *job.options, *timed(job.seconds), f"--ramp_time={RAMP}")
    return rate(run(folder, [*side.target, *options])[0]["write"], "k/s")


def _row(medium: str, job: Job, ours: list[float], theirs: list[float]) -> Row:
    name = f"blk/{medium}/sustained/{job.name}/vs-{'btrfs' if theirs else 'none'}"
    cache = "; the page cache has all of it" if medium == "disk" else ""
    settings = f"{job.flushing}; random over 8 GiB, after {UNTIL_FULL} s of it{cache}; {SHAPE}"
    return make_row(name, "k/s", ours, theirs or None, "btrfs" if theirs else "none", settings)


def rows_disk() -> Iterator[Row]:
    why = _why_not("disk", 2)
    if why:
        print(f"# {why}: no rows blk/disk/sustained")
        return
    with Folder(media.FOLDERS["disk"]) as folder, ExitStack() as stack:
        sides = [_ours(stack, folder.path)]
        if problem := btrfs.problem():
            print(f"# no rows against btrfs: {problem}")
        else:
            sides.append(_theirs(stack, folder.path))
        for job in JOBS:
            rates: list[list[float]] = [[], []]
            for _ in range(RUNS):
                for side, into in zip(sides, rates, strict=False):
                    media.cool(path for each in sides for path in each.files)
                    media.warm(side.files)
                    into.append(_measure(folder.path, side, job))
            yield _row("disk", job, *rates)


def rows_tmpfs() -> Iterator[Row]:
    why = _why_not("tmpfs", 1)
    if why:
        print(f"# {why}: no rows blk/tmpfs/sustained")
        return
    rates: dict[str, list[list[float]]] = {job.name: [] for job in JOBS}
    for begin in (_ours, _theirs):
        if begin is _theirs and (problem := btrfs.problem()):
            print(f"# no rows against btrfs: {problem}")
            break
        with Folder(media.FOLDERS["tmpfs"]) as folder, ExitStack() as stack:
            side = begin(stack, folder.path)
            for job in JOBS:
                rates[job.name].append([_measure(folder.path, side, job) for _ in range(RUNS)])
    for job in JOBS:
        ours, theirs = (*rates[job.name], [])[:2]
        yield _row("tmpfs", job, ours, theirs)
