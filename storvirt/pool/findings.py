"""What a check of a pool has found, and what was mended at once.

Knows: findings, notes, writing what belongs there over what is bad. Refuses to know: what is right.

A *finding* is damage, or something that somebody must decide. A *note* is what a crash leaves behind by rights, and the
next opening puts in order. To mend is to write bytes that are known to belong there, over bytes that are known to be
wrong: what opening does, and what no crash in the middle makes worse.
"""

from __future__ import annotations

from typing import NamedTuple

from storvirt.backing.errors import MemberError
from storvirt.backing.member import Member

MOST = 10_000  # findings that are kept: more are counted only


class Finding(NamedTuple):
    """kind: of structure; member: its name, "" where it is of no single one; offset: bytes in it, -1 = none."""

    kind: str
    sentence: str
    member: str = ""
    offset: int = -1
    mended: bool = False


class Ledger:
    """repair: whether to mend. counts: what was looked at, by name."""

    def __init__(self, repair: bool = False) -> None:
        self.repair = repair
        self.findings: list[Finding] = []
        self.notes: list[str] = []
        self.counts: dict[str, int] = {}
        self.more = 0
        self._touched: dict[Member, None] = {}

    def count(self, what: str, number: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + number

    def note(self, sentence: str) -> None:
        if len(self.notes) < MOST:
            self.notes.append(sentence)

    def found(
        self, kind: str, sentence: str, member: Member | None = None, offset: int = -1, good: bytes = b""
    ) -> None:
        """good: what belongs there; given only where that is certain."""
        name = member.name if member is not None else ""
        mended = bool(good) and member is not None and self.write(member, offset, good)
        if len(self.findings) < MOST:
            self.findings.append(Finding(kind, sentence, name, offset, mended))
        else:
            self.more += 1

    def write(self, member: Member, offset: int, good: bytes) -> bool:
        """Whether it was written, which only a repair does."""
        if not self.repair:
            return False
        try:
            member.write(offset, good)
        except MemberError as error:
            self.note(f"it could not be mended: {error}")
            return False
        self._touched[member] = None
        return True

    def settle(self) -> None:
        """What was written is durable; a member that can't is a finding."""
        touched, self._touched = self._touched, {}
        for member in touched:
            try:
                member.sync()
            except MemberError as error:
                self.found("member", f"what was mended is not durable: {error}", member)
