"""A member in memory that plays a file whose pages are on a disk: what is not in memory is told, fetched, waited for.

Knows: which pages are in memory, in which order it was asked for others. Refuses to know: who asks.
"""

from __future__ import annotations

import errno
import os

PAGE = 4096


class ColdFile:
    """The `inner` of a PythonMember. `full`: writes fail as on a full file system."""

    def __init__(self, size: int) -> None:
        self.bytes = bytearray(size)
        self.full = False
        self.cold: set[int] = set()
        self.asked: list[int] = []  # cold pages that were to be fetched
        self.waited: list[int] = []  # cold pages that somebody waited for

    @property
    def size(self) -> int:
        return len(self.bytes)

    def cool(self) -> None:
        """Nothing is in memory."""
        self.cold = set(range(self.size // PAGE))
        self.asked, self.waited = [], []

    def arrive(self) -> None:
        """What was asked for is in memory."""
        self.cold.difference_update(self.asked)

    def _missing(self, offset: int, length: int) -> list[int]:
        return [page for page in range(offset // PAGE, -(-(offset + length) // PAGE)) if page in self.cold]

    def read(self, offset: int, length: int) -> bytes:
        missing = self._missing(offset, length)
        self.waited += missing
        self.cold.difference_update(missing)
        return bytes(self.bytes[offset : offset + length])

    def try_read(self, offset: int, length: int) -> bytes | None:
        return None if self._missing(offset, length) else self.read(offset, length)

    def fetch(self, offset: int, length: int) -> bool:
        missing = self._missing(offset, length)
        self.asked += missing
        return bool(missing)

    def write(self, offset: int, data: bytes) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.bytes[offset : offset + len(data)] = data
        self.cold.difference_update(range(offset // PAGE, -(-(offset + len(data)) // PAGE)))
