"""A member replaced: how long it takes beside dd, which reads as many members and writes one; and how long a client's
reads take meanwhile. Rows blk/MEDIUM/rebuild/*.

Knows: what a rebuild reads and writes. Refuses to know: how a pool is made.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from tools.bench import media
from tools.bench.fio import fill, over_nbd, run, timed
from tools.bench.rig import Folder
from tools.bench.rows import Row, make_row
from tools.bench.stor_lab import StorLab

RUNS = 3
MEMBERS = 4
SIZES = {"tmpfs": 8 << 30, "disk": 4 << 30}  # bytes of data; the whole command takes 0.3 s besides
SECONDS = 6  # of a client's reads


def _rows(medium: str) -> Iterator[Row]:
    size = SIZES[medium]
    member = size // (MEMBERS - 1) + (512 << 20)
    need = (MEMBERS + 2) * member  # the new member, and what dd writes
    why = "fio is missing" if shutil.which("fio") is None else media.problem(medium, need)
    why = why or (media.memory_problem(need) if medium == "tmpfs" else "")
    if why:
        print(f"# {why}: no rows blk/{medium}/rebuild")
        return
    with Folder(media.FOLDERS[medium]) as folder, ExitStack() as stack:
        lab = stack.enter_context(StorLab(folder.path, "raid5", MEMBERS, member, size))
        fill(folder.path, over_nbd(lab.socket), size)
        yield _speed(medium, folder.path, lab, size)
        yield _beside(medium, folder.path, lab, size)


def _shape(size: int) -> str:
    return f"raid5, {MEMBERS} members, {size >> 30} GiB of data"


def _replaced(lab: StorLab, times: int) -> float:
    """The next member's place is taken by a new file; how many seconds that took. The old file is gone afterwards."""
    number = times % MEMBERS
    old = lab.files[number]
    begin = time.perf_counter()
    lab.replace(number, f"new{times}.img")
    spent = time.perf_counter() - begin
    os.unlink(old)
    return spent


def _speed(medium: str, folder: str, lab: StorLab, size: int) -> Row:
    """In GB/s of what the volume holds. On a disk nothing is in the page cache before either. The first run does not
    count: it takes the memory that dd has again afterwards, and a virtual machine waits for memory new to it."""
    cool = media.cool if medium == "disk" else media.settle
    ours, theirs = [], []
    for times in range(RUNS + 1):
        cool(lab.files)
        spent = _replaced(lab, times)
        if not times:
            continue
        ours.append(size / spent / 1e9)
        cool(lab.files)
        theirs.append(_copied(folder, lab.files, size))
    settings = (
        f"{_shape(size)}; the whole command, to its end, the member durable; peer: dd reads what three members hold of "
        f"it and writes one, with fsync{'; cold cache' if medium == 'disk' else ''}"
    )
    return make_row(f"blk/{medium}/rebuild/raid5/vs-dd", "GB/s", ours, theirs, "dd", settings)


def _copied(folder: str, files: Sequence[str], size: int) -> float:
    """dd does the same work: `size` read from three files, a third of it written."""
    part, copy = size // (MEMBERS - 1) >> 20, os.path.join(folder, "dd.img")
    begin = time.perf_counter()
    for number, path in enumerate(files[:-1]):
        sync = ["conv=fsync"] if number == 0 else []
        words = ["dd", f"if={path}", f"of={os.devnull if number else copy}", "bs=1M", f"count={part}", *sync]
        subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=True)
    spent = time.perf_counter() - begin
    os.unlink(copy)
    return size / spent / 1e9


def _beside(medium: str, folder: str, lab: StorLab, size: int) -> Row:
    """One client's p99, with members replaced one after the other, and without."""
    beside, alone, rates = [], [], []
    times = RUNS + 1
    with ThreadPoolExecutor(1) as reader:
        for _ in range(RUNS):
            media.warm(lab.files)
            alone.append(_read_p99(folder, lab, size))
            reads, begin, first = reader.submit(_read_p99, folder, lab, size), time.perf_counter(), times
            while not reads.done():
                _replaced(lab, times)
                times += 1
            rates.append((times - first) * size / (time.perf_counter() - begin) / 1e9)
            beside.append(reads.result())
    speed = sorted(rates)[RUNS // 2]
    settings = (
        f"{_shape(size)}; a client's 4 KiB random reads at depth 1, p99; members are replaced one after the other "
        f"meanwhile ({speed:.2f} GB/s); peer: without that; less is better"
    )
    return make_row(f"blk/{medium}/rebuild/read-p99/4k/qd1/vs-idle", "us", beside, alone, "idle", settings)


def _read_p99(folder: str, lab: StorLab, size: int) -> float:
    """Microseconds."""
    job = [*over_nbd(lab.socket), "--rw=randread", "--bs=4k", "--iodepth=1", *timed(SECONDS), f"--size={size}"]
    return float(run(folder, job)[0]["read"]["clat_ns"]["percentile"]["99.000000"] / 1e3)


def rows_tmpfs() -> Iterator[Row]:
    yield from _rows("tmpfs")


def rows_disk() -> Iterator[Row]:
    yield from _rows("disk")
