"""Large reads of files are shared by two threads: what they give, when the second one is there, and that a child
process does without it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from storvirt.backing.file import FileMember
from storvirt.pool.pool import Pool
from storvirt.raid.layout import PROFILES
from storvirt.volume.volume import Volume
from tests.support.poolrig import MEMBER, MIB, Kind, make, volume

SIZE = 4 * MIB
ROOT = Path(__file__).parents[2]


def written(folder: Path, raid: str, count: int, grain: int = 32768) -> tuple[Pool, Volume, bytes]:
    members = [FileMember.create(folder / f"m{number}", MEMBER) for number in range(count)]
    pool = make(members, [Kind(raid, SIZE, grain)])
    disk, data = volume(pool, f"{raid}-0"), random.Random(grain).randbytes(SIZE)
    disk.write(0, data)
    pool.checkpoint()
    return pool, disk, data


@pytest.mark.parametrize("grain", [4096, 32768, 262144])
@pytest.mark.parametrize("raid", PROFILES)
def test_every_level_is_read_as_it_was_written(tmp_path: Path, raid: str, grain: int) -> None:
    _, disk, data = written(tmp_path, raid, PROFILES[raid].members, grain)
    dice = random.Random(raid)
    for _ in range(20):
        at = dice.randrange(SIZE)
        length = dice.randrange(SIZE - at)
        assert disk.read(at, length) == data[at : at + length]
    assert disk.read(0, SIZE) == data


@pytest.mark.parametrize("seed", range(4))
def test_damage_anywhere_is_healed_and_counted_block_by_block(tmp_path: Path, seed: int) -> None:
    """Whoever of the two comes upon it, the grains before it are taken as they are and it is looked at alone."""
    pool, disk, data = written(tmp_path, "raid5", 4)
    dice, place = random.Random(seed), tmp_path / f"m{seed % 4}"
    content = place.read_bytes()
    pieces = [data[block * 4096 : block * 4096 + 512] for block in range(SIZE // 4096)]
    wrong = [piece for piece in dice.sample(pieces, 24) if piece in content]
    with place.open("r+b") as file:
        for piece in wrong:
            file.seek(content.index(piece))
            file.write(bytes(512))
    assert disk.read(0, SIZE) == data
    assert pool.engine.counts["healed"] == len(wrong) > 0


def test_a_child_process_reads_without_the_helper(tmp_path: Path) -> None:
    """A daemon forks after it has read; the thread and what it held are not there on the other side."""
    _, disk, data = written(tmp_path, "raid0", 2)
    assert disk.read(0, SIZE) == data
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if [disk.read(0, SIZE) for _ in range(3)] == [data] * 3 else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert disk.read(0, SIZE) == data


_SCRIPT = """
import os, sys
from pathlib import Path
if sys.argv[2] == "one":
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
from tests.t3_stack.test_pool_two_threads import SIZE, written
_, disk, data = written(Path(sys.argv[1]), "raid5", 4)
small = disk.read(4096, 32768)
before = len(os.listdir("/proc/self/task"))
assert disk.read(0, SIZE) == data
print(before, len(os.listdir("/proc/self/task")))
"""


@pytest.mark.parametrize(("processors", "threads"), [("one", "1 1"), ("all", "1 2")])
def test_the_helper_begins_with_the_first_large_read_if_there_are_two_processors(
    tmp_path: Path, processors: str, threads: str
) -> None:
    if processors == "all" and len(os.sched_getaffinity(0)) < 2:
        pytest.skip("this machine has one processor")
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(tmp_path), processors],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, cwd=ROOT, check=False,
    )  # fmt: skip
    assert (done.stdout.strip(), done.returncode) == (threads, 0), done.stderr
