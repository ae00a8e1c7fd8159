"""Members: one contract for all of them, and how errors of the one below come out on top."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from storvirt.backing.errors import NO_SPACE, MemberError
from storvirt.backing.file import FileMember
from storvirt.backing.member import Member, PythonMember
from storvirt.backing.memory import MemoryMember
from tests.support.contracts_member import CHECKS, MakeMember, check_member


@pytest.fixture
def make_file(tmp_path: Path) -> MakeMember:
    numbers = itertools.count()
    return lambda size: FileMember.create(tmp_path / f"m{next(numbers)}", size)


@pytest.fixture(params=["file", "memory", "python over memory", "python over python over file"])
def make_member(request: pytest.FixtureRequest, make_file: MakeMember) -> MakeMember:
    makers: dict[str, MakeMember] = {
        "file": make_file,
        "memory": MemoryMember,
        "python over memory": lambda size: PythonMember(MemoryMember(size), "m0"),
        "python over python over file": lambda size: PythonMember(PythonMember(make_file(size))),
    }
    return makers[request.param]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_contract(make_member: MakeMember, check: Callable[[Member], None]) -> None:
    check_member(make_member) if check is CHECKS[0] else check(make_member(65_536))


class Broken:
    """An inner object that fails as it is told."""

    size = 4096

    def __init__(self, **errors: BaseException) -> None:
        self.errors = errors
        self.calls: list[str] = []

    def _do(self, name: str) -> None:
        self.calls.append(name)
        if error := self.errors.get(name):
            raise error

    def read(self, offset: int, length: int) -> bytes:
        self._do("read")
        return b"r" * length

    def write(self, offset: int, data: bytes) -> None:
        self._do("write")

    def sync(self) -> None:
        self._do("sync")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ETIMEDOUT])
def test_errors_keep_their_number_and_name_the_member(number: int) -> None:
    original = OSError(number, "something")
    member = PythonMember(Broken(write=original), "/disks/d7")
    with pytest.raises(MemberError) as caught:
        member.write(512, b"12345")
    assert (caught.value.errno, caught.value.name) == (number, "/disks/d7")
    assert str(caught.value).startswith("/disks/d7: cannot write 5 bytes at offset 512: ")
    assert "Errno" not in str(caught.value)
    assert caught.value.__cause__ is original
    assert (number in NO_SPACE) == (number in (errno.ENOSPC, errno.EDQUOT))
    assert member.read(0, 1) == b"r" and member.ended == 0


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), OSError(), KeyboardInterrupt()], ids=repr)
def test_what_is_no_errno_becomes_eio_and_is_kept(error: BaseException) -> None:
    member = PythonMember(Broken(read=error), "m")
    with pytest.raises(MemberError) as caught:
        member.read(0, 1)
    assert caught.value.errno == errno.EIO
    assert member.raised is error


def test_a_short_answer_is_an_io_error() -> None:
    class Short(Broken):
        def read(self, offset: int, length: int) -> bytes:
            return b"x" * (length - 1)

    with pytest.raises(MemberError) as caught:
        PythonMember(Short()).read(0, 10)
    assert caught.value.errno == errno.EIO


def test_a_failed_sync_is_final() -> None:
    inner = Broken(sync=OSError(errno.EIO, ""))
    member = PythonMember(inner, "m")
    member.write(0, b"x")
    with pytest.raises(MemberError):
        member.sync()
    inner.errors.clear()
    del inner.calls[:]
    calls: list[Callable[[], None]] = [
        member.sync,
        lambda: member.write(0, b"x"),
        lambda: member.punch(0, 1),
        lambda: member.resize(9),
    ]
    for call in calls:
        with pytest.raises(MemberError) as caught:
            call()
        assert caught.value.errno == errno.EIO
    assert inner.calls == []
    assert member.ended == errno.EIO
    assert member.read(0, 2) == b"rr"


def test_read_only_members_take_no_writes(tmp_path: Path) -> None:
    FileMember.create(tmp_path / "m", 512).close()
    for member in (
        FileMember.open(tmp_path / "m", read_only=True),
        PythonMember(Broken(), read_only=True),
    ):
        assert member.read_only
        assert len(member.read(0, 512)) == 512
        calls: list[Callable[[Member], None]] = [
            lambda m: m.write(0, b"x"),
            lambda m: m.punch(0, 1),
            lambda m: m.resize(0),
        ]
        for call in calls:
            with pytest.raises(MemberError) as caught:
                call(member)
            assert caught.value.errno == errno.EROFS
        member.close()


@pytest.mark.parametrize("make", [lambda: MemoryMember(10), lambda: PythonMember(Broken())])
def test_numbers_below_zero_are_our_own_mistake(make: Callable[[], Member]) -> None:
    member = make()
    with pytest.raises(OverflowError):
        member.read(-1, 1)
    with pytest.raises(OverflowError):
        member.read(0, -1)
