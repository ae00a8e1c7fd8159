"""How long a 4 KiB read takes at worst beside another client that writes. Rows blk/p99/*, microseconds: less is better.

The two clients use one export, so the peer has nothing to separate them by either. A load that flushes has the members'
fsyncs beside the reads; one that never flushes has what the pool does by itself: moving its log, checkpoints.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

from tools.bench import media
from tools.bench.blk_nbd import SIZE, Peer
from tools.bench.fio import fill, over_nbd, run, timed
from tools.bench.rig import Folder
from tools.bench.rows import Row, make_row
from tools.bench.stor_lab import StorLab

RUNS = 3
SECONDS = 5
MEMBER = 4 << 30
_OURS = "ours: stord, linear, one member, 32 KiB grains, CRC32C; 4 KiB random reads at depth 1, one export for both"


class Load(NamedTuple):
    """What the other client does: fio's options, and words for people."""

    name: str
    options: tuple[str, ...]
    words: str


LOADS = (
    Load("flush", ("--rw=randwrite", "--bs=4k", "--iodepth=1", "--fsync=1"), "writes 4 KiB and flushes, in a loop"),
    Load("randwrite", ("--rw=randwrite", "--bs=4k", "--iodepth=32"), "4 KiB random writes at depth 32, no flush"),
    Load("seqwrite", ("--rw=write", "--bs=1m", "--iodepth=4"), "1 MiB sequential writes at depth 4, no flush"),
)


class Side(NamedTuple):
    """Who serves, where, from which file."""

    name: str
    socket: str
    file: str


def read_p99(folder: str, side: Side, load: Load, seconds: int = SECONDS) -> tuple[float, float]:
    """(p99 of a read in microseconds, MB/s of the other client)."""
    target, length = over_nbd(side.socket), (*timed(seconds), f"--size={SIZE}")
    reads = [*target, "--rw=randread", "--bs=4k", "--iodepth=1", *length]
    said = run(folder, reads, [*target, *load.options, *length])
    return float(said[0]["read"]["clat_ns"]["percentile"]["99.000000"] / 1e3), said[1]["write"]["bw_bytes"] / 1e6


def rows_tmpfs() -> Iterator[Row]:
    yield from _rows("tmpfs")


def rows_disk() -> Iterator[Row]:
    yield from _rows("disk")


def _rows(medium: str) -> Iterator[Row]:
    peers = [name for name in ("nbdkit",) if shutil.which(name)]
    why = "fio is missing" if shutil.which("fio") is None else media.problem(medium, MEMBER + len(peers) * SIZE)
    if why:
        print(f"# {why}: no rows blk/p99/{medium}")
        return
    with Folder(media.FOLDERS[medium]) as folder, ExitStack() as stack:
        path = folder.path
        lab = stack.enter_context(StorLab(path, "linear", 1, MEMBER, SIZE))
        sides = [Side("ours", lab.socket, lab.files[0])]
        for name in peers:
            peer = Peer(name, path)
            stack.callback(peer.end)
            sides.append(Side(name, peer.socket, f"{path}/{name}.img"))
        fill(path, over_nbd(lab.socket), SIZE)
        for load in LOADS:
            yield _measured(medium, load, path, sides)


def _measured(medium: str, load: Load, folder: str, sides: list[Side]) -> Row:
    taken: dict[str, list[tuple[float, float]]] = {side.name: [] for side in sides}
    for _ in range(RUNS):
        for side in sides:
            media.settle(one.file for one in sides)
            media.warm([side.file])
            taken[side.name].append(read_p99(folder, side, load))
    written = ", ".join(f"{name} {sorted(mb for _, mb in runs)[len(runs) // 2]:.0f}" for name, runs in taken.items())
    ours, (name, theirs) = taken.pop("ours"), next(iter(taken.items()), ("none", []))
    settings = f"{_OURS}; the other: {load.words} (MB/s: {written})"
    mine, others = [p99 for p99, _ in ours], [p99 for p99, _ in theirs]
    return make_row(f"blk/p99/{medium}/beside-{load.name}/4k/qd1/vs-{name}", "us", mine, others or None, name, settings)
