"""FRAMES messages compressed with lz4, for links over a network: how, and when it pays. Sans-io.

Knows: the body of a PACKED message, which bursts gained by it. Refuses to know: sockets, clocks, frames.
Imported by who has a link over TCP (netvirt.ports.zmq), by nobody else: it loads lz4.

Chosen by what it gains, from sizes alone. While off, one burst of SAMPLE is compressed to see what becomes of it; while
on, each is. What the last few gave, in bytes, decides about the next one. Measured: lz4 takes 1 ms for 1 MB of random
frames, and both ends of a link with CURVE take 1.4 ms to move them, so where nothing is gained samples cost 1 %.
"""

from __future__ import annotations

import struct

from lz4.block import LZ4BlockError, compress, decompress

from netvirt.burst import HEADER_SIZE, KIND_FRAMES, KIND_PACKED, MAX_MESSAGE, pack_header
from netvirt.link import LinkError, Message

SMALLEST = 512  # bytes of a message: below it TCP, ZMTP and CURVE add as much again as could be saved
GAIN = 0.8  # what a burst must shrink to, so that unpacking it is worth the other side's while
SAMPLE = 64
FADE = 0.85  # of what came before, with each burst: about seven are remembered, and one alone never turns it on
_RAW = struct.Struct("<I")
_BLOCK = HEADER_SIZE + _RAW.size
_PACKED = pack_header(KIND_PACKED, 0, 0)[:4]
_FRAMES = pack_header(KIND_FRAMES, 0, 0)[:4]


class Packer:
    """Both directions of one link. `on`: whether each burst is being compressed now."""

    __slots__ = ("_came", "_meant", "_raw", "_sent", "_shrunk", "_skip", "_tried", "_whole", "bursts", "on")

    def __init__(self) -> None:
        self.on = False
        self.bursts = 0  # sent compressed
        self._skip = 0  # bursts until the next sample: the first of a link is one
        self._whole = self._shrunk = 0.0  # bytes of the last few, before and after
        self._tried = False
        self._raw = self._sent = 0
        self._meant = self._came = 0

    def pack(self, message: Message) -> Message:
        """What to send for a FRAMES message: itself, or a PACKED one that is shorter."""
        size = len(message)
        if size < SMALLEST:
            return message
        if not self.on:
            if self._skip:
                self._skip -= 1
                return message
            self._skip = SAMPLE - 1
        body = compress(message[HEADER_SIZE:])  # u32 length, then the block
        packed = HEADER_SIZE + len(body)
        self._weigh(size, packed)
        if packed > size * GAIN:
            return message
        self.bursts += 1
        self._raw += size
        self._sent += packed
        return b"".join((_PACKED, message[4:HEADER_SIZE], body))

    def _weigh(self, size: int, packed: int) -> None:
        self._tried = True
        self._whole = self._whole * FADE + size
        self._shrunk = self._shrunk * FADE + packed
        self.on = self._shrunk <= self._whole * GAIN

    @staticmethod
    def size(message: Message) -> int:
        """Bytes of the FRAMES message in a PACKED one, as its sender says. Raises LinkError."""
        if len(message) < _BLOCK:
            raise LinkError("compression", f"a compressed message of {len(message)} bytes")
        size = HEADER_SIZE + int(_RAW.unpack_from(message, HEADER_SIZE)[0])
        # What is not shorter could fill our memory for less credit than it takes.
        if not len(message) < size <= MAX_MESSAGE:
            raise LinkError("compression", f"{size} bytes compressed to {len(message)}; a message has {MAX_MESSAGE}")
        return size

    def unpack(self, message: Message) -> bytes:
        """The FRAMES message in a PACKED one whose size() has been looked at. Raises LinkError."""
        wanted = self.size(message) - HEADER_SIZE
        try:
            body = decompress(message[_BLOCK:], uncompressed_size=wanted)
        except LZ4BlockError:
            raise LinkError("compression", "a compressed message that is no lz4 block of its length") from None
        if len(body) != wanted:
            raise LinkError("compression", f"a compressed message of {len(body)} bytes that announces {wanted}")
        self._meant += HEADER_SIZE + wanted
        self._came += len(message)
        return b"".join((_FRAMES, message[4:HEADER_SIZE], body))

    def statistics(self) -> dict[str, int | str]:
        """Bytes of compressed bursts, before and as sent, and the same of what came; `lz4` is on, off or untried."""
        return {
            "lz4": "on" if self.on else "off" if self._tried else "untried",
            "lz4-bursts": self.bursts,
            "lz4-raw-bytes": self._raw,
            "lz4-sent-bytes": self._sent,
            "lz4-unpacked-bytes": self._meant,
            "lz4-received-bytes": self._came,
        }
