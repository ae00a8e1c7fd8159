"""NBD on a disk: reads with a cold cache, and reads of one client beside another's flushes. Rows blk/disk/nbd-*."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import NamedTuple

from tools.bench import media
from tools.bench.blk_nbd import SIZE, Peer
from tools.bench.fio import fill, over_nbd, rate, run, timed
from tools.bench.rig import Folder
from tools.bench.rows import Row, make_row
from tools.bench.stor_lab import StorLab

RUNS = 3
SECONDS = 2
MEMBER = 2 << 30
_OURS = "ours: stord, linear, one member, 32 KiB grains, CRC32C"


class Side(NamedTuple):
    """Who serves, where, from which file."""

    name: str
    socket: str
    file: str


class Kind(NamedTuple):
    """measure(folder, side) in `unit`."""

    name: str
    unit: str
    measure: Callable[[str, Side], float]
    settings: str


def _cold(folder: str, side: Side) -> float:
    media.cool([side.file])
    said = run(folder, [*over_nbd(side.socket), "--rw=randread", "--bs=4k", "--iodepth=32", *_length()])
    return rate(said[0]["read"], "k/s")


def _beside_flush(folder: str, side: Side) -> float:
    media.warm([side.file])
    target = over_nbd(side.socket)
    reads = [*target, "--rw=randread", "--bs=4k", "--iodepth=1", *_length()]
    flushes = [*target, "--rw=randwrite", "--bs=4k", "--iodepth=1", "--fsync=1", *_length()]
    said = run(folder, reads, flushes)
    return float(said[0]["read"]["clat_ns"]["percentile"]["99.000000"] / 1e3)


def _length() -> tuple[str, ...]:
    return *timed(SECONDS), f"--size={SIZE}"


KINDS = (
    Kind("nbd-randread-cold/4k/qd32", "k/s", _cold, f"{_OURS}; nothing of the files in the page cache before each run"),
    Kind("nbd-read-p99-beside-flush/4k/qd1", "us", _beside_flush,
         f"{_OURS}; another client writes 4 KiB and flushes, in a loop; warm cache; less is better"),
)  # fmt: skip


def rows() -> Iterator[Row]:
    peers = [name for name in ("nbdkit", "qemu-nbd") if shutil.which(name)]
    why = "fio is missing" if shutil.which("fio") is None else media.problem("disk", MEMBER + len(peers) * SIZE)
    if why:
        print(f"# {why}: no rows blk/disk/nbd-*")
        return
    for name in sorted({"nbdkit", "qemu-nbd"} - set(peers)):
        print(f"# {name} is missing: no rows against it")
    with Folder(media.FOLDERS["disk"]) as folder, ExitStack() as stack:
        path = folder.path
        lab = stack.enter_context(StorLab(path, "linear", 1, MEMBER, SIZE))
        sides = [Side("ours", lab.socket, lab.files[0])]
        for name in peers:
            peer = Peer(name, path)
            stack.callback(peer.end)
            sides.append(Side(name, peer.socket, f"{path}/{name}.img"))
        fill(path, over_nbd(lab.socket), SIZE)
        for kind in KINDS:
            yield from _measured(kind, path, sides)


def _measured(kind: Kind, folder: str, sides: list[Side]) -> Iterator[Row]:
    taken: dict[str, list[float]] = {side.name: [] for side in sides}
    for _ in range(RUNS):
        for side in sides:
            media.settle(one.file for one in sides)
            taken[side.name].append(kind.measure(folder, side))
    ours = taken.pop("ours")
    for name, theirs in taken.items() or {"none": []}.items():
        yield make_row(f"blk/disk/{kind.name}/vs-{name}", kind.unit, ours, theirs or None, name, kind.settings)
