"""Memory of an idle stord: an empty volume, and one whose whole map was used. Rows proc/idle/stord-*."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

from tools.bench import media
from tools.bench.fio import over_nbd, run
from tools.bench.rig import Folder, memory_kib
from tools.bench.rows import Row, make_row
from tools.bench.stor_lab import StorLab

RUNS = 3
VOLUME = 100 << 30
MEMBER = 104 << 30
GRAIN = 32 << 10
STRIDE = 9 << 20  # a page of 16 KiB maps 340 grains of 32 KiB: this and a grain is less, so no page is left out
NAME = "proc/idle/stord-private-100G"
SHAPE = "stord of a lab, one sparse member of 104 GiB, a volume of 100 GiB with a LUN, idle"


def rows() -> Iterator[Row]:
    touched = VOLUME // (STRIDE + GRAIN) * GRAIN
    why = media.problem("disk", 3 * touched)
    if why:
        print(f"# {why}: no rows {NAME}")
        return
    empty: list[float] = []
    used: list[float] = []
    for _ in range(RUNS):
        with Folder(media.FOLDERS["disk"]) as folder, StorLab(folder.path, "linear", 1, MEMBER, VOLUME) as lab:
            empty.append(_idle(lab.pid))
            if shutil.which("fio"):
                options = [f"--rw=write:{STRIDE}", "--bs=32k", "--iodepth=16", f"--io_size={touched}", "--end_fsync=1"]
                run(folder.path, [*over_nbd(lab.socket), *options, f"--size={VOLUME}"])
                used.append(_idle(lab.pid))
    yield make_row(f"{NAME}/vs-none", "MiB", empty, None, "none", f"{SHAPE}, empty")
    if used:
        settings = f"{SHAPE}, a grain of every page of the map written before"
        yield make_row(f"{NAME}-used/vs-none", "MiB", used, None, "none", settings)


def _idle(pid: int) -> float:
    """Private memory in MiB."""
    time.sleep(1.5)  # stord has looked after its members once or twice by then, and says nothing when it has
    return memory_kib(pid)["private"] / 1024
