"""MAC addresses, VIDs and PCPs: text <-> numbers.

Knows: how people write them, and which values IEEE 802 allows. Refuses to know: frames, ports, configuration files.
Everything that is wrong raises AddrError with one sentence that can be shown to a user as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

MAC_SIZE: Final = 6
BROADCAST: Final = b"\xff" * MAC_SIZE
MIN_VID: Final = 1
MAX_VID: Final = 4094
MAX_PCP: Final = 7

# Colons as in Linux and in RFC 7042 2.1, hyphens as IEEE 802-2014 clause 8.1 writes them, dots as Cisco does.
_MAC_FORMS: Final = tuple(
    re.compile(form)
    for form in (
        r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}",
        r"[0-9A-Fa-f]{2}(?:-[0-9A-Fa-f]{2}){5}",
        r"[0-9A-Fa-f]{4}(?:\.[0-9A-Fa-f]{4}){2}",
    )
)
_SEPARATORS: Final = str.maketrans("", "", ":-.")
_NUMBER: Final = re.compile(r"[0-9]{1,4}")


class AddrError(ValueError):
    """An address, VID or PCP that is none: the sentence says what was given and what is wanted."""


def mac_bytes(text: str) -> bytes:
    """Six bytes of a MAC address written `02:00:00:00:00:01`, `02-00-00-00-00-01` or `0200.0000.0001`.

    Raises AddrError. Group addresses are allowed here (IEEE 802-2014 clause 8); ask is_group() where they are not.
    """
    if isinstance(text, str) and any(form.fullmatch(text) for form in _MAC_FORMS):
        return bytes.fromhex(text.translate(_SEPARATORS))
    raise AddrError(f"{_shown(text)} is not a MAC address; write it like 02:00:00:00:00:01")


def mac_text(mac: bytes) -> str:
    """`02:00:00:00:00:01`, the form that Linux prints. Raises AddrError when there are not six bytes."""
    if len(mac) != MAC_SIZE:
        raise AddrError(f"a MAC address has 6 bytes, not {len(mac)}")
    return bytes(mac).hex(":")


def derived_mac(*names: str) -> str:
    """A locally administered unicast MAC address (IEEE 802-2014, 8.4): the same for the same names, every time."""
    import hashlib  # costs more than this whole module, and switches have no use for it

    digest = hashlib.sha256("/".join(names).encode()).digest()
    return mac_text(b"\x02" + digest[:5])


def is_group(mac: bytes) -> bool:
    """True for multicast and broadcast: the I/G bit, the lowest bit of the first byte (IEEE 802-2014 clause 8)."""
    return bool(mac[0] & 1)


def check_vid(value: object) -> int:
    """`value` when it is a VID that a VLAN may have: 1 to 4094 (IEEE 802.1Q-2018 table 9-2 reserves 0, 4095)."""
    if isinstance(value, int) and not isinstance(value, bool) and MIN_VID <= value <= MAX_VID:
        return value
    raise AddrError(f"{_shown(value)} is not a VLAN ID; use a number from 1 to 4094")


def check_pcp(value: object) -> int:
    """`value` when it is a priority code point: 0 to 7 (IEEE 802.1Q-2018 clause 6.9.3)."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_PCP:
        return value
    raise AddrError(f"{_shown(value)} is not a priority; use a number from 0 to 7")


def parse_vid_set(text: str) -> frozenset[int]:
    """VIDs of `"10,20,30-40"`; `""` is none. Spaces around numbers do not matter. Raises AddrError."""
    if not isinstance(text, str):
        raise AddrError(f"{_shown(text)} is not a set of VLAN IDs; write it like 10,20,30-40")
    if not text.strip():
        return frozenset()
    vids: set[int] = set()
    for part in text.split(","):
        vids.update(_parse_range(part.strip()))
    return frozenset(vids)


def format_vid_set(vids: Iterable[int]) -> str:
    """The shortest text that parse_vid_set() reads back: `"10,20,30-40"`, sorted. Raises AddrError."""
    return ",".join(
        str(first) if first == last else f"{first}-{last}"
        for first, last in _runs(sorted({check_vid(v) for v in vids}))
    )


def _parse_range(part: str) -> range:
    first, dash, last = (piece.strip() for piece in part.partition("-"))
    low = _parse_vid(first, part)
    high = _parse_vid(last, part) if dash else low
    if high < low:
        raise AddrError(f"the VLAN range {_shown(part)} runs backwards; write {high}-{low}")
    return range(low, high + 1)


def _parse_vid(text: str, part: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise AddrError(f"{_shown(part)} is not a VLAN ID or a range of them; write it like 10 or 30-40")
    return check_vid(int(text))


def _runs(ordered: list[int]) -> Iterator[tuple[int, int]]:
    start = previous = None
    for vid in ordered:
        if start is not None and previous is not None and vid != previous + 1:
            yield start, previous
            start = None
        start = vid if start is None else start
        previous = vid
    if start is not None and previous is not None:
        yield start, previous


def _shown(value: object) -> str:
    """A value from outside, short enough for a sentence."""
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."
