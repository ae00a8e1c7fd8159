"""Makes the golden image beside it: a pool of format version 1 with the levels that came after the first four, killed
with content in its log, in grains, and holes.

`python tests/golden/pool-v1-levels/make.py` is how it was made, and test_pool_golden.py opens what it made for ever.
"""

from __future__ import annotations

import hashlib
import json
import lzma
from pathlib import Path

from storvirt.backing.memory import MemoryMember
from storvirt.pool.assemble import format_pool
from storvirt.volume.volume import Volume

HERE = Path(__file__).parent
MIB = 1 << 20
MEMBERS, SIZE = 6, 18 * MIB
LEVELS = ("raid4", "raid6", "raid7", "raid10", "raid50")


def main() -> None:
    members = [MemoryMember(SIZE, f"m{number}") for number in range(MEMBERS)]
    ids = [bytes([0x41 + number]) * 16 for number in range(MEMBERS)]
    pool = format_pool(members, name="golden", pool_id=b"golden pool no.2", member_ids=ids, extent=MIB)
    for level in LEVELS:
        pool.create_volume(level, MIB, level, 32768)
    for name in LEVELS:
        volume = Volume(pool, pool.disk(name))
        volume.write(0, _text(name, 131_072))
        volume.write(512 * 1024 + 512, _text(name, 1024))
        pool.checkpoint()
        volume.write(65536, _text(name + " again", 65536))  # in grains, its switch in the log
        volume.write(8192, _text(name + " small", 512))  # in the log, over a grain
        volume.zero(131072, 32768)  # a hole, said in the log
        pool.flush()
        volume.write(700 * 1024, _text(name + " not flushed", 4096))
        volume.zero(12288, 4096)
    content = {}
    for number, member in enumerate(members):  # as kill -9 leaves it: nothing is closed
        (HERE / f"m{number}.xz").write_bytes(lzma.compress(member.read(0, SIZE), preset=9))
    for row in pool.volume_rows.values():
        data = Volume(pool, pool.disk(row.name)).read(0, row.size)
        content[row.name] = {"size": row.size, "sha256": hashlib.sha256(data).hexdigest()}
    (HERE / "content.json").write_text(json.dumps({"name": "golden", "volumes": content}, indent=2) + "\n")


def _text(words: str, length: int) -> bytes:
    """Lines that say where they stand."""
    lines = b"".join(f"{words}, line {number:06}\n".encode() for number in range(length // 16))
    return lines[:length]


if __name__ == "__main__":
    main()
