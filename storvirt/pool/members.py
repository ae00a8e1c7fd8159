"""Who is in: the member table, the commit ring, making members durable, and losing them.

Knows: that a number of the ring is bound to its bytes for ever, whose trouble a failed write is, what must be on all
members before a loss counts. Refuses to know: slabs, log and maps (pool.py fills in what a commit record says).

Everything here may be called again after Suspended: a record that only some members have is written to the others, with
the same bytes, before there is another one; a member is out only when all others have the record that says so.

Who asked for a record that came to Suspended goes on as if it had not asked, and the record is there all the same,
perhaps on some members: it is *called off*. The next one says so, and comes before anything is durable or space is used
that was given up with it. A record is for those that it calls in: a member whose loss was too much has not the one that
was to call it out, lacks perhaps the one before, too, and counts again with the next one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Set

from storvirt.backing.errors import NO_SPACE, UNHEARD, MemberError
from storvirt.backing.member import Member
from storvirt.pool import format as f
from storvirt.pool.errors import PoolError, Suspended

NOT_DURABLE = 13  # commit records in a row that need not be durable, of 16 places in the ring
CROWDED = 10  # of these may be for new slabs and segments where fsyncs are made apart; the others are for losses


class Members(ABC):
    """members: by number, None where one is missing or out. number, parent: of the newest commit record."""

    def __init__(self, super_: f.Superblock, members: list[Member | None], commit: f.Commit, parent: bytes) -> None:
        self.name = super_.name
        self.pool_id = super_.pool
        self.extent = super_.extent
        self.members = members
        self.rows = list(commit.members)
        self.number = commit.number
        self.durable = commit.durable
        self.parent = parent
        self._hashes = {commit.number: parent}  # of the records since the newest one that is known to be durable
        self.known = dict(self._hashes)  # hashes of records that a member which comes back may have as its newest one
        self.spares: dict[int, Member] = {}  # by number: empty, and not written to
        self.joining: set[int] = set()  # numbers of members that are written, and not read yet
        self.events: list[str] = []
        # Fsyncs are made by flush.begin(), sync() and end(), the middle one perhaps in another thread: no request waits
        # for them in here. settle() waits for those that are under way.
        self.apart = False
        self.awaited = False  # somebody waits for a checkpoint
        self.settle: Callable[[], None] = lambda: None
        self.written = commit.durable  # the newest record that every member had which is in, or a later one
        self._unfinished: bytes | None = None  # record `number`, while one that it is for may lack it
        self._told = self._called_in()  # whom it is for
        self._called_off = 0  # the newest record that was

    @abstractmethod
    def commit_value(self) -> f.Commit:
        """What the next commit record says."""

    @abstractmethod
    def member_lost(self, number: int) -> None:
        """A member is out, and recorded as such."""

    @abstractmethod
    def bearable(self, lost: Set[int]) -> bool:
        """Whether these members may be lost, too: the pool can be opened again and redundant volumes can be read."""

    def present(self) -> dict[int, Member]:
        """The members that are in, by number."""
        pairs = enumerate(zip(self.rows, self.members, strict=True))
        return {number: member for number, (row, member) in pairs if row.state == f.IN and member is not None}

    def _called_in(self) -> frozenset[int]:
        return frozenset(number for number, row in enumerate(self.rows) if row.state == f.IN)

    def member_name(self, number: int) -> str:
        member = self.members[number]
        member = member or self.spares.get(number)
        return member.name if member is not None else f"number {number}"

    # --- losing members

    def lose(self, number: int, why: str) -> None:
        """One member is out: see lose_all()."""
        self.lose_all({number: why})

    def lose_all(self, reasons: Mapping[int, str]) -> None:
        """These members are out from now on, and all others say so before anything else is answered.

        Raises Suspended, and then they are as before: if nothing would be left of the log, the map or a redundant
        volume, to wait is better than to call them out. (Who knows better opens the pool degraded.)
        """
        reasons = {number: why for number, why in reasons.items() if self.rows[number].state == f.IN}
        if not reasons:
            return
        if not self.present().keys() - reasons.keys() or not self.bearable(reasons.keys()):
            names = ", ".join(map(self.member_name, reasons))
            why = next(iter(reasons.values()))
            raise Suspended(
                f"pool {self.name} waits: it can't do without {names} ({why}); it goes on when that is mended"
            )
        before, durable = {number: self.rows[number] for number in reasons}, (self.durable, self.written)
        self.known.update(self._hashes)
        for number, row in before.items():
            self.rows[number] = self._called_out(number, row)
        try:
            self.write_commit()
        except BaseException:
            for number, row in before.items():
                self.rows[number] = row
            self.durable, self.written = durable  # of them, too
            raise
        for number, why in reasons.items():
            self._gone(number, why)

    def _gone(self, number: int, why: str) -> None:
        self.events.append(f"member {self.member_name(number)} is out: {why}")
        self.members[number] = None
        self.member_lost(number)

    def _called_out(self, number: int, row: f.MemberRow) -> f.MemberRow:
        """One whose fsync failed is never believed again, whoever opens the pool."""
        member = self.members[number]
        ended = member is not None and member.ended and member.ended not in UNHEARD and row.successor == f.NOBODY
        successor = f.ENDED if ended else row.successor
        return row._replace(state=f.OUT, since=self.number + 1, successor=successor)

    # --- the commit ring

    def write_commit(self) -> None:
        """A new commit record on every member that is in; durable with the next sync. Raises Suspended, PoolError."""
        self._finish_commit()
        if self._overdue():
            self._sync()
        if self._overdue():
            # Some member took no record for that long. The newest one, which all others have, does not call it in.
            for number in self.present().keys() - self._told:
                self.rows[number] = self.rows[number]._replace(state=f.OUT, since=self.number)
                self._gone(number, "it took none of the newest commit records")
            self.written = self.number
            self._sync()
        try:
            record = f.pack_commit(self.commit_value())
        except f.FormatError as error:
            raise PoolError(f"pool {self.name}: {error}") from None
        self.number += 1
        self.parent = f.commit_hash(record)
        self._hashes = {n: digest for n, digest in self._hashes.items() if n >= self.durable}
        self._hashes[self.number] = self.parent
        self._unfinished, self._told = record, self._called_in()
        try:
            self._finish_commit()
        except BaseException:
            self._called_off = self.number
            raise

    def _overdue(self) -> bool:
        return self.number + 1 - self.durable > NOT_DURABLE

    def adopt_commit(self, record: bytes) -> None:
        """The record that the pool was opened with may be on some members only: now it is durable on all."""
        self._unfinished, self._told = record, self._called_in()
        self._finish_commit()
        self.sync_members()

    def agree(self) -> None:
        """The newest record says what is so, which is not durable yet. Raises Suspended, PoolError."""
        if self._called_off == self.number:
            self.write_commit()

    def make_sure(self) -> None:
        """No record that was called off is believed after a crash, so what it leads to may be used for something else.
        Raises Suspended."""
        if self._called_off > self.durable:
            self.sync_members()

    def _finish_commit(self) -> None:
        """The newest record is on every member that it is for."""
        record, own = self._unfinished, self.number
        if record is None:
            return
        failed = {}
        for number, member in self.present().items():
            try:
                if number in self._told:
                    member.write(f.RING_AT + own % f.RING_PLACES * f.RING_PLACE_SIZE, record)
            except MemberError as error:
                if error.errno in NO_SPACE and not member.ended:
                    raise Suspended(f"pool {self.name} waits: {error}; make room and it goes on") from None
                failed[number] = str(error)
        self._unfinished = None
        if not failed and self.present().keys() <= self._told:
            self.written = own
        try:
            self.lose_all(failed)
        except BaseException:
            if self.number == own:  # else there is a newer one, and those who failed this one are not told of it
                self._unfinished = record
            raise

    # --- durable

    @property
    def witness(self) -> tuple[int, bytes]:
        """(number, hash) of the newest record that is known to be durable on all members: whoever remembers it knows
        members of an earlier time or of another history when he sees them. The hash is b"" while it is not known."""
        return self.durable, self._hashes.get(self.durable, b"")

    @property
    def crowded(self) -> bool:
        """Whether what is written now should be made durable before more records are."""
        return self.number + 1 - self.durable > CROWDED

    def sync_members(self) -> None:
        """Everything written so far is durable afterwards on every member that is still in. Raises Suspended.

        Never beside other fsyncs: an error is told to one of two callers only, and the other one would believe.
        """
        self.agree()
        self._sync()

    def _sync(self) -> None:
        self.settle()
        while True:
            number, failed = self.written, {}
            for place, member in self.present().items():
                try:
                    member.sync()
                except MemberError as error:
                    failed[place] = error
            self.durable_now(number, failed)
            if not failed:
                return

    def durable_now(self, number: int, failed: Mapping[int, MemberError]) -> None:
        """All members that are in were synced when `number` was `written`, but for those that failed. Raises Suspended.

        A loss here must be durable, too, before anything is promised: then sync again.
        """
        if failed:
            # The kernel may have dropped what it could not write, and says so once only: this member is never believed
            # again, not even after ENOSPC.
            self.lose_all({place: f"fsync failed ({error})" for place, error in failed.items()})
        else:
            self.durable = max(self.durable, number)
