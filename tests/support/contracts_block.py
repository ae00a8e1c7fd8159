"""What every storvirt.block.Block promises, as one executable contract.

Knows: the interface and its words. Refuses to know: which Block it has before it, and its size (64 KiB at least).
"""

from __future__ import annotations

import random
from collections.abc import Callable

from storvirt.block import BLOCK, SECTOR, Block
from storvirt.wrappers.checked import Checked

MakeBlock = Callable[[], Block]
ROUNDS = 300


def is_zeros_at_first(block: Block) -> None:
    assert block.size >= 16 * BLOCK and block.size % SECTOR == 0
    assert not block.read_only
    for offset in range(0, block.size, 1 << 20):
        length = min(1 << 20, block.size - offset)
        assert block.read(offset, length) == bytes(length)


def reads_back_what_was_written(block: Block) -> None:
    block.write(0, b"a" * BLOCK)
    block.write(BLOCK, bytearray(b"b" * BLOCK))  # type: ignore[arg-type]  # any contiguous buffer will do
    block.write(2 * BLOCK, memoryview(b"-" + b"c" * BLOCK)[1:])
    assert block.read(0, 3 * BLOCK) == b"a" * BLOCK + b"b" * BLOCK + b"c" * BLOCK
    assert isinstance(block.read(0, SECTOR), bytes)
    block.write(BLOCK, b"B" * BLOCK)
    assert block.read(BLOCK - SECTOR, 2 * SECTOR) == b"a" * SECTOR + b"B" * SECTOR


def one_sector_is_a_sector(block: Block) -> None:
    block.write(0, b"x" * 4 * BLOCK)
    for place in (SECTOR, BLOCK - SECTOR, BLOCK, 3 * BLOCK + 3 * SECTOR):
        block.write(place, b"y" * SECTOR)
        assert block.read(place - SECTOR, 3 * SECTOR) == b"x" * SECTOR + b"y" * SECTOR + b"x" * SECTOR
        block.write(place, b"x" * SECTOR)
    block.write(BLOCK - SECTOR, b"z" * 2 * SECTOR)
    assert block.read(0, 4 * BLOCK).count(b"z") == 2 * SECTOR


def keeps_no_reference_to_what_was_written(block: Block) -> None:
    data = bytearray(b"1" * BLOCK)
    block.write(0, memoryview(data))
    data[:] = b"2" * BLOCK
    assert block.read(0, BLOCK) == b"1" * BLOCK


def reaches_its_last_sector(block: Block) -> None:
    block.write(block.size - SECTOR, b"e" * SECTOR)
    assert block.read(block.size - 2 * SECTOR, 2 * SECTOR) == bytes(SECTOR) + b"e" * SECTOR
    block.trim(block.size - SECTOR, SECTOR)
    assert block.read(block.size - SECTOR, SECTOR) == bytes(SECTOR)


def nothing_is_a_length_too(block: Block) -> None:
    block.write(0, b"n" * BLOCK)
    for offset in (0, SECTOR, block.size):
        assert block.read(offset, 0) == b""
        block.write(offset, b"")
        block.write(offset, b"", fua=True)
        block.zero(offset, 0)
        block.zero(offset, 0, may_trim=False)
        block.trim(offset, 0)
        assert list(block.extents(offset, 0)) == []
    assert block.read(0, 2 * BLOCK) == b"n" * BLOCK + bytes(BLOCK)


def zeroed_and_trimmed_bytes_are_zeros(block: Block) -> None:
    calls: tuple[Callable[[int, int], None], ...] = (
        block.zero,
        block.trim,
        lambda offset, length: block.zero(offset, length, may_trim=False),
        lambda offset, length: block.zero(offset, length, fua=True),
        lambda offset, length: block.zero(offset, length, may_trim=False, fua=True),
        lambda offset, length: block.trim(offset, length, fua=True),
    )
    whole = 16 * BLOCK
    for call in calls:
        for begin, end in ((0, whole), (SECTOR, 2 * SECTOR), (BLOCK - SECTOR, 5 * BLOCK + SECTOR), (BLOCK, 2 * BLOCK)):
            block.write(0, b"q" * whole)
            call(begin, end - begin)
            assert block.read(0, whole) == b"q" * begin + bytes(end - begin) + b"q" * (whole - end)
            call(begin, end - begin)
            block.write(begin, b"r" * SECTOR)
            assert block.read(begin, SECTOR) == b"r" * SECTOR
    block.trim(0, block.size)
    assert block.read(0, whole) == bytes(whole)


