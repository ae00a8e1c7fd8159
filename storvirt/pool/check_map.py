"""Checking the map of each volume, as it lies: pages, what they point to, who uses a slot.

Knows: pages and their copies, what an entry may say. Refuses to know: the log (check_log.py), what grains hold
(check_grains.py).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from storvirt.pool import format as f
from storvirt.pool.findings import Ledger
from storvirt.pool.slab import Slab
from storvirt.pool.stripes import BLOCK
from storvirt.pool.view import View
from storvirt.raid.kernels import crc32c
from storvirt.volume.map import PAGE, PER_PAGE

PAGE_HEAD = 64
_HEAD = struct.Struct("<4sIIIQ")
_POINTER = struct.Struct("<IIIIQ")
_ENTRY = struct.Struct("<IIQ")


class Entry(NamedTuple):
    """A grain that has a slot."""

    grain: int
    slab: Slab
    slot: int
    birth: int
    crcs: tuple[int, ...]


class Page(NamedTuple):
    """What a pointer says of a page: level, number in its level, and the pointer."""

    level: int
    number: int
    pointer: f.PagePointer


class MapCheck:
    """The map of one volume. Everything that is wrong goes to the ledger, on the first walk only."""

    def __init__(self, view: View, row: f.VolumeRow, ledger: Ledger) -> None:
        self._view, self._row, self._ledger = view, row, ledger
        self._blocks = row.grain // BLOCK
        self._entry = struct.Struct(f"<IIQ{self._blocks}I")
        self._per_leaf = (PAGE - PAGE_HEAD) // self._entry.size
        self._grains = -(-row.size // row.grain)

    def run(self) -> int:
        """How many grains have a slot."""
        return sum(1 for _ in self._walk(self._checked_page, self._checked_entry))

    def entries(self) -> Iterator[Entry]:
        """Those that lead to a slot, read once more."""
        return self._walk(self._page, self._known_entry)

    def _walk(
        self, load: Callable[[Page], bytes | None], judged: Callable[[int, tuple[int, ...]], Entry | None]
    ) -> Iterator[Entry]:
        pages = [Page(self._row.levels, 0, self._row.root)] if self._row.root.slab else []
        while pages:
            page = pages.pop()
            data = load(page)
            if data is None:
                continue
            if page.level:
                pages += reversed(self._below(page, data))
                continue
            first = page.number * self._per_leaf
            for i in range(min(self._per_leaf, self._grains - first)):
                values = self._entry.unpack_from(data, PAGE_HEAD + i * self._entry.size)
                entry = judged(first + i, values)
                if entry is not None:
                    yield entry

    def _below(self, page: Page, data: bytes) -> list[Page]:
        found = []
        most = -(-self._grains // self._per_leaf)
        for _ in range(1, page.level):
            most = -(-most // PER_PAGE)
        for i in range(PER_PAGE):
            slab, slot, crc, _, birth = _POINTER.unpack_from(data, PAGE_HEAD + i * _POINTER.size)
            number = page.number * PER_PAGE + i
            if slab and number < most:
                found.append(Page(page.level - 1, number, f.PagePointer(slab, slot, crc, birth)))
        return found

    # --- pages

    def _page(self, page: Page) -> bytes | None:
        """The bytes of a page from any copy; None for one that is lost or another's."""
        pointer = page.pointer
        slab = self._view.slot(pointer.slab, f.META, PAGE, pointer.slot)
        if slab is None:
            return None
        copies = (slab.column_bytes(pointer.slot, column) for column in range(slab.width))
        good = next((copy for copy in copies if copy is not None and crc32c(0, copy) == pointer.crc), None)
        return good if good is not None and self._is(page, good) else None

    def _is(self, page: Page, data: bytes) -> bool:
        return _HEAD.unpack_from(data) == (b"VFPG", self._row.volume, page.level, 0, page.number)

    def _checked_page(self, page: Page) -> bytes | None:
        ledger, pointer = self._ledger, page.pointer
        ledger.count("pages")
        slab = self._view.slot(pointer.slab, f.META, PAGE, pointer.slot)
        name = self._name(page)
        if slab is None:
            ledger.found(
                "map", f"{name} is said to be in slab {pointer.slab}, slot {pointer.slot}, where no page can be"
            )
            return None
        if not self._view.claim(slab, pointer.slot):
            ledger.found("map", f"{name} is in slab {pointer.slab}, slot {pointer.slot}, which is used twice")
        if pointer.birth > self._view.commit.sequence:
            ledger.found("map", f"{name} is of entry {pointer.birth}, and the newest in the map is below "
                                f"{self._view.commit.sequence}")  # fmt: skip
        data = self._any_copy(page, slab, name)
        if data is not None and not self._is(page, data):
            ledger.found("map", f"{name} holds something else, though its checksum is right: {self._lost(page)}")
            return None
        return data

    def _any_copy(self, page: Page, slab: Slab, name: str) -> bytes | None:
        pointer = page.pointer
        copies = [slab.column_bytes(pointer.slot, column) for column in range(slab.width)]
        good = next((copy for copy in copies if copy is not None and crc32c(0, copy) == pointer.crc), None)
        for column, copy in enumerate(copies):
            member, at = self._view.place(slab, column, pointer.slot * slab.column)
            if member is None or copy == good:
                continue
            what = "can't be read" if copy is None else "is damaged"
            if good is None:
                self._ledger.found("map", f"{name} {what} on {member.name}, at {at}, and no other copy is whole: "
                                          f"{self._lost(page)}", member, at)  # fmt: skip
            else:
                self._ledger.found("copy", f"{member.name}: the copy of {name}, at {at}, {what}; another one is whole",
                                   member, at, good)  # fmt: skip
        if good is None and all(self._view.place(slab, column, 0)[0] is None for column in range(slab.width)):
            self._ledger.found("map", f"{name} is on members only that are missing: {self._lost(page)}")
        return good

    def _name(self, page: Page) -> str:
        return f"the map page of volume {self._row.name} (level {page.level}, number {page.number})"

    def _lost(self, page: Page) -> str:
        """What is lost without a page."""
        span = self._per_leaf * PER_PAGE**page.level * self._row.grain
        return f"bytes {page.number * span} to {min((page.number + 1) * span, self._row.size) - 1} can't be read"

    # --- entries

    def _known_entry(self, grain: int, values: tuple[int, ...]) -> Entry | None:
        number, slot, birth, *crcs = values
        slab = self._view.slot(number, f.DATA, self._row.grain, slot) if number else None
        return Entry(grain, slab, slot, birth, tuple(crcs)) if slab is not None else None

    def _checked_entry(self, grain: int, values: tuple[int, ...]) -> Entry | None:
        number, slot, birth, *_ = values
        name = f"grain {grain} of volume {self._row.name}"
        if birth >= self._view.commit.sequence:
            self._ledger.found("map", f"{name} is of entry {birth}, and the map holds those below "
                                      f"{self._view.commit.sequence} only")  # fmt: skip
        if not number:
            return None
        self._ledger.count("grains")
        entry = self._known_entry(grain, values)
        if entry is None:
            self._ledger.found("map", f"{name} is said to be in slab {number}, slot {slot}, where no grain can be")
        elif not self._view.claim(entry.slab, slot):
            self._ledger.found("map", f"{name} is in slab {number}, slot {slot}, which is used twice")
        return entry
