"""Every RAID level beside btrfs of the same profile over loop devices on the same medium, and beside the raw files.

Rows blk/MEDIUM/levels/*. Knows: levels, jobs. Refuses to know: how a pool or a btrfs is made.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from tools.bench import btrfs, media
from tools.bench.blk_nbd import Peer
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
RAW = (
    f"peer: {MEMBERS} files, a thread each, page cache, pread and pwrite: their sum, of which RAID can write no more "
    "than its data's share"
)


def rows_on(medium: str) -> Iterator[Row]:
    why = "fio is missing" if shutil.which("fio") is None else media.problem(medium, 3 * MEMBERS * MEMBER)
    if why:
        print(f"# {why}: no rows blk/{medium}/levels")
        return
    raw = _raw(medium)
    for level, profiles in LEVELS.items():
        yield from _level(medium, level, profiles, raw)


def _level(medium: str, level: str, profiles: tuple[str, str] | None, raw: dict[str, list[float]]) -> Iterator[Row]:
    with Folder(media.FOLDERS[medium]) as folder, ExitStack() as stack:
        members = MEMBERS + (level == "raid7")
        ours = stack.enter_context(StorLab(folder.path, level, members, MEMBER, SIZE))
        peer = None
        if profiles is not None and not btrfs.problem():
            peer = stack.enter_context(Btrfs(folder.path, MEMBERS, MEMBER, *profiles))
        targets = [over_nbd(ours.socket)] + ([on_file(peer.file)] if peer else [])
        for target in targets:
            fill(folder.path, target, SIZE)
        served = _served(stack, folder.path, peer)
        for job in JOBS:
            beside = targets + (served if job.direction == "read" else [])
            cold = medium == "disk" and job.direction == "read"
            rates = _rates(folder.path, job, beside, [*ours.files, *(peer.files if peer else ())], peer, cold)
            name = f"blk/{medium}/levels/{level}-{job.name}"
            shape = f"{members} members, {SHAPE}{'; cold cache' if cold else ''}"
            if peer:
                yield make_row(f"{name}/vs-btrfs", job.unit, rates[0], rates[1], "btrfs", shape)
            if len(rates) > len(targets):
                shape_of_both = f"{shape}, behind nbdkit and a unix socket as ours is"
                yield make_row(
                    f"{name}/vs-btrfs-nbdkit", job.unit, rates[0], rates[-1], "nbdkit on btrfs", shape_of_both
                )
            yield make_row(f"{name}/vs-raw", job.unit, rates[0], raw[job.name], "raw files", f"{shape}; {RAW}")


def _served(stack: ExitStack, folder: str, peer: Btrfs | None) -> list[tuple[str, ...]]:
    """The file on btrfs as a guest would have it, by nbdkit; nothing where that is missing."""
    if peer is None or shutil.which("nbdkit") is None:
        return []
    server = Peer("nbdkit", folder, peer.file)
    stack.callback(server.end)
    return [over_nbd(server.socket)]


def _rates(
    folder: str, job: Job, targets: Sequence[Sequence[str]], files: list[str], peer: Btrfs | None, cold: bool
) -> list[list[float]]:
    """cold: nothing is in the page cache before, and all is read once at most."""
    span = () if cold and "--rw=read" in job.options else timed(SECONDS)
    rates: list[list[float]] = [[] for _ in targets]
    for _ in range(RUNS):
        for target, into in zip(targets, rates, strict=True):
            if peer:
                peer.settle()
            (media.cool if cold else media.settle)(files)
            said = run(folder, [*target, *job.options, *span, f"--size={SIZE}"])
            into.append(rate(said[0][job.direction], job.unit))
    return rates


def _raw(medium: str) -> dict[str, list[float]]:
    """By job the rates of the members by themselves, all at once."""
    taken: dict[str, list[float]] = {job.name: [] for job in JOBS}
    with Folder(media.FOLDERS[medium]) as folder:
        files = [f"{folder.path}/raw{number}.img" for number in range(MEMBERS)]
        share = SIZE // MEMBERS
        for path in files:
            fill(folder.path, ("--ioengine=psync", f"--filename={path}"), share)
        for job in JOBS:
            for _ in range(RUNS):
                media.settle(files)
                jobs = [
                    ["--ioengine=psync", f"--filename={path}", *job.options, *timed(SECONDS), f"--size={share}"]
                    for path in files
                ]
                said = run(folder.path, *jobs)
                taken[job.name].append(sum(rate(one[job.direction], job.unit) for one in said))
    return taken


def rows_tmpfs() -> Iterator[Row]:
    yield from rows_on("tmpfs")


def rows_disk() -> Iterator[Row]:
    yield from rows_on("disk")
