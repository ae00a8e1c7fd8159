"""Every Block passes one contract, the wrappers too; the contract notices blocks that are wrong on purpose."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Iterator

import pytest

from storvirt.backing.errors import MemberError
from storvirt.backing.memory import MemoryMember
from storvirt.backing.memoryblock import MemoryBlock
from storvirt.block import BLOCK, SECTOR, Block, BlockError, Extent
from storvirt.lun import Lun
from storvirt.wrappers.checked import Checked
from storvirt.wrappers.delay import Delay, Times
from storvirt.wrappers.faulty import Faulty, Rates
from storvirt.wrappers.limit import BURST, SECOND, Bucket, Limit
from storvirt.wrappers.log import Log
from storvirt.wrappers.member import MemberBlock, wrapped
from storvirt.wrappers.stats import Stats
from storvirt.wrappers.through import Through
from tests.support.contracts_block import CHECKS, check_block, check_reopening

SIZE = 1 << 20


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.time = 0

    def now(self) -> int:
        return self.time

    def sleep(self, nanoseconds: int) -> None:
        assert nanoseconds > 0
        self.time += nanoseconds


def memory() -> MemoryBlock:
    return MemoryBlock(SIZE)


MAKERS: dict[str, Callable[[], Block]] = {
    "memory": memory,
    "an odd size": lambda: MemoryBlock(SIZE - 3 * SECTOR),
    "the smallest": lambda: MemoryBlock(16 * BLOCK),
    "a petabyte": lambda: MemoryBlock(1 << 50),
    "through": lambda: Through(memory()),
    "checked": lambda: Checked(memory()),
    "faulty, with no faults": lambda: Faulty(memory(), random.Random(1).random, Rates()),
    "delay": lambda: Delay(memory(), Clock().sleep, Times(read=5, write=6, flush=7, extents=8)),
    "stats": lambda: Stats(memory(), Clock().now),
    "log": lambda: Log(memory(), Clock().now, lambda line: None),
    "limit": lambda: Limit(memory(), (clock := Clock()).now, clock.sleep, 1 << 30, 1000),
    "lun": lambda: Lun(Checked(memory()), "lun0"),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", MAKERS)
def test_contract(name: str, check: Callable[[Block], None]) -> None:
    if name == "a petabyte" and check.__name__ == "is_zeros_at_first":
        assert MAKERS[name]().read((1 << 50) - SECTOR, SECTOR) == bytes(SECTOR)
        return
    check_block(MAKERS[name], (check,))


def test_reopening() -> None:
    def reopen(block: Block) -> Block:
        assert isinstance(block, MemoryBlock)
        again = MemoryBlock(block.size)
        again.pages = dict(block.pages)
        block.close()
        return again

    check_reopening(memory, reopen)

    def forgetful(block: Block) -> Block:
        return memory()

    with pytest.raises(AssertionError):
        check_reopening(memory, forgetful)


def test_only_touched_pages_occupy_memory() -> None:
    block = MemoryBlock(1 << 40)
    block.write((1 << 39) - SECTOR, b"x" * 2 * SECTOR)
    assert len(block.pages) == 2
    assert [e.length for e in block.extents(0, 1 << 40) if e.data] == [2 * BLOCK]
    block.zero(0, 1 << 40)
    assert not block.pages


class ShortTrim(MemoryBlock):
    def trim(self, offset: int, length: int, fua: bool = False) -> None:
        super().trim(offset, max(0, length - SECTOR))


class KeepsReference(MemoryBlock):
    def __init__(self) -> None:
        super().__init__(SIZE)
        self.last: tuple[int, bytes | memoryview] = (0, b"")

    def write(self, offset: int, data: bytes | memoryview, fua: bool = False) -> None:
        super().write(*self.last)
        self.last = (offset, data)

    def read(self, offset: int, length: int) -> bytes:
        super().write(*self.last)
        return super().read(offset, length)


class ZeroIgnoresKeep(MemoryBlock):
    def zero(self, offset: int, length: int, may_trim: bool = True, fua: bool = False) -> None:
        if may_trim:
            super().zero(offset, length)


class AllHoles(MemoryBlock):
    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        if length:
            yield Extent(offset, length, False)


class Unmerged(MemoryBlock):
    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        for place in range(offset, offset + length, SECTOR):
            yield Extent(place, SECTOR, True)


class WholePages(MemoryBlock):
    """Loses the rest of the page when a part of it is written."""

    def write(self, offset: int, data: bytes | memoryview, fua: bool = False) -> None:
        self.pages.pop(offset // BLOCK, None)
        super().write(offset, data)


class TwoOnRead(MemoryBlock):
    def read(self, offset: int, length: int) -> bytes:
        return super().read(offset, length) + b"!"


WRONG: list[Callable[[], Block]] = [
    lambda: ShortTrim(SIZE),
    KeepsReference,
    lambda: ZeroIgnoresKeep(SIZE),
    lambda: AllHoles(SIZE),
    lambda: Unmerged(SIZE),
    lambda: WholePages(SIZE),
    lambda: TwoOnRead(SIZE),
    lambda: MemoryBlock(SIZE, read_only=True),
    lambda: Faulty(memory(), random.Random(1).random, Rates(flip=0.2)),
    lambda: Faulty(memory(), random.Random(1).random, Rates(lost=0.2)),
    lambda: Faulty(memory(), random.Random(1).random, Rates(torn=0.2)),
    lambda: Faulty(memory(), random.Random(1).random, Rates(misdirected=0.2)),
]


@pytest.mark.parametrize("make", WRONG, ids=lambda make: type(make()).__name__)
def test_the_contract_notices_what_is_wrong(make: Callable[[], Block]) -> None:
    with pytest.raises(AssertionError):
        check_block(make)


# --- checked ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda b: b.read(1, SECTOR),
        lambda b: b.read(0, 5),
        lambda b: b.read(SIZE, SECTOR),
        lambda b: b.read(-SECTOR, SECTOR),
        lambda b: b.write(SIZE - SECTOR, bytes(2 * SECTOR)),
        lambda b: b.write(0, b"abc"),
        lambda b: b.write(0, memoryview(bytes(2 * SECTOR))[::2]),
        lambda b: b.zero(0, SIZE + SECTOR),
        lambda b: b.trim(3, SECTOR),
        lambda b: b.extents(0, 7),
    ],
)
def test_checked_asserts(call: Callable[[Block], object]) -> None:
    block = Checked(memory())
    with pytest.raises(AssertionError):
        call(block)
    block.write(0, bytes(SECTOR))


def test_checked_knows_closed_and_read_only() -> None:
    block = Checked(memory())
    block.close()
    calls: list[Callable[[], object]] = [
        lambda: block.read(0, 0),
        block.flush,
        block.close,
        lambda: block.extents(0, 0),
    ]
    for call in calls:
        with pytest.raises(AssertionError, match="close"):
            call()
    frozen = Checked(MemoryBlock(SIZE, read_only=True))
    assert frozen.read(0, SECTOR) == bytes(SECTOR)
    writes: list[Callable[[], object]] = [
        lambda: frozen.write(0, b""),
        lambda: frozen.zero(0, 0),
        lambda: frozen.trim(0, 0),
    ]
    for write in writes:
        with pytest.raises(AssertionError, match="read-only"):
            write()
    with pytest.raises(AssertionError, match="no whole number of sectors"):
        Checked(MemoryBlock(1000))


# --- wrappers --------------------------------------------------------------------------------------------------------


def always() -> float:
    return 0.5


@pytest.mark.parametrize("fault", Rates._fields)
def test_each_fault_happens_alone_and_is_counted(fault: str) -> None:
    inner = memory()
    inner.write(0, b"o" * 4 * BLOCK)
    block = Faulty(inner, always, Rates(**{fault: 0.6}))
    failed = []
    for call in (lambda: block.write(BLOCK, b"n" * BLOCK), lambda: block.read(0, BLOCK), block.flush):
        try:
            call()
        except BlockError as error:
            assert error.errno == errno.EIO
            failed.append(call)
    assert len(failed) == (1 if fault.endswith("error") else 0)
    assert block.statistics() == {name: int(name == fault) for name in Rates._fields}
    new, old = b"n" * BLOCK, b"o" * BLOCK
    found = {
        "write_error": old * 4,
        "lost": old * 4,
        "torn": old + new[: BLOCK // 2] + old[BLOCK // 2 :] + old * 2,
        "misdirected": old + old + new + old,
    }.get(fault, old + new + old + old)
    assert inner.read(0, 4 * BLOCK) == found
    if fault == "flip":
        data = block.read(0, BLOCK)
        assert sum(bin(a ^ b).count("1") for a, b in zip(data, old, strict=True)) == 1
    block.rates = Rates()
    assert block.read(0, 4 * BLOCK) == found


def test_lost_and_failed_zeros_and_trims() -> None:
    inner = memory()
    inner.write(0, b"o" * BLOCK)
    block = Faulty(inner, always, Rates(lost=1.0))
    block.zero(0, BLOCK)
    block.trim(0, BLOCK)
    block.rates = Rates(write_error=1.0)
    for call in (block.zero, block.trim):
        with pytest.raises(BlockError):
            call(0, BLOCK)
    assert inner.read(0, BLOCK) == b"o" * BLOCK
    assert block.statistics()["lost"] == block.statistics()["write_error"] == 2


def test_delay_takes_what_it_is_told() -> None:
    clock = Clock()
    block = Delay(memory(), clock.sleep, Times(read=1, write=20, flush=300, extents=4000))
    block.read(0, SECTOR)
    block.write(0, bytes(SECTOR))
    block.zero(0, SECTOR)
    block.trim(0, SECTOR)
    block.flush()
    list(block.extents(0, SECTOR))
    assert clock.time == 1 + 60 + 300 + 4000
    block.times = Times()
    block.read(0, SECTOR)
    assert clock.time == 4361


def test_log_lines() -> None:
    clock, lines = Clock(), list[str]()
    clock.time = 12_000_345_999
    slow = Delay(memory(), clock.sleep, Times(read=41_500, write=2_000_000))
    block = Log(slow, clock.now, lines.append)
    block.read(4096, 512)
    block.write(0, bytes(1024), fua=True)
    block.zero(0, 512, may_trim=False)
    block.trim(512, 512)
    block.flush()
    assert list(block.extents(0, SIZE))
    block.block = Faulty(memory(), always, Rates(read_error=1.0))
    with pytest.raises(BlockError):
        block.read(0, 512)
    block.close()
    assert lines == [
        "12.000345 read 512 at 4096: 41 us",
        "12.000387 write 1024 at 0 fua: 2000 us",
        "12.002387 zero 512 at 0 keep: 2000 us",
        "12.004387 trim 512 at 512: 2000 us",
        "12.006387 flush: 0 us",
        f"12.006387 extents {SIZE} at 0: 0 us",
        "12.006387 read 512 at 0: 0 us, [Errno 5] the read was told to fail",
        "12.006387 close: 0 us",
    ]


def test_stats_count_calls_bytes_errors_and_time() -> None:
    clock = Clock()
    block = Stats(Delay(memory(), clock.sleep, Times(read=30, write=500)), clock.now)
    block.read(0, 1024)
    block.write(0, bytes(4096))
    block.trim(0, 512)
    block.flush()
    assert list(block.extents(0, SIZE))
    block.block = Faulty(memory(), always, Rates(read_error=1.0))
    with pytest.raises(BlockError):
        block.read(0, 512)
    counted = {name: count for name, count in block.statistics().items() if count}
    assert counted == {
        "read-calls": 2, "read-bytes": 1024, "read-errors": 1, "read-nanoseconds": 30, "read-slowest": 30,
        "write-calls": 1, "write-bytes": 4096, "write-nanoseconds": 500, "write-slowest": 500,
        "trim-calls": 1, "trim-bytes": 512, "trim-nanoseconds": 500, "trim-slowest": 500,
        "flush-calls": 1, "extents-calls": 1, "extents-bytes": SIZE,
    }  # fmt: skip


def test_a_member_behind_wrappers_is_a_member() -> None:
    """Down to a Block and up again: nothing is lost, and what a wrapper does the member's user sees."""
    below = MemoryMember(SIZE)
    stats = Stats(MemberBlock(below), Clock().now)
    faulty = Faulty(stats, always, Rates())
    member = wrapped(faulty, below)
    member.write(3, b"abc")
    assert (member.name, member.size, member.read(2, 5), below.read(3, 3)) == (below.name, SIZE, b"\0abc\0", b"abc")
    member.sync()
    member.punch(0, 4096)
    block = MemberBlock(below)
    block.zero(0, 512, fua=True)
    assert below.read(0, 512) == bytes(512) and list(block.extents(0, SIZE)) == [Extent(0, SIZE, True)]
    assert [stats.statistics()[f"{kind}-calls"] for kind in ("read", "write", "flush", "trim")] == [1, 1, 1, 1]
    faulty.rates = Rates(flush_error=1.0)
    with pytest.raises(MemberError) as caught:
        member.sync()
    assert caught.value.errno == member.ended == errno.EIO and not below.ended
    assert member.check() is None
    member.close()
    with pytest.raises(MemberError):
        below.read(0, 1)


