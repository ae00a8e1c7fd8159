"""The counters of a switch's ports as bytes that other processes may look at: how they lie, and how they are read.

Knows: header, slots, names, words. Refuses to know: files and memory maps (daemons/counter_file.py), who counts
(plane.pyx: plain stores, without a lock, so one counter may be newer than another).

    header, 64 bytes: "VFABCNT1", u32 bytes of a slot (640), u32 slots, u32 CRC-32 of the drop reasons, u32 pid,
        u64 epoch
    slot, by port number: name (128 bytes of UTF-8, padded with zeros; all zero = no port), then 64 x u64: rx_frames
        rx_bytes tx_frames tx_bytes rx_multicast rx_broadcast waiting carrier, drops by number of drops.REASONS

All in the machine's byte order. The reasons' CRC tells a reader of another version that its names would be wrong.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

from netvirt.dataplane.drops import REASONS

Memory = bytearray | memoryview
Room = Callable[[int], Memory]  # a number of slots -> memory of size(slots) bytes, with all that was counted before

MAGIC = b"VFABCNT1"
_HEADER = struct.Struct("=8sIIIIQ32x")
_SLOTS_AT = 12
_NAME = 128
_WORDS = struct.Struct("=64Q")
_FIRST_DROP = 8
HEADER = _HEADER.size
SLOT = _NAME + _WORDS.size
MOST_SLOTS = 4096  # as many as a plane has ports at the most

assert (HEADER, SLOT) == (64, 640) and len(REASONS) <= 64 - _FIRST_DROP


class CountersError(ValueError):
    """These bytes are no counters of this version; the sentence says why."""


class PortCounters(NamedTuple):
    """Of one port, since it is there. `waiting`: frames in its queue; `drops`: by reason, those that there were."""

    number: int
    name: str
    rx_frames: int
    rx_bytes: int
    tx_frames: int
    tx_bytes: int
    rx_multicast: int
    rx_broadcast: int
    waiting: int
    carrier: bool
    drops: dict[str, int]


class SwitchCounters(NamedTuple):
    """What one switch process has counted; another pid or epoch means that it began anew."""

    pid: int
    epoch: int
    ports: tuple[PortCounters, ...]


def crc() -> int:
    return zlib.crc32("\n".join(REASONS).encode())


def size(slots: int) -> int:
    """Bytes of memory for that many ports."""
    return HEADER + slots * SLOT


def put_header(memory: Memory, slots: int, pid: int = 0, epoch: int = 0) -> None:
    _HEADER.pack_into(memory, 0, MAGIC, SLOT, slots, crc(), pid, epoch)


def put_slots(memory: Memory, slots: int) -> None:
    """There is room for more now; only said when there is."""
    struct.pack_into("=I", memory, _SLOTS_AT, slots)


def put_name(memory: Memory, number: int, name: str) -> None:
    """A port is there. A name of more than 128 bytes is cut short between two characters."""
    text = name.encode()[:_NAME].decode(errors="ignore").encode()
    start = HEADER + number * SLOT
    memory[start : start + _NAME] = text.ljust(_NAME, b"\0")


def clear(memory: Memory, number: int) -> None:
    """No port is there any more, and nothing is counted: first the name goes."""
    start = HEADER + number * SLOT
    memory[start : start + _NAME] = bytes(_NAME)
    memory[start + _NAME : start + SLOT] = bytes(SLOT - _NAME)


def private() -> Room:
    """Memory that nobody else looks at."""
    held = bytearray()

    def room(slots: int) -> Memory:
        nonlocal held
        grown = bytearray(size(slots))
        grown[: len(held)] = held
        put_header(grown, slots)
        held = grown
        return grown

    return room


def read(data: bytes) -> SwitchCounters:
    """The counters in these bytes. Raises CountersError."""
    if len(data) < HEADER or not data.startswith(MAGIC):
        raise CountersError("it is no file of counters")
    _magic, slot, slots, reasons, pid, epoch = _HEADER.unpack_from(data)
    if (slot, reasons) != (SLOT, crc()):
        raise CountersError("it was written by another version of virtfab")
    if slots > MOST_SLOTS or len(data) < size(slots):
        raise CountersError(f"it is cut short: {len(data)} bytes, not the {size(slots)} that {slots} ports take")
    ports = (_port(data, number) for number in range(slots))
    return SwitchCounters(pid, epoch, tuple(port for port in ports if port is not None))


def _port(data: bytes, number: int) -> PortCounters | None:
    start = HEADER + number * SLOT
    if not data[start]:
        return None
    name = data[start : start + _NAME].rstrip(b"\0").decode(errors="replace")
    words = _WORDS.unpack_from(data, start + _NAME)
    counted = words[_FIRST_DROP : _FIRST_DROP + len(REASONS)]
    drops = {reason: count for reason, count in zip(REASONS, counted, strict=True) if count}
    *values, carrier = words[:_FIRST_DROP]
    return PortCounters._make((number, name, *values, bool(carrier), drops))
