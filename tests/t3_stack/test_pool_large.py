"""A pool near the largest that can be, on sparse files: places far out are reached, and it costs what lies in it."""

from __future__ import annotations

import os
import random
from pathlib import Path

from storvirt import Pool

MIB, TIB = 1 << 20, 1 << 40
SIZE = 10 * TIB


def test_terabytes(folder: Path) -> None:
    files = [f"{folder}/{name}.img" for name in "abcd"]
    places = [0, 3 * MIB + 512, SIZE // 2 - 8192, SIZE - 3 * MIB]
    pieces = [random.Random(place).randbytes(3 * MIB) for place in places]
    with Pool.create(files, size=15 * TIB // 4) as pool:
        disk = pool.create_volume("v0", SIZE, raid="raid5")
        for place, piece in zip(places, pieces, strict=True):
            disk.pwrite(piece, place)
        disk.flush()
        for place in range(SIZE // 2, SIZE // 2 + 4096 * 2000, 4096):  # through the log
            disk.pwrite(b"small" * 100, place)
    with Pool.open(files) as pool:
        disk = pool.volume("v0")
        for place, piece in zip(places[:2] + places[3:], pieces[:2] + pieces[3:], strict=True):
            assert disk.pread(len(piece), place) == piece
        assert disk.pread(8192, places[2]) == pieces[2][:8192]
        assert disk.pread(500, SIZE // 2 + 4096 * 1999) == b"small" * 100
        assert disk.pread(4096, SIZE // 4) == bytes(4096)
    assert sum(os.stat(file).st_blocks * 512 for file in files) < 150 * MIB
