"""Members that fetch ahead, and syncs of two threads at once."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from storvirt.backing.errors import MemberError
from storvirt.backing.file import FileMember
from storvirt.backing.member import Member, PythonMember
from storvirt.backing.memory import MemoryMember
from tests.support.coldmember import PAGE, ColdFile

MIB = 1 << 20


def test_what_is_not_in_memory_is_fetched_and_can_be_read_then(tmp_path: Path) -> None:
    member = FileMember.create(tmp_path / "m", 4 * MIB)
    member.write(0, os.urandom(MIB))
    member.sync()
    assert not member.fetch(0, MIB)
    os.posix_fadvise(member.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    for _ in range(100_000):  # a file system may be all in memory; else the page comes when the disk has it
        if not member.fetch(123 * PAGE + 1, PAGE):
            break
    assert member.try_read(123 * PAGE + 1, PAGE) == member.read(123 * PAGE + 1, PAGE)


def test_only_what_lies_inside_an_open_member_is_fetched(tmp_path: Path) -> None:
    member = FileMember.create(tmp_path / "m", MIB)
    for offset, length in ((MIB, 1), (MIB - 1, 2), (2**63, 1), (1, 2**64 - 1)):
        assert not member.fetch(offset, length)
    assert not member.fetch(MIB, 0)
    member.close()
    assert not member.fetch(0, PAGE)
    assert not MemoryMember(MIB).fetch(0, PAGE)


def test_a_wrapper_passes_on_what_is_in_memory() -> None:
    file = ColdFile(MIB)
    file.cool()
    member: Member = PythonMember(PythonMember(file))
    assert member.try_read(PAGE, PAGE) is None
    assert member.fetch(PAGE, 2 * PAGE) and file.asked == [1, 2] and not file.waited
    file.arrive()
    assert not member.fetch(PAGE, 2 * PAGE)
    assert member.try_read(PAGE, PAGE) == bytes(PAGE)
    assert member.read(3 * PAGE, 1) == b"\0" and file.waited == [3]


class Crossing(ColdFile):
    """While one fsync is under way another one begins and ends; `results`: what the kernel says to them, in order of
    their ends."""

    def __init__(self, *results: int) -> None:
        super().__init__(MIB)
        self.results = list(results)
        self.member: PythonMember | None = None
        self.inner: BaseException | None = None

    def sync(self) -> None:
        member, self.member = self.member, None
        if member is not None:
            try:
                member.sync()
            except MemberError as error:
                self.inner = error
        number = self.results.pop(0)
        if number:
            raise OSError(number, os.strerror(number))


@pytest.mark.parametrize("results", [(errno.EIO, 0), (0, errno.EIO), (errno.EIO, errno.ENOSPC)])
def test_the_error_of_one_of_two_syncs_is_final(results: tuple[int, int]) -> None:
    file = Crossing(*results)
    file.member = member = PythonMember(file)
    with pytest.raises(MemberError) as caught:
        member.sync()
    assert caught.value.errno == member.ended == errno.EIO
    assert (file.inner is None) == (results[0] == 0)
    with pytest.raises(MemberError):
        member.write(0, b"x")