def test_limit_keeps_the_rate() -> None:
    clock = Clock()
    rate = 10 * SIZE
    block = Limit(memory(), clock.now, clock.sleep, bytes_per_second=rate)
    for _ in range(40):
        block.read(0, SIZE // 2)
        block.write(0, bytes(SIZE // 2))
    # 40 MiB at 10 MiB a second; a tenth of a second is in the bucket, and the last call leaves a debt of its own size.
    assert abs(clock.time - 4 * SECOND) <= BURST + SECOND // 20 + 1
    before = clock.time
    block.flush()
    block.trim(0, SIZE)
    clock.time += SECOND  # idle time is saved up to the size of the bucket only
    bucket = Bucket(1000, 0)
    assert [bucket.wait(100, SECOND) for _ in range(3)] == [0, 0, BURST]
    assert clock.time >= before


def test_limit_counts_calls() -> None:
    clock = Clock()
    block = Limit(memory(), clock.now, clock.sleep, calls_per_second=100)
    for _ in range(210):
        block.read(0, SECTOR)
    assert abs(clock.time - 2 * SECOND) <= SECOND // 100
    free = Limit(memory(), clock.now, clock.sleep)
    before = clock.time
    for _ in range(1000):
        free.write(0, bytes(SIZE))
    assert clock.time == before
