"""A pool without space: ENOSPC for the write that needs it, nothing lost, trims always taken, then writes again."""

from __future__ import annotations

import errno
import random

import pytest

from storvirt.backing.memory import MemoryMember
from storvirt.block import BlockError
from storvirt.pool.assemble import open_pool
from tests.support.poolrig import EXTENT, MIB, Kind, audit, make, volume

EXTENTS = 16
MEMBER = 8 * MIB + EXTENTS * EXTENT


class Full:
    """A pool with one volume that is larger than it, and what the volume must hold."""

    def __init__(self, count: int, kind: Kind) -> None:
        self.members = [MemoryMember(MEMBER, f"m{number}") for number in range(count)]
        self.pool = make(self.members, [kind])
        self.name, self.size = f"{kind.raid}-0", kind.size
        self.bytes = bytearray(kind.size)

    def write(self, offset: int, data: bytes) -> bool:
        """False: there is no space. A write that is refused may have been done in part."""
        try:
            volume(self.pool, self.name).write(offset, data)
        except BlockError as error:
            assert error.errno == errno.ENOSPC
            self.bytes[offset : offset + len(data)] = volume(self.pool, self.name).read(offset, len(data))
            return False
        self.bytes[offset : offset + len(data)] = data
        return True

    def trim(self, offset: int, length: int) -> None:
        volume(self.pool, self.name).trim(offset, length)
        self.bytes[offset : offset + length] = bytes(length)

    def fill(self, dice: random.Random, piece: int) -> int:
        """Bytes that were taken before the first refusal."""
        for offset in range(0, self.size, piece):
            if not self.write(offset, dice.randbytes(piece)):
                return offset
        raise AssertionError("the volume is not larger than the pool")

    def check(self) -> None:
        assert volume(self.pool, self.name).read(0, self.size) == self.bytes
        audit(self.pool)

    def reopen(self, crash: bool) -> None:
        if not crash:
            self.pool.checkpoint()
        self.pool = open_pool(self.members)
        self.check()


SHAPES = [(1, "linear", 32768), (2, "raid1", 4096), (3, "raid5", 4096), (4, "raid5", 32768), (3, "raid0", 65536),
          (5, "raid6", 32768)]  # fmt: skip


@pytest.fixture(params=SHAPES, ids=lambda shape: "-".join(map(str, shape)))
def full(request: pytest.FixtureRequest) -> Full:
    count, raid, grain = request.param
    return Full(count, Kind(raid, count * EXTENTS * EXTENT, grain))


@pytest.mark.parametrize("piece", [32768, 8192])
def test_it_is_filled_and_refuses_and_goes_on_after_a_trim(full: Full, piece: int) -> None:
    dice = random.Random(1)
    taken = full.fill(dice, piece)
    assert taken > 2 * MIB
    full.check()
    if piece % full.pool.disk(full.name).grain == 0:  # else there may be room in the log
        assert not full.write(taken + piece, dice.randbytes(piece)), "a pool that is full takes nothing new"
    for offset in (0, 2 * MIB):
        full.trim(offset, MIB)
        full.check()
        for at in range(offset, offset + 256 * 1024, piece):
            assert full.write(at, dice.randbytes(piece)), "a quarter of what was trimmed can be written"
    full.check()
    full.reopen(crash=True)
    full.reopen(crash=False)


def test_it_can_be_emptied_whole_and_filled_again(full: Full) -> None:
    dice = random.Random(2)
    first = full.fill(dice, 32768)
    for _ in range(3):
        full.trim(0, full.size)
        full.pool.checkpoint()
        full.check()
        assert full.fill(dice, 32768) >= first * 3 // 4
        full.check()


def test_small_writes_over_what_is_there_go_on_when_it_is_full(full: Full) -> None:
    """Their content must be moved from the log through new slots, of which hardly any are left."""
    dice = random.Random(3)
    taken = full.fill(dice, 65536)
    refused = 0
    for _ in range(3000):
        refused += not full.write(dice.randrange(taken // 4096) * 4096, dice.randbytes(4096))
        full.pool.work()
    full.check()
    assert refused == 0
    full.reopen(crash=True)


@pytest.mark.parametrize(("count", "raid"), [(1, "linear"), (2, "raid1"), (3, "raid5")])
def test_scattered_blocks_fill_it_by_whole_grains(count: int, raid: str) -> None:
    """Each needs a grain of its own later: they are refused before the log has more than can ever be moved."""
    dice, grain = random.Random(4), 32768
    full = Full(count, Kind(raid, 2 * count * EXTENTS * EXTENT, grain))
    grains = list(range(full.size // grain))
    dice.shuffle(grains)
    taken = 0
    while full.write(grains[taken] * grain, dice.randbytes(4096)):
        taken += 1
    full.check()
    assert taken > 100
    full.reopen(crash=True)
    full.trim(0, full.size)
    full.pool.checkpoint()
    assert full.write(0, dice.randbytes(MIB))
    full.check()


def test_trims_alone_never_fill_it(full: Full) -> None:
    """Not even thousands that free nothing, in a pool that is full."""
    dice = random.Random(5)
    full.fill(dice, 65536)
    for number in range(8000):
        full.trim((number * 4096) % (2 * MIB), 4096)
    full.check()
    assert full.write(0, dice.randbytes(65536))
    full.check()


def test_flushes_alone_write_nothing(full: Full) -> None:
    full.write(0, b"x" * 4096)
    full.pool.flush()
    before = full.pool.engine.counts["log-bytes"]
    for _ in range(100):
        full.pool.flush()
    assert full.pool.engine.counts["log-bytes"] == before
