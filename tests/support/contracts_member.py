"""What every member owes its pool, as one executable contract.

Knows: the promises of storvirt.backing.member. Refuses to know: which member it has before it.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable

import pytest

from storvirt.backing.errors import MemberError
from storvirt.backing.member import Member

SIZE = 65_536
MakeMember = Callable[[int], Member]


def reads_back_what_was_written(member: Member) -> None:
    assert member.size == SIZE
    assert member.read(0, SIZE) == bytes(SIZE)
    member.write(1, b"abc")
    member.write(SIZE - 2, bytearray(b"yz"))
    member.write(100, memoryview(b"--memory--")[2:-2])
    assert member.read(0, 5) == b"\0abc\0"
    assert member.read(99, 8) == b"\0memory\0"
    assert member.read(SIZE - 3, 3) == b"\0yz"
    member.sync()
    assert member.try_read(1, 3) in (b"abc", None)
    assert member.read(SIZE, 0) == b""
    member.write(SIZE, b"")


def passes_over_nothing_but_zeros(member: Member) -> None:
    member.write(40_000, b"x" * 5000)
    for offset, end in ((0, SIZE), (0, 40_001), (40_000, SIZE), (44_999, SIZE), (45_000, SIZE), (7, 7), (SIZE, SIZE)):
        found = member.data_from(offset, end)
        assert offset <= found <= end and member.read(offset, found - offset) == bytes(found - offset)


def stays_inside(member: Member) -> None:
    for offset, length in ((SIZE, 1), (SIZE - 1, 2), (2**63, 1), (2**64 - 1, 1), (1, 2**64 - 1)):
        for read in (member.read, member.try_read):
            with pytest.raises(MemberError) as caught:
                read(offset, length)
            assert caught.value.errno == errno.EIO
        with pytest.raises(MemberError) as caught:
            member.punch(offset, length)
        assert caught.value.errno == errno.EINVAL
    for offset in (SIZE - 1, SIZE, 2**63, 2**64 - 1):
        with pytest.raises(MemberError) as caught:
            member.write(offset, b"ab")
        assert caught.value.errno == errno.EINVAL
        assert str(caught.value).startswith(f"{member.name}: cannot write 2 bytes at offset {offset}: ")
        assert caught.value.name == member.name
    assert (member.size, member.read(0, SIZE)) == (SIZE, bytes(SIZE))


def behaves_like_a_bytearray(member: Member) -> None:
    dice, model = random.Random(3), bytearray(SIZE)
    for _ in range(300):
        offset = dice.randrange(SIZE)
        data = dice.randbytes(dice.randint(0, min(9000, SIZE - offset)))
        member.write(offset, data)
        model[offset : offset + len(data)] = data
        offset = dice.randrange(SIZE)
        length = dice.randint(0, SIZE - offset)
        assert member.read(offset, length) == model[offset : offset + length]
    assert member.read(0, SIZE) == model


def punches_only_where_it_is_told(member: Member) -> None:
    member.write(0, b"x" * SIZE)
    member.punch(8192, 16384)
    member.punch(40_001, 3)
    member.punch(5, 0)
    assert member.read(0, 8192) == b"x" * 8192
    assert member.read(24576, 40_001 - 24576) == b"x" * (40_001 - 24576)
    assert member.read(40_004, SIZE - 40_004) == b"x" * (SIZE - 40_004)
    assert len(member.read(0, SIZE)) == SIZE
    member.write(8192, b"again")
    assert member.read(8192, 5) == b"again"


def grows_with_zeros_and_shrinks(member: Member) -> None:
    member.write(0, b"x" * SIZE)
    member.resize(SIZE + 5000)
    assert member.size == SIZE + 5000
    assert member.read(SIZE - 1, 5001) == b"x" + bytes(5000)
    member.write(SIZE + 4999, b"!")
    member.resize(1000)
    with pytest.raises(MemberError):
        member.read(999, 2)
    member.resize(SIZE)
    assert member.read(998, SIZE - 998) == b"xx" + bytes(SIZE - 1000)


def is_dead_after_close(member: Member) -> None:
    assert member.check() is None
    member.close()
    member.close()
    calls: tuple[Callable[[], object], ...] = (
        lambda: member.read(0, 1),
        lambda: member.try_read(0, 1),
        lambda: member.write(0, b"x"),
        lambda: member.punch(0, 1),
        lambda: member.resize(5),
        member.sync,
    )
    for call in calls:
        with pytest.raises(MemberError) as caught:
            call()
        assert caught.value.errno == errno.EBADF


CHECKS: tuple[Callable[[Member], None], ...] = (
    reads_back_what_was_written,
    passes_over_nothing_but_zeros,
    stays_inside,
    behaves_like_a_bytearray,
    punches_only_where_it_is_told,
    grows_with_zeros_and_shrinks,
    is_dead_after_close,
)


def check_member(make_member: MakeMember) -> None:
    """`make_member(size)` gives a new member of zeros each time."""
    for check in CHECKS:
        member = make_member(SIZE)
        try:
            check(member)
        finally:
            member.close()
