"""Segmenting and checksums of frames in memory, beside a plain copy of the same bytes. Rows net/memory/offload/*."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator

from netvirt.dataplane import offload
from netvirt.dataplane.queue import Queue
from tools.bench.rows import Row, make_row

RUNS = 5
BYTES = 4 << 30
DATA = 64_000
START, HEADERS = 34, 54
WORK = {
    "tso/64KiB/1514B": (1, 1460),
    "tso/64KiB/9014B": (1, 8960),
    "csum/64KiB": (0, 0),
}


def _frame() -> bytes:
    """An IPv4 TCP frame; addresses and checksums are all zero."""
    ip = struct.pack("!BBHHHBBHII", 0x45, 0, 40 + DATA, 1, 0x4000, 64, 6, 0, 0, 0)
    tcp = struct.pack("!HHIIBBHHH", 1, 2, 3, 4, 0x50, 0x18, 500, 0, 0)
    return bytes(12) + b"\x08\x00" + ip + tcp + bytes(range(256)) * (DATA // 256)


def _speed(once: Callable[[], None], size: int) -> float:
    """GB/s."""
    count = BYTES // size
    begin = time.perf_counter()
    for _ in range(count):
        once()
    return count * size / (time.perf_counter() - begin) / 1e9


def rows() -> Iterator[Row]:
    frame = _frame()
    copy, queue = bytearray(len(frame)), Queue()

    def plain() -> None:
        copy[:] = frame

    for name, (gso, size) in WORK.items():
        vnet = struct.pack("<BBHHHHH", 1, gso, HEADERS, size, START, 16, 0)

        def cut(vnet: bytes = vnet) -> None:
            offload.put(queue, frame, vnet)
            while queue.head() is not None:
                queue.pop()

        pairs = [(_speed(cut, len(frame)), _speed(plain, len(frame))) for _ in range(RUNS)]
        ours, theirs = zip(*pairs, strict=True)
        settings = "one frame at a time through a queue, one core"
        yield make_row(f"net/memory/offload/{name}/vs-copy", "GB/s", ours, theirs, "a plain copy", settings)
