"""The Internet checksum (RFC 1071). Knows: sums. Refuses to know: which protocol they belong to."""

from __future__ import annotations


def ones_sum(data: bytes) -> int:
    """The ones' complement sum of big-endian 16-bit words, 0 to 0xFFFF; an odd last byte is padded with zero.

    65536 is 1 modulo 65535, so the sum of the words is the whole number modulo 65535: one division in C instead of a
    loop in Python. 0xFFFF and 0 are the same to ones' complement; the sum of anything but zeros is written 0xFFFF, as
    adding words with end-around carry would give it (RFC 1624 section 3).
    """
    number = int.from_bytes(data + b"\0" if len(data) % 2 else data, "big")
    return number % 0xFFFF or (0xFFFF if number else 0)


def checksum(data: bytes) -> int:
    """What goes into the checksum field, which is zero in `data`."""
    return 0xFFFF - ones_sum(data)


def is_valid(data: bytes) -> bool:
    """True when `data`, with its checksum field, sums up to ones' complement zero."""
    return ones_sum(data) == 0xFFFF
