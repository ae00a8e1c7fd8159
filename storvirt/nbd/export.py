"""What a client is told of an export: name, size, abilities, block sizes.

Knows: how these become the protocol's flags and infos. Refuses to know: what stands behind the export.

# Block sizes
Minimum 1, preferred 4096, payload up to 32 MiB, whether the client asks for them or not. A minimum of 512 would be
honest about the sector, but it would move the reading and writing back of a sector's other bytes into the client, where
two clients of one export destroy each other's halves; here nothing comes between (edges.py). 1 is what a client assumes
that asks nothing (the Linux kernel, fio), and what nbdkit and qemu-nbd say of plain files; QEMU's guests, file systems
and copying tools go by the preferred size and never send less than a sector.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from storvirt.block import BLOCK
from storvirt.nbd.wire import INFO_BLOCK_SIZE, INFO_EXPORT, MAX_PAYLOAD, ExportFlag, Info

MINIMUM: Final = 1
PREFERRED: Final = BLOCK

_ALWAYS: Final = ExportFlag.HAS_FLAGS | ExportFlag.SEND_FLUSH | ExportFlag.SEND_FUA | ExportFlag.CAN_MULTI_CONN
_WRITABLE: Final = ExportFlag.SEND_TRIM | ExportFlag.SEND_WRITE_ZEROES


class ExportInfo(NamedTuple):
    """size: bytes. fast_zero: zeroing is always quicker than writing zeros, so clients may ask for that or nothing."""

    name: str
    size: int
    description: str = ""
    read_only: bool = False
    fast_zero: bool = False

    def flags(self, structured: bool) -> ExportFlag:
        """The transmission flags; DF means something with structured replies only.

        MULTI_CONN always: all clients of an export have one Block, so a flush covers what any of them was answered.
        """
        flags = _ALWAYS
        if structured:
            flags |= ExportFlag.SEND_DF
        if self.read_only:
            return flags | ExportFlag.READ_ONLY
        return flags | _WRITABLE | (ExportFlag.SEND_FAST_ZERO if self.fast_zero else ExportFlag(0))

    def info(self, kind: int, structured: bool) -> bytes | None:
        """The data of one INFO reply, or None where there is nothing to say."""
        match kind:
            case Info.EXPORT:
                return INFO_EXPORT.pack(kind, self.size, self.flags(structured))
            case Info.NAME:
                return _text(kind, self.name)
            case Info.DESCRIPTION:
                return _text(kind, self.description) if self.description else None
            case Info.BLOCK_SIZE:
                return INFO_BLOCK_SIZE.pack(kind, MINIMUM, PREFERRED, MAX_PAYLOAD)
        return None


def _text(kind: int, text: str) -> bytes:
    return kind.to_bytes(2, "big") + text.encode()
