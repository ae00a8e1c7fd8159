"""The storage half of `vfab demo`: a LUN under load loses a disk, keeps its data, and is rebuilt.

Knows: what to show and in which order. Refuses to know: how the other verbs are called (they are given).
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from typing import Any

from daemons.errors import UserError
from tools.nbd_client import NbdClient

LAB, POOL, LUN = "storage", "array", "lun0"
CHUNK = 1 << 20
CHUNKS = 96
SMALL = 4096

Say = Callable[[str], None]
Vfab = Callable[..., None]
Ask = Callable[..., Any]


def content(number: int, size: int) -> bytes:
    """What was written at chunk or block `number`: anybody can compute it again."""
    return random.Random(number).randbytes(size)


class Load(threading.Thread):
    """Writes 4 KiB blocks behind the large chunks, one after the other, until it is stopped; none is ever flushed."""

    def __init__(self, path: str) -> None:
        super().__init__(daemon=True)
        self._path = path
        self._stop_now = threading.Event()
        self.written = 0
        self.problem = ""

    def run(self) -> None:
        try:
            with NbdClient(self._path, LUN) as client:
                while not self._stop_now.is_set():
                    client.write(CHUNKS * CHUNK + self.written % 20000 * SMALL, content(self.written, SMALL))
                    self.written += 1
        except UserError as error:
            self.problem = str(error)

    def stop(self) -> None:
        self._stop_now.set()
        self.join(30)


def show(say: Say, vfab: Vfab, ask: Ask) -> None:
    """Raises UserError when anything is not as it should be."""
    say("Storage is in the same file. This lab has a raid5 pool on four files, and a LUN that guests reach over NBD:")
    vfab("up", LAB)
    told = ask("pool", "show")[POOL]
    path = next(lun["path"] for lun in told["luns"] if lun["name"] == LUN)
    _fill(path)
    victim = told["pool"]["members"][2]["path"]
    say("Now a disk is pulled out (rm of its file) while somebody writes:")
    load = Load(path)
    load.start()
    print(f"$ rm {victim}", flush=True)
    os.unlink(victim)
    _until_out(ask, victim)
    vfab("pool", "status", POOL, code=1)
    say("Nothing is lost, and a new file takes its place, while the writing goes on:")
    _verify(path)
    vfab("pool", "replace", POOL, os.path.basename(victim), "new.img")
    load.stop()
    if load.problem:
        raise UserError(f"the demo stops: a writer saw an error: {load.problem}")
    print(f"{load.written:,} blocks were written meanwhile, each answered without an error.")
    vfab("pool", "scrub", POOL)
    _verify(path)
    vfab("down")


def _fill(path: str) -> None:
    began = time.monotonic()
    with NbdClient(path, LUN) as client:
        for number in range(CHUNKS):
            client.write(number * CHUNK, content(number, CHUNK))
        client.flush()
    print(f"{CHUNKS} MiB written and flushed in {time.monotonic() - began:.1f} s, one MiB at a time.", flush=True)


def _verify(path: str) -> None:
    with NbdClient(path, LUN) as client:
        wrong = [n for n in range(CHUNKS) if client.read(n * CHUNK, CHUNK) != content(n, CHUNK)]
    if wrong:
        raise UserError(f"the demo stops: {len(wrong)} of {CHUNKS} MiB read back wrong")
    print(f"All {CHUNKS} MiB read back as they were written.", flush=True)


def _until_out(ask: Ask, victim: str) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        members = ask("pool", "show")[POOL]["pool"]["members"]
        if any(row["state"] == "out" for row in members):
            return
        time.sleep(0.1)  # stord tells of its members when it is asked
    raise UserError(f"the demo stops: nobody noticed that {victim} is gone")
