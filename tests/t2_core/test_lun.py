"""The LUN: what an initiator may ask, what it is told, and requests that are not in whole sectors."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storvirt.backing.errors import MemberError
from storvirt.backing.memoryblock import MemoryBlock
from storvirt.block import BLOCK, SECTOR, BlockError
from storvirt.lun import SPOKEN, Limits, Lun
from storvirt.wrappers.checked import Checked
from storvirt.wrappers.through import Through

SIZE = 64 * SECTOR


class Recorder(Through):
    """What arrived below, and an error on demand."""

    def __init__(self, size: int = SIZE) -> None:
        super().__init__(Checked(MemoryBlock(size)))
        self.calls: list[tuple[Any, ...]] = []
        self.error: Exception | None = None

    def _record(self, *call: Any) -> None:
        self.calls.append(call)
        if self.error:
            raise self.error

    def read(self, offset: int, length: int) -> bytes:
        self._record("read", offset, length)
        return super().read(offset, length)

    def write(self, offset: int, data: bytes | memoryview, fua: bool = False) -> None:
        self._record("write", offset, len(data), fua)
        super().write(offset, data, fua)

    def zero(self, offset: int, length: int, may_trim: bool = True, fua: bool = False) -> None:
        self._record("zero", offset, length, may_trim, fua)
        super().zero(offset, length, may_trim, fua)

    def trim(self, offset: int, length: int, fua: bool = False) -> None:
        self._record("trim", offset, length, fua)
        super().trim(offset, length, fua)

    def flush(self) -> None:
        self._record("flush")

    def extents(self, offset: int, length: int) -> Any:
        self._record("extents", offset, length)
        return super().extents(offset, length)


@pytest.fixture
def below() -> Recorder:
    return Recorder()


@pytest.fixture
def lun(below: Recorder) -> Lun:
    return Lun(below, "lun0")


def test_whole_sectors_pass_straight_through(below: Recorder, lun: Lun) -> None:
    lun.read(SECTOR, SECTOR)
    lun.write(0, bytes(BLOCK), fua=True)
    lun.zero(SECTOR, BLOCK, may_trim=False, fua=True)
    lun.trim(0, SIZE)
    lun.flush()
    assert below.calls == [
        ("read", SECTOR, SECTOR),
        ("write", 0, BLOCK, True),
        ("zero", SECTOR, BLOCK, False, True),
        ("trim", 0, SIZE, False),
        ("flush",),
    ]


def test_an_odd_write_reads_its_edges_only(below: Recorder, lun: Lun) -> None:
    lun.write(100, b"x" * 5000, fua=True)
    assert below.calls == [("read", 0, 512), ("read", 4608, 512), ("write", 0, 5120, True)]
    del below.calls[:]
    lun.write(512, b"y" * 700)
    assert below.calls == [("read", 1024, 512), ("write", 512, 1024, False)]
    assert lun.read(90, 5100) == bytes(10) + b"x" * 412 + b"y" * 700 + b"x" * 3888 + bytes(90)


def test_an_odd_zero_with_fua_flushes_once(below: Recorder, lun: Lun) -> None:
    lun.write(0, b"x" * SIZE)
    del below.calls[:]
    lun.zero(500, 1100, fua=True)
    assert [call[0] for call in below.calls] == ["read", "write", "read", "write", "zero", "flush"]
    assert ("zero", 512, 1024, True, True) in below.calls
    del below.calls[:]
    lun.trim(600, 20, fua=True)
    assert [call[0] for call in below.calls] == ["read", "read", "write", "flush"]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["write", "zero", "keep", "trim", "read"]), st.integers(0, SIZE), st.integers(0, 3000)
        ),
        max_size=12,
    )
)
def test_any_bytes_behave_like_a_bytearray(calls: list[tuple[str, int, int]]) -> None:
    lun, model = Lun(Checked(MemoryBlock(SIZE)), "lun0"), bytearray(b"\x55" * SIZE)
    lun.write(0, bytes(model))
    for number, (call, offset, length) in enumerate(calls, 1):
        end = min(SIZE, offset + length)
        length = end - offset
        if call == "write":
            model[offset:end] = bytes([number]) * length
            lun.write(offset, bytes([number]) * length)
        elif call == "read":
            assert lun.read(offset, length) == model[offset:end]
        else:
            model[offset:end] = bytes(length)
            if call == "trim":
                lun.trim(offset, length)
            else:
                lun.zero(offset, length, may_trim=call == "zero")
        place = offset
        for extent in lun.extents(offset, length):
            assert extent.offset == place and extent.length > 0
            assert extent.data or not any(model[place : place + extent.length])
            place += extent.length
        assert place == end
    assert lun.read(0, SIZE) == model


Call = Callable[[Lun], object]


@pytest.mark.parametrize(
    ("call", "number", "words"),
    [
        (lambda n: n.read(SIZE - 1, 2), errno.EINVAL, f"read of 2 bytes at offset {SIZE - 1} passes the end at {SIZE}"),
        (lambda n: n.read(SIZE + 1, 0), errno.EINVAL, "passes the end"),
        (lambda n: n.read(2**64, 1), errno.EINVAL, "passes the end"),
        (lambda n: n.write(SIZE, b"x"), errno.ENOSPC, "passes the end"),
        (lambda n: n.zero(1, SIZE), errno.ENOSPC, "passes the end"),
        (lambda n: n.trim(0, SIZE + 1), errno.ENOSPC, "passes the end"),
        (lambda n: n.extents(0, SIZE + 1), errno.EINVAL, "block status of"),
        (lambda n: n.read(-1, 1), errno.EINVAL, "is no range"),
        (lambda n: n.read(0, -1), errno.EINVAL, "is no range"),
        (lambda n: n.read(0, 4097), errno.EINVAL, "is larger than a request may be (4096 bytes)"),
        (lambda n: n.write(0, bytes(4097)), errno.EINVAL, "is larger than a request may be (4096 bytes)"),
    ],
)
def test_the_rules_at_the_edge(below: Recorder, call: Call, number: int, words: str) -> None:
    with pytest.raises(BlockError) as caught:
        call(Lun(below, "lun0", limits=Limits(largest=4096)))
    assert caught.value.errno == number
    assert str(caught.value.strerror).startswith("lun0: ") and words in str(caught.value.strerror)
    assert below.calls == []


def test_zero_and_trim_carry_nothing_and_may_be_long(below: Recorder) -> None:
    lun = Lun(below, "lun0", limits=Limits(largest=4096))
    lun.zero(0, SIZE)
    lun.trim(0, SIZE)
    assert len(below.calls) == 2


@pytest.mark.parametrize("by_block", [True, False])
def test_read_only(below: Recorder, by_block: bool) -> None:
    below.read_only = by_block
    lun = Lun(below, "lun0", read_only=not by_block)
    assert lun.read_only
    calls: list[Call] = [lambda n: n.write(0, b"x"), lambda n: n.zero(0, 1), lambda n: n.trim(0, 1)]
    for call in calls:
        with pytest.raises(BlockError, match="the LUN is read-only") as caught:
            call(lun)
        assert caught.value.errno == errno.EPERM
    assert lun.read(0, 3) == bytes(3)
    lun.flush()


CALLS: list[Call] = [
    lambda n: n.read(5, 5),
    lambda n: n.write(5, b"x"),
    lambda n: n.write(0, bytes(SECTOR)),
    lambda n: n.zero(0, SECTOR),
    lambda n: n.zero(1, 1),
    lambda n: n.trim(0, SECTOR),
    lambda n: n.flush(),
    lambda n: list(n.extents(0, 5)),
]


@pytest.mark.parametrize("call", CALLS)
def test_errors_are_said_as_the_initiator_knows_them(below: Recorder, lun: Lun, call: Call) -> None:
    table = {
        errno.ENOSPC: errno.ENOSPC,
        errno.EDQUOT: errno.ENOSPC,
        errno.EIO: errno.EIO,
        errno.EROFS: errno.EPERM,
        errno.ENOMEM: errno.ENOMEM,
        errno.ETIMEDOUT: errno.EIO,
        errno.ESTALE: errno.EIO,
    }
    for number, said in table.items():
        below.error = MemberError(number, "m2", "m2: cannot read 512 bytes at offset 0: something")
        with pytest.raises(BlockError) as caught:
            call(lun)
        assert caught.value.errno == said
        assert said in SPOKEN
        assert caught.value.strerror == "lun0: m2: cannot read 512 bytes at offset 0: something"
    below.error = OSError()
    with pytest.raises(BlockError) as caught:
        call(lun)
    assert (caught.value.errno, caught.value.strerror) == (errno.EIO, "lun0: I/O error")


def test_our_own_mistakes_are_not_dressed_up(below: Recorder, lun: Lun) -> None:
    below.error = AssertionError("a seam is broken")
    with pytest.raises(AssertionError, match="a seam is broken"):
        lun.read(0, 1)


def test_nothing_works_after_close(below: Recorder, lun: Lun) -> None:
    lun.close()
    lun.close()
    for call in CALLS:
        with pytest.raises(BlockError, match="the LUN is closed") as caught:
            call(lun)
        assert caught.value.errno == errno.ESHUTDOWN
    assert below.calls == []
