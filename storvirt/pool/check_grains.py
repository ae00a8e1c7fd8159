"""Checking what grains hold: every column of them is read, every block verified, every copy and parity computed again.

Knows: which column lies, and what should be there. Refuses to know: how a grain was found (check_map.py, check_log.py).
"""

from __future__ import annotations

from storvirt.pool import format as f
from storvirt.pool.check_map import Entry
from storvirt.pool.findings import Ledger
from storvirt.pool.stripes import Judged, columns_of, grain_seed, judge, label
from storvirt.pool.view import View


class GrainCheck:
    """The grains of one volume."""

    def __init__(self, view: View, row: f.VolumeRow, ledger: Ledger) -> None:
        self._view, self._row, self._ledger = view, row, ledger

    def grain(self, entry: Entry, durable: bool = True) -> None:
        """durable: it had been flushed, or the map leads to it; else a crash may have left it half written."""
        view, slab = self._view, entry.slab
        self._ledger.count("grains read")
        seed = grain_seed(self._row.volume, entry.grain, entry.birth)
        judged = judge(slab, view.layout(slab), columns_of(slab, entry.slot), seed, entry.crcs)
        if durable:
            self._blocks(entry, judged)
            self._columns(entry, judged)
        elif judged.bad:
            self._ledger.note(f"{self._name(entry)} was being written when a crash came: the one before it counts")
        elif judged.wrong or judged.unreadable:
            self._ledger.note(f"{self._name(entry)} lacks columns since a crash: the next opening writes them")

    def _name(self, entry: Entry) -> str:
        return f"grain {entry.grain} of volume {self._row.name} (slab {entry.slab.number}, slot {entry.slot})"

    def _blocks(self, entry: Entry, judged: Judged) -> None:
        first = entry.grain * len(entry.crcs)
        for block in judged.given_up:
            self._ledger.found("grain", f"block {first + block} of volume {self._row.name} was lost before, and reads "
                                        "as an error; write it anew")  # fmt: skip
        if not judged.bad:
            return
        blocks = ", ".join(str(first + block) for block in judged.bad)
        lost = "s" if len(judged.bad) > 1 else ""
        # Which of its columns lie can't be told: the place of its first one stands for all of them.
        places = (
            (i, *self._view.place(entry.slab, i, entry.slot * entry.slab.column)) for i in range(entry.slab.width)
        )
        column, member, at = next(((i, m, a) for i, m, a in places if m is not None), (0, None, -1))
        where = f"; {label(self._view.layout(entry.slab), column)} is on {member.name}, at {at}" if member else ""
        self._ledger.found("grain", f"{self._name(entry)}: block{lost} {blocks} can't be had from any of its columns, "
                                    f"and {'are' if lost else 'is'} lost{where}", member, at)  # fmt: skip

    def _columns(self, entry: Entry, judged: Judged) -> None:
        layout, slab = self._view.layout(entry.slab), entry.slab
        for column in sorted({*judged.wrong, *judged.unreadable}):
            member, at = self._view.place(slab, column, entry.slot * slab.column)
            if member is None:
                continue
            what = "can't be read" if column in judged.unreadable else "is not what it should be"
            name = f"{label(layout, column)} of {self._name(entry)}"
            good = judged.expected[column] if judged.expected else b""
            if good:
                self._ledger.found("column", f"{member.name}: {name}, at {at}, {what}; the others make up for it",
                                   member, at, good)  # fmt: skip
            else:
                self._ledger.found("column", f"{member.name}: {name}, at {at}, {what}", member, at)