def flush_and_fua_change_nothing_to_see(block: Block) -> None:
    block.flush()
    block.write(0, b"f" * BLOCK, fua=True)
    block.write(BLOCK + SECTOR, b"g" * SECTOR, fua=True)
    block.flush()
    block.flush()
    assert block.read(0, 2 * BLOCK) == b"f" * BLOCK + bytes(SECTOR) + b"g" * SECTOR + bytes(6 * SECTOR)


def extents_tell_the_truth(block: Block) -> None:
    """Order, gaps and neighbours are Checked's to see; here: a hole reads as zeros, and what is not zero is data."""
    dice = random.Random(17)
    size = min(block.size, 64 * BLOCK)
    for _ in range(12):
        place = dice.randrange(size // SECTOR) * SECTOR
        block.write(place, b"d" * min(dice.choice((SECTOR, BLOCK, 3 * BLOCK)), size - place))
        place = dice.randrange(size // SECTOR) * SECTOR
        block.trim(place, min(4 * BLOCK, size - place))
        for begin, end in ((0, size), (SECTOR, size - SECTOR), (place, size), (0, place), (place, place + SECTOR)):
            for extent in block.extents(begin, end - begin):
                assert extent.data or not any(block.read(extent.offset, extent.length))
    block.zero(0, BLOCK, may_trim=False)
    assert sum(extent.length for extent in block.extents(0, block.size)) == block.size


def behaves_like_a_bytearray(block: Block, rounds: int = ROUNDS) -> None:
    dice = random.Random(23)
    size = min(block.size, 1 << 20) // SECTOR
    model = bytearray(size * SECTOR)
    for number in range(rounds):
        first = dice.randrange(size)
        count = min(size - first, dice.choice((1, 2, 8, 9, 64, 100, 700)))
        begin, end = first * SECTOR, (first + count) * SECTOR
        call = dice.choice(("write", "write", "write", "zero", "trim", "read", "flush"))
        if call == "write":
            data = dice.randbytes(end - begin)
            block.write(begin, data, fua=dice.random() < 0.1)
            model[begin:end] = data
        elif call == "zero":
            block.zero(begin, end - begin, may_trim=dice.random() < 0.5, fua=dice.random() < 0.1)
            model[begin:end] = bytes(end - begin)
        elif call == "trim":
            block.trim(begin, end - begin)
            model[begin:end] = bytes(end - begin)
        elif call == "flush":
            block.flush()
        assert block.read(begin, end - begin) == model[begin:end], f"round {number}: {call} of [{begin}, {end})"
        if number % 50 == 49:
            for extent in block.extents(0, len(model)):
                assert extent.data or not any(model[extent.offset : extent.offset + extent.length])
    assert block.read(0, len(model)) == model


CHECKS: tuple[Callable[[Block], None], ...] = (
    is_zeros_at_first,
    reads_back_what_was_written,
    one_sector_is_a_sector,
    keeps_no_reference_to_what_was_written,
    reaches_its_last_sector,
    nothing_is_a_length_too,
    zeroed_and_trimmed_bytes_are_zeros,
    flush_and_fua_change_nothing_to_see,
    extents_tell_the_truth,
    behaves_like_a_bytearray,
)


def check_block(make_block: MakeBlock, checks: tuple[Callable[[Block], None], ...] = CHECKS) -> None:
    """`make_block()` gives a new block of zeros each time, 64 KiB or more; it is closed afterwards."""
    for check in checks:
        block = Checked(make_block())
        check(block)
        block.close()


def check_reopening(make_block: MakeBlock, reopen: Callable[[Block], Block]) -> None:
    """What was written, flushed or not, is there after `reopen(block)`, which closes the block and opens it again."""
    block = make_block()
    block.write(0, b"1" * 2 * BLOCK)
    block.flush()
    block.write(BLOCK, b"2" * SECTOR)
    block.write(5 * BLOCK, b"3" * 4 * BLOCK, fua=True)
    block.trim(6 * BLOCK, BLOCK)
    for _ in range(2):
        block = reopen(block)
        two = b"1" * BLOCK + b"2" * SECTOR + b"1" * (BLOCK - SECTOR)
        assert block.read(0, 3 * BLOCK) == two + bytes(BLOCK)
        assert block.read(5 * BLOCK, 4 * BLOCK) == b"3" * BLOCK + bytes(BLOCK) + b"3" * 2 * BLOCK
    block.close()
