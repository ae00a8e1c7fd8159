"""Writes captures as pcapng (draft-ietf-opsawg-pcapng), the format of Wireshark and tshark. Values in, bytes out.

Knows: the four blocks that we write and their options. Refuses to know: files, clocks, what is in a frame.

A capture is: section_header(), one interface_block() per switch port (their order gives the interface numbers, from 0),
any number of packet_block(), and one statistics_block() per interface at the end. Little-endian; frames carry no FCS.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final, Literal

Direction = Literal["in", "out", ""]
Option = tuple[int, bytes]

SECTION_HEADER: Final = 0x0A0D0D0A
INTERFACE: Final = 1
STATISTICS: Final = 5
ENHANCED_PACKET: Final = 6
ETHERNET: Final = 1  # LINKTYPE_ETHERNET
NANOSECONDS: Final = 9  # if_tsresol: a negative power of ten

# Option codes, sections 4.1 to 4.6 of the draft.
_SHB_HARDWARE, _SHB_OS, _SHB_USERAPPL = 2, 3, 4
_IF_NAME, _IF_DESCRIPTION, _IF_MACADDR, _IF_TSRESOL, _IF_HARDWARE = 2, 3, 6, 9, 15
_EPB_FLAGS, _EPB_DROPCOUNT, _EPB_PACKETID = 2, 4, 5
_ISB_STARTTIME, _ISB_ENDTIME, _ISB_IFRECV, _ISB_IFDROP = 2, 3, 4, 5

_DIRECTIONS: Final[dict[str, int]] = {"": 0, "in": 1, "out": 2}
_MAX_TEXT: Final = 0xFFFF  # an option's length has 16 bits


def section_header(*, application: str = "virtfab", hardware: str = "", system: str = "") -> bytes:
    """The first block of a file. The section's length is not known when it begins (-1)."""
    body = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)
    texts = ((_SHB_HARDWARE, hardware), (_SHB_OS, system), (_SHB_USERAPPL, application))
    return _block(SECTION_HEADER, body, [(code, _text(text)) for code, text in texts if text])


def interface_block(name: str, description: str = "", mac: bytes | None = None) -> bytes:
    """One switch port: Ethernet, timestamps in nanoseconds, frames whole (no snap length). mac: 6 bytes."""
    options: list[Option] = [(_IF_NAME, _text(name))]
    if description:
        options.append((_IF_DESCRIPTION, _text(description)))
    if mac is not None:
        assert len(mac) == 6
        options.append((_IF_MACADDR, mac))
    options += [(_IF_TSRESOL, bytes([NANOSECONDS])), (_IF_HARDWARE, b"virtfab")]
    return _block(INTERFACE, struct.pack("<HHI", ETHERNET, 0, 0), options)


def packet_block(
    interface: int,
    time_ns: int,
    frame: bytes | memoryview,
    *,
    direction: Direction = "",
    identity: int | None = None,
    dropped: int = 0,
) -> bytes:
    """One frame. time_ns: since the epoch.

    identity (u64) marks one frame seen on several ports; dropped: frames lost between this one and the one before it on
    this interface; direction is seen from the switch: "in" is a frame that the switch received.
    """
    options: list[Option] = []
    if direction:
        options.append((_EPB_FLAGS, struct.pack("<I", _DIRECTIONS[direction])))
    if dropped:
        options.append((_EPB_DROPCOUNT, struct.pack("<Q", dropped)))
    if identity is not None:
        options.append((_EPB_PACKETID, struct.pack("<Q", identity)))
    size = len(frame)
    body = struct.pack("<IIIII", interface, time_ns >> 32, time_ns & 0xFFFFFFFF, size, size)
    return _block(ENHANCED_PACKET, body + frame + bytes(-size % 4), options)


def statistics_block(
    interface: int, time_ns: int, *, received: int, dropped: int | None = None, start_ns: int = 0, end_ns: int = 0
) -> bytes:
    """What one interface saw from start to end: frames received, and frames that did not get into the capture."""
    options: list[Option] = [
        (code, _time(value)) for code, value in ((_ISB_STARTTIME, start_ns), (_ISB_ENDTIME, end_ns)) if value
    ]
    options.append((_ISB_IFRECV, struct.pack("<Q", received)))
    if dropped is not None:
        options.append((_ISB_IFDROP, struct.pack("<Q", dropped)))
    return _block(STATISTICS, struct.pack("<I", interface) + _time(time_ns), options)


def _time(value: int) -> bytes:
    """A timestamp is two u32, the upper half first, in either byte order of the file."""
    return struct.pack("<II", value >> 32, value & 0xFFFFFFFF)


def _text(text: str) -> bytes:
    """UTF-8, not zero-terminated; cut where an option would overflow, but never inside a character."""
    data = text.encode("utf-8", "replace")
    return data if len(data) <= _MAX_TEXT else data[:_MAX_TEXT].decode("utf-8", "ignore").encode()


def _block(kind: int, body: bytes, options: Iterable[Option]) -> bytes:
    """type, length, body, options, end of options (where there are any), length again; all padded to 32 bits."""
    parts = [body]
    for code, value in options:
        parts.append(struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4))
    if len(parts) > 1:
        parts.append(bytes(4))
    inner = b"".join(parts)
    size = 12 + len(inner)
    return struct.pack("<II", kind, size) + inner + struct.pack("<I", size)
