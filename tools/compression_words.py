"""What compression gains on a link over TCP, in a line for people. Knows: the `lz4` numbers of a driver's statistics
(netvirt.packing). Refuses to know: labs, sockets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_UNITS = (("GB", 10**9), ("MB", 10**6), ("kB", 10**3))
# Why nothing was sent compressed, by the state that the driver tells.
_NOT = {
    "on": "nothing sent compressed yet",
    "off": "off: it would gain nothing",
    "untried": "not tried yet: no burst was large enough",
}


def lines(link: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(what, value) for each direction in which something can be said; none for a link that does not compress."""
    if "lz4" not in link:
        return []
    raw, sent = link["lz4-raw-bytes"], link["lz4-sent-bytes"]
    now = ", now off: it would gain nothing" if link["lz4"] == "off" else ""
    said = [("lz4", _gain(raw, sent, "sent") + now if sent else _NOT[link["lz4"]])]
    if link["lz4-received-bytes"]:
        said.append(("lz4 received", _gain(link["lz4-unpacked-bytes"], link["lz4-received-bytes"], "came")))
    return said


def _gain(raw: int, packed: int, how: str) -> str:
    return f"{raw / packed:.1f}x ({_size(raw)} {how} as {_size(packed)})"


def _size(count: int) -> str:
    for unit, size in _UNITS:
        if count >= 0.9995 * size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
