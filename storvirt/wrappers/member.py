"""A member as a Block, so that wrappers can stand before it; and any Block as a member's inner object.

Knows: which call of one is which of the other. Refuses to know: which wrappers stand between. Between the two every
request takes the way through Python, one at a time: a member is wrapped to be harmed or watched, not for every day.
"""

from __future__ import annotations

from collections.abc import Iterator

from storvirt.backing.member import Member, PythonMember
from storvirt.block import Block, Extent


class MemberBlock:
    """A member behind the Block interface, at any byte. What was trimmed is not promised to read as zeros."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.size = member.size
        self.read_only = member.read_only

    def read(self, offset: int, length: int) -> bytes:
        return self.member.read(offset, length)

    def write(self, offset: int, data: bytes | memoryview, fua: bool = False) -> None:
        self.member.write(offset, data)
        if fua:
            self.member.sync()

    def zero(self, offset: int, length: int, may_trim: bool = True, fua: bool = False) -> None:
        self.write(offset, bytes(length), fua)

    def trim(self, offset: int, length: int, fua: bool = False) -> None:
        self.member.punch(offset, length)

    def flush(self) -> None:
        self.member.sync()

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """A member does not know: all of it is data."""
        if length:
            yield Extent(offset, length, True)

    def close(self) -> None:
        self.member.close()


class _Inner:
    """What PythonMember asks of its inner object, answered by a Block; `member`: the one below it all."""

    def __init__(self, block: Block, member: Member) -> None:
        self.block, self.member, self.size = block, member, block.size

    def read(self, offset: int, length: int) -> bytes:
        return self.block.read(offset, length)

    def write(self, offset: int, data: bytes) -> None:
        self.block.write(offset, data)

    def sync(self) -> None:
        self.block.flush()

    def punch(self, offset: int, length: int) -> None:
        self.block.trim(offset, length)

    def check(self) -> str | None:
        return self.member.check()

    def close(self) -> None:
        self.block.close()


def wrapped(block: Block, member: Member) -> PythonMember:
    """`member` through the wrappers that end in `block`; closing it closes the member."""
    return PythonMember(_Inner(block, member), member.name, member.read_only)
