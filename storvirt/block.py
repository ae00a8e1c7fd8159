"""The one interface of the storage half: what every layer, from a file to a LUN, looks like from above.

Knows: offsets and lengths in bytes, the calls and what they promise. Refuses to know: RAID, protocols, files.
Leaving a call out means pass-through (wrappers) or the obvious default written here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

SECTOR = 512  # the atom: a write of one sector is whole or not at all
BLOCK = 4096  # the physical block that is advertised: writes of whole blocks need no reading


class Extent(NamedTuple):
    """A run of bytes that is all data, or all a hole (reads as zeros, occupies nothing)."""

    offset: int
    length: int
    data: bool


class BlockError(OSError):
    """An I/O error with the errno that the initiator is to be told, and a sentence that names the member."""


class Block(Protocol):
    """offset and length are multiples of SECTOR and lie inside `size`: the edge (lun.py) has checked; here it is
    asserted."""

    @property
    def size(self) -> int:
        """Bytes; it may grow."""
        ...

    @property
    def read_only(self) -> bool: ...

    def read(self, offset: int, length: int) -> bytes:
        """Raises BlockError."""
        ...

    def write(self, offset: int, data: bytes | memoryview, fua: bool = False) -> None:
        """Acknowledged when it returns: survives the death of this process; with fua also the loss of power."""
        ...

    def zero(self, offset: int, length: int, may_trim: bool = True, fua: bool = False) -> None:
        """Reads as zeros afterwards. may_trim: the space may be given back; otherwise it stays allocated."""
        ...

    def trim(self, offset: int, length: int, fua: bool = False) -> None:
        """The content is not needed any more; it reads as zeros here (a promise beyond NBD's and SCSI's)."""
        ...

    def flush(self) -> None:
        """Everything acknowledged before the call survives the loss of power when it returns."""
        ...

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """What is allocated, in order, without gaps or overlap, neighbours differing in `data`."""
        ...

    def close(self) -> None: ...
