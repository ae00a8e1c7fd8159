"""raid5 over four members beside btrfs raid5 over four loop devices on the same medium, by fio. Rows blk/*/raid5-*."""

from __future__ import annotations

import shutil
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
SECONDS = 2
MEMBERS = 4
SIZE = 512 << 20
MEMBER = 1 << 30
SHAPE = (
    "raid5, 4 members of 1 GiB, 512 MiB filled before; ours: stord, 32 KiB grains, CRC32C, unix socket, page cache; "
    "btrfs: raid5 data, raid1 metadata, CRC32C, loop devices, libaio direct=1"
)


class Job(NamedTuple):
    """name: the row's, without area and peer; `flushing`: in words, for the settings."""

    name: str
    options: tuple[str, ...]
    unit: str
    flushing: str


_SEQUENTIAL = ("--rw=write", "--bs=1m", "--iodepth=4")
_RANDOM = ("--rw=randwrite", "--bs=4k", "--iodepth=32", *timed(SECONDS))
JOBS = (
    Job("raid5-seqwrite/1m", (*_SEQUENTIAL, *timed(SECONDS)), "GB/s", "depth 4, no flush during the run"),
    Job(
        "raid5-seqwrite-flushed/1m",
        (*_SEQUENTIAL, "--end_fsync=1"),
        "GB/s",
        "depth 4, 512 MiB once, a flush at the end",
    ),
    Job("raid5-randwrite/4k/qd32", _RANDOM, "k/s", "no flush during the run"),
    Job("raid5-randwrite-fsync64/4k/qd32", (*_RANDOM, "--fsync=64"), "k/s", "a flush every 64 writes"),
)


def rows_on(medium: str) -> Iterator[Row]:
    """The rows of one medium: tmpfs or disk."""
    why = "fio is missing" if shutil.which("fio") is None else media.problem(medium, 2 * MEMBERS * MEMBER)
    if why:
        print(f"# {why}: no rows blk/{medium}/raid5-*")
        return
    with Folder(media.FOLDERS[medium]) as folder, ExitStack() as stack:
        ours = stack.enter_context(StorLab(folder.path, "raid5", MEMBERS, MEMBER, SIZE))
        peer = _peer(stack, folder.path)
        targets = [over_nbd(ours.socket)] + ([on_file(peer.file)] if peer else [])
        for target in targets:
            fill(folder.path, target, SIZE)
        for job in JOBS:
            yield _row(medium, job, folder.path, targets, ours, peer)


def _peer(stack: ExitStack, folder: str) -> Btrfs | None:
    why = btrfs.problem()
    if not why:
        try:
            return stack.enter_context(Btrfs(folder, MEMBERS, MEMBER))
        except RuntimeError as error:
            why = str(error)
    print(f"# no rows against btrfs: {why}")
    return None


def _row(
    medium: str, job: Job, folder: str, targets: Sequence[Sequence[str]], ours: StorLab, peer: Btrfs | None
) -> Row:
    rates: list[list[float]] = [[] for _ in targets]
    for _ in range(RUNS):
        for target, into in zip(targets, rates, strict=True):
            if peer:
                peer.settle()
                media.settle(peer.files)
            media.settle(ours.files)
            said = run(folder, [*target, *job.options, f"--size={SIZE}"])
            into.append(rate(said[0]["write"], job.unit))
    theirs = rates[1] if peer else None
    name = f"blk/{medium}/{job.name}/vs-btrfs"
    return make_row(name, job.unit, rates[0], theirs, "btrfs" if peer else "none", f"{job.flushing}; {SHAPE}")


def rows_tmpfs() -> Iterator[Row]:
    yield from rows_on("tmpfs")


def rows_disk() -> Iterator[Row]:
    yield from rows_on("disk")
