"""A reader of pcapng files, small and strict, that shares no code with the writer; and of the tag of a frame.

Source: draft-ietf-opsawg-pcapng, sections 3 and 4; IEEE Std 802.1Q-2022, clause 9.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

SECTION, INTERFACE, ENHANCED_PACKET, STATISTICS = 0x0A0D0D0A, 1, 6, 5


class Packet(NamedTuple):
    interface: str
    frame: bytes


class Tag(NamedTuple):
    vid: int
    pcp: int


class File(NamedTuple):
    """`statistics` counts the interface statistics blocks, which the writer puts at the end of a whole file."""

    interfaces: list[str]
    packets: list[Packet]
    statistics: int


def read(path: Path) -> File:
    """Reads a little-endian file whole; any length that does not fit fails."""
    data, names, packets, statistics = path.read_bytes(), [], [], 0
    assert data[:4] == struct.pack("<I", SECTION) and data[8:12] == struct.pack("<I", 0x1A2B3C4D), data[:12]
    while data:
        kind, size = struct.unpack_from("<II", data)
        assert size % 4 == 0 and 12 <= size <= len(data) and data[size - 4 : size] == data[4:8]
        body = data[8 : size - 4]
        if kind == INTERFACE:
            assert struct.unpack_from("<H", body) == (1,), "not Ethernet"
            names.append(_option(body[8:], 2).decode())
        elif kind == ENHANCED_PACKET:
            interface, _, _, captured, original = struct.unpack_from("<IIIII", body)
            assert captured == original
            packets.append(Packet(names[interface], body[20 : 20 + captured]))
        statistics += kind == STATISTICS
        data = data[size:]
    return File(names, packets, statistics)


def _option(data: bytes, wanted: int) -> bytes:
    while data:
        code, size = struct.unpack_from("<HH", data)
        if code == wanted:
            return data[4 : 4 + size]
        data = data[4 + size + -size % 4 :]
    raise AssertionError(f"no option {wanted}")


def tag(frame: bytes) -> Tag | None:
    """The outer 802.1Q tag; None for an untagged frame."""
    if frame[12:14] != b"\x81\x00":
        return None
    tci = int.from_bytes(frame[14:16], "big")
    return Tag(tci & 0xFFF, tci >> 13)


def icmp_type(frame: bytes) -> int | None:
    """The type of the ICMPv4 message in it (RFC 792: 8 echo request, 0 echo reply); None for anything else."""
    rest = frame[16:] if tag(frame) else frame[12:]
    if rest[:2] != b"\x08\x00" or rest[2 + 9] != 1:
        return None
    return rest[2 + (rest[2] & 15) * 4]
