"""Checking the log: records up to its end on every copy, and what a hole in it means.

Knows: what replay.py will find, and what of it had been flushed. Refuses to know: what an entry does to the map.

It walks as replay does: by sequence numbers, up to the first that is whole on no copy. What lies below the newest
FLUSHED was durable on all copies: a copy that lacks it is damage. Above it copies may differ after a crash, and the
next opening makes them equal: a note.
"""

from __future__ import annotations

from typing import NamedTuple

from storvirt.pool import format as f
from storvirt.pool.check_map import Entry
from storvirt.pool.findings import Ledger
from storvirt.pool.logcopy import LogCopy
from storvirt.pool.record import FLUSHED, SWITCH, parse
from storvirt.pool.record import Entry as Logged
from storvirt.pool.slab import Slab
from storvirt.pool.view import View


class Record(NamedTuple):
    """first: number of its first entry; at, end: bytes in its segment; good: a copy that has it; bad: copies that are
    there and do not."""

    first: int
    entries: list[Logged]
    slab: Slab
    at: int
    end: int
    good: int
    bad: tuple[int, ...]

    @property
    def after(self) -> int:
        return self.first + len(self.entries)


class LogCheck:
    """durable: entries below this number had been flushed; sequence: the number that comes next."""

    def __init__(self, view: View, ledger: Ledger) -> None:
        self._view, self._ledger = view, ledger
        self.records: list[Record] = []
        self.durable = 0
        self.sequence = view.commit.sequence

    def run(self) -> None:
        """Everything that is wrong goes to the ledger."""
        segments = self._view.commit.segments
        for number, row in enumerate(segments):
            at, expected = self._segment(row)
            ends_here = at < row.end and row.end > 1
            if (ends_here or not row.end) and not self._ended(number, row, at, expected):
                break
        self.durable = max((entry.where for one in self.records for entry in one.entries if entry.kind == FLUSHED),
                           default=0)  # fmt: skip
        for record in self.records:
            self._copies(record)
        listed = {row.slab for row in segments}
        for slab in self._view.slabs.values():
            if slab.use == f.LOG and slab.number not in listed:
                self._ledger.found("space", f"slab {slab.number} is for the log, and no segment of it is there")

    def switches(self, volume: f.VolumeRow) -> list[tuple[Entry, bool]]:
        """The grains of a volume that the log moved after the map was written, and whether they had been flushed."""
        found = []
        for record in self.records:
            for number, entry in enumerate(record.entries, record.first):
                if entry.kind != SWITCH or entry.volume != volume.volume or number < self._view.commit.sequence:
                    continue
                slab = self._view.slot(entry.arg >> 32, f.DATA, volume.grain, entry.arg & 0xFFFFFFFF)
                flushed = number < self.durable
                if slab is not None and len(entry.crcs) == volume.grain // 4096:
                    found.append((Entry(entry.where, slab, entry.arg & 0xFFFFFFFF, number, entry.crcs), flushed))
                elif flushed:
                    self._ledger.found(
                        "log", f"grain {entry.where} of volume {volume.name} was flushed to slab {entry.arg >> 32}, "
                        f"slot {entry.arg & 0xFFFFFFFF}, where no grain can be",
                    )  # fmt: skip
        return found

    # --- records

    def _segment(self, row: f.SegmentRow) -> tuple[int, int]:
        """(byte where it ends, number expected there)."""
        slab, at, expected = self._view.slabs[row.slab], 0, row.first
        while at < (row.end or self._view.extent):
            record = self._record(slab, at, expected)
            if record is None or record.end > (row.end or self._view.extent):
                break
            self.records.append(record)
            self._ledger.count("log records")
            at, expected = record.end, record.after
            self.sequence = max(self.sequence, expected)
        return at, expected

    def _record(self, slab: Slab, at: int, expected: int) -> Record | None:
        whole: dict[int, tuple[list[Logged], int]] = {}
        for copy in range(slab.width):
            data = self._copy(slab, copy).whole(at, expected)
            parsed = parse(data) if data is not None else None
            if data is not None and parsed is not None:
                whole[copy] = parsed[0], at + len(data)
        if not whole:
            return None
        good = min(whole)
        bad = tuple(n for n in range(slab.width) if n not in whole and not slab.missing >> n & 1)
        return Record(expected, whole[good][0], slab, at, whole[good][1], good, bad)

    def _copy(self, slab: Slab, copy: int) -> LogCopy:
        member, base = self._view.place(slab, copy, 0)
        return LogCopy(slab, copy, member, base, self._view.pool_id, self._view.extent)

    # --- its end

    def _ended(self, number: int, row: f.SegmentRow, at: int, expected: int) -> bool:
        """Whether later segments count. A hole with something flushed behind it is damage."""
        slab = self._view.slabs[row.slab]
        flushed = self._flushed_beyond(number, at)
        if flushed > expected:
            for column in range(slab.width):
                member, offset = self._view.place(slab, column, at)
                if member is not None:
                    self._ledger.found(
                        "log", f"{member.name}: the log's record {expected} (segment {row.slab}), at {offset}, is "
                        f"damaged on all copies, and entries up to {flushed} had been flushed: these writes are lost",
                        member, offset,
                    )  # fmt: skip
            return True
        if row.end:
            self._ledger.note(f"the log has a hole in segment {row.slab}, at byte {at}: a crash left it, and none of "
                              "what is behind it had been flushed")  # fmt: skip
        return not row.end

    def _flushed_beyond(self, number: int, at: int) -> int:
        """Entries below this number had been flushed, say whole records from there on."""
        most = 0
        for later, row in enumerate(self._view.commit.segments[number:]):
            slab, start = self._view.slabs[row.slab], 0 if later else at
            for copy in range(slab.width):
                most = max(most, self._copy(slab, copy).flushed(start))
        return most

    def _copies(self, record: Record) -> None:
        """Of a record that is whole on one copy."""
        good = record.slab.piece(record.good, record.at, record.end - record.at)
        for copy in record.bad:
            member, offset = self._view.place(record.slab, copy, record.at)
            if member is None or good is None:
                continue
            where = f"{member.name}: the copy of the log's record {record.first}, at {offset},"
            if record.after <= self.durable or record.after <= self._view.commit.sequence:
                self._ledger.found("copy", f"{where} is damaged; another one is whole", member, offset, good)
            else:
                self._ledger.note(f"{where} is not there: the next opening writes it")
