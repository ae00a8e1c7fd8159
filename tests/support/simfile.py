"""SimFile: a file and what the disk below it has, so that the power can fail at any moment.

Knows: the page cache's content, the durable content, and for each 512-byte sector every content that it had since its
last sync: after a loss of power a sector is as one of these, or as it was. So writes to one sector apply in the order
they were issued or not at all, and there is no other order between sectors or files.
Refuses to know: when a crash comes, and which sectors it takes (crashdisk.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

SECTOR = 512
PAGE = 4096
SIZE = -1  # the file's size is decided like a sector of its own
_ZEROS = bytes(PAGE)


class Change(NamedTuple):
    """One write, resize or punch that no sync has made durable: which sectors it touched, and as which version."""

    what: str
    versions: dict[int, int]


class SimFile:
    """Offsets, lengths and size in bytes. Pages that are all zeros are not kept."""

    def __init__(self, size: int, pages: dict[int, bytes] | None = None) -> None:
        self.size = size
        self.pages = pages or {}
        self.durable_size = size
        self.durable = dict(self.pages)
        self.history: dict[int, list[bytes]] = {}  # sector -> contents since the last sync, oldest first
        self.sizes: list[int] = []
        self.pending: list[Change] = []
        self.forgotten: set[int] = set()  # sectors that a failed sync dropped: no later sync makes them durable

    def copy(self) -> SimFile:
        other = SimFile(self.size, dict(self.pages))
        other.durable_size, other.durable = self.durable_size, dict(self.durable)
        other.history = {sector: list(contents) for sector, contents in self.history.items()}
        other.sizes, other.pending, other.forgotten = list(self.sizes), list(self.pending), set(self.forgotten)
        return other

    def read(self, offset: int, length: int) -> bytes:
        if offset + length > self.size:
            raise AssertionError(f"{length} bytes at {offset} are read from a file of {self.size}")
        return _read(self.pages, offset, length)

    def write(self, offset: int, data: bytes, what: str = "write") -> None:
        if offset + len(data) > self.size:
            raise AssertionError(f"{len(data)} bytes are written at {offset} to a file of {self.size}")
        if not data:
            return
        _write(self.pages, offset, data)
        versions = {}
        for sector in range(offset // SECTOR, (offset + len(data) - 1) // SECTOR + 1):
            contents = self.history.setdefault(sector, [])
            contents.append(_read(self.pages, sector * SECTOR, SECTOR))
            versions[sector] = len(contents)
            self.forgotten.discard(sector)
        self.pending.append(Change(f"{what} of {len(data)} bytes at {offset}", versions))

    def punch(self, offset: int, length: int) -> None:
        self.write(offset, bytes(length), "punch")

    def resize(self, size: int) -> None:
        if size < self.size:
            _cut(self.pages, size)
        self.size = size
        self.sizes.append(size)
        self.pending.append(Change(f"resize to {size}", {SIZE: len(self.sizes)}))

    def sync(self) -> None:
        durable = dict(self.pages)
        for sector in self.forgotten:
            _write(durable, sector * SECTOR, _read(self.durable, sector * SECTOR, SECTOR))
        self.durable, self.durable_size = durable, self.size
        self.sizes.clear()
        self.history = {sector: self.history[sector] for sector in self.forgotten}
        left = (change._replace(versions=_only(change.versions, self.forgotten)) for change in self.pending)
        self.pending = [change for change in left if change.versions]

    def fail_sync(self) -> None:
        """As Linux does when writing back fails: the pages are called clean, and the next sync says all is well."""
        self.forgotten.update(self.history)

    def close(self) -> None:
        """Nothing: the page cache stays."""

    def after_power_loss(self, survived: Mapping[int, int]) -> SimFile:
        """Sector n as its version survived[n] (from 1), every other one as it was at the last sync."""
        pages = dict(self.durable)
        size = self.sizes[survived[SIZE] - 1] if survived.get(SIZE) else self.durable_size
        for sector, version in survived.items():
            if sector != SIZE and version:
                _write(pages, sector * SECTOR, self.history[sector][version - 1])
        _cut(pages, size)
        return SimFile(size, pages)

    def choices(self) -> dict[int, int]:
        """How many versions each sector has that is not durable."""
        found = {sector: len(contents) for sector, contents in self.history.items()}
        return found | ({SIZE: len(self.sizes)} if self.sizes else {})


def _only(versions: dict[int, int], sectors: Iterable[int]) -> dict[int, int]:
    return {sector: versions[sector] for sector in sectors if sector in versions}


def _read(pages: Mapping[int, bytes], offset: int, length: int) -> bytes:
    first, last = offset // PAGE, (offset + length + PAGE - 1) // PAGE
    start = offset - first * PAGE
    if last - first == 1:
        return pages.get(first, _ZEROS)[start : start + length]
    return b"".join(pages.get(page, _ZEROS) for page in range(first, last))[start : start + length]


def _write(pages: dict[int, bytes], offset: int, data: bytes) -> None:
    done = 0
    while done < len(data):
        page, start = divmod(offset + done, PAGE)
        piece = data[done : done + PAGE - start]
        old = pages.get(page, _ZEROS)
        new = old[:start] + piece + old[start + len(piece) :]
        if new == _ZEROS:
            pages.pop(page, None)
        else:
            pages[page] = new
        done += len(piece)


def _cut(pages: dict[int, bytes], size: int) -> None:
    """What lies behind `size` is zero if the file grows again."""
    for page in [page for page in pages if page * PAGE + PAGE > size]:
        pages[page] = pages[page][: max(0, size - page * PAGE)].ljust(PAGE, b"\0")
        if pages[page] == _ZEROS:
            del pages[page]
