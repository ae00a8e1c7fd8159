"""Sizes in a lab file and on the command line: `512MiB`, `1 GiB`, `4096`; and back to text for people.

Knows: units of two and of ten (IEC 80000-13). Refuses to know: what has the size.
"""

from __future__ import annotations

import re

UNITS = {
    "": 1, "B": 1,
    "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "PiB": 1 << 50,
    "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50,
    "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "PB": 10**15,
}  # fmt: skip
PATTERN = r"[0-9]{1,18}(\.[0-9]{1,6})? ?(B|[KMGTP]iB|[KMGTP]|[kKMGTP]B)?"
_SPLIT = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,6})?) ?([A-Za-z]*)")
_POWERS = ("KiB", "MiB", "GiB", "TiB", "PiB")


def parse(text: str) -> int | None:
    """Bytes; None for what is no size, or no whole number of bytes."""
    match = _SPLIT.fullmatch(text.strip())
    if match is None or match[2] not in UNITS:
        return None
    whole, _, fraction = match[1].partition(".")
    scale = int("1" + "0" * len(fraction))
    total = int(whole + fraction) * UNITS[match[2]]
    return total // scale if total % scale == 0 else None


def text(size: int) -> str:
    """The shortest exact form: `500 MiB`, `4097 bytes`."""
    for power in range(len(_POWERS), 0, -1):
        unit = 1 << 10 * power
        if size >= unit and size % unit == 0:
            return f"{size // unit} {_POWERS[power - 1]}"
    return f"{size} bytes"


def about(size: float) -> str:
    """For tables: at most four digits, `1.5 GiB`."""
    for power in range(len(_POWERS), 0, -1):
        unit = 1 << 10 * power
        if size >= unit:
            value = size / unit
            return f"{value:.0f} {_POWERS[power - 1]}" if value >= 100 else f"{value:.3g} {_POWERS[power - 1]}"
    return f"{int(size)} B"
