"""Large reads through the library, with no socket between, beside btrfs of the same profile. Rows blk/tmpfs/library/*.

Knows: storvirt.Pool and its reads. Refuses to know: stord, NBD.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from storvirt import Pool
from tools.bench import btrfs, media
from tools.bench.blk_levels import LEVELS, MEMBER, MEMBERS, RUNS, SECONDS, SIZE
from tools.bench.btrfs import Btrfs
from tools.bench.fio import fill, on_file, rate, run, timed
from tools.bench.rig import Folder
from tools.bench.rows import Row, make_row

PIECE = 1 << 20
SHAPE = (
    "512 MiB filled before; ours: no stord and no socket, one Python process, volume.read() of storvirt.Pool, 1 MiB "
    "at a time, 32 KiB grains, CRC32C, page cache; btrfs: fio, depth 4, CRC32C, loop devices, libaio direct=1"
)
JOB = ("--rw=read", "--bs=1m", "--iodepth=4")


def rows_tmpfs() -> Iterator[Row]:
    why = media.problem("tmpfs", 3 * MEMBERS * MEMBER) or btrfs.problem()
    why = why or ("fio is missing" if shutil.which("fio") is None else "")
    if why:
        print(f"# {why}: no rows blk/tmpfs/library")
        return
    for level, profiles in LEVELS.items():
        if profiles is not None:
            yield _level(level, profiles)


def _level(level: str, profiles: tuple[str, str]) -> Row:
    with Folder(media.FOLDERS["tmpfs"]) as folder, ExitStack() as stack:
        files = [f"{folder.path}/m{number}.img" for number in range(MEMBERS)]
        pool = stack.enter_context(Pool.create(files, size=MEMBER))
        peer = stack.enter_context(Btrfs(folder.path, MEMBERS, MEMBER, *profiles))
        volume = pool.create_volume("v", SIZE, level)
        for at in range(0, SIZE, PIECE):
            volume.write(at, os.urandom(PIECE))
        volume.flush()
        target = on_file(peer.file)
        fill(folder.path, target, SIZE)
        ours, theirs = [], []
        for _ in range(RUNS):
            ours.append(_read(volume.read))
            said = run(folder.path, [*target, *JOB, *timed(SECONDS), f"--size={SIZE}"])
            theirs.append(rate(said[0]["read"], "GB/s"))
    shape = f"{MEMBERS} members, {SHAPE}"
    return make_row(f"blk/tmpfs/library/{level}-seqread/1m/vs-btrfs", "GB/s", ours, theirs, "btrfs", shape)


def _read(read: Callable[[int, int], bytes]) -> float:
    """GB/s."""
    done, begin = 0, time.perf_counter()
    while (passed := time.perf_counter() - begin) < SECONDS:
        read(done % SIZE, PIECE)
        done += PIECE
    return done / passed / 1e9
