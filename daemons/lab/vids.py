"""Sets of VLAN IDs: text such as "10,20,30-40" <-> frozenset.

Knows: 1 to 4094 (IEEE 802.1Q-2022, table 9-2: 0 is a priority tag, 4095 reserved). Refuses to know: VLAN names, ports.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby

MIN_VID = 1
MAX_VID = 4094
ALL = frozenset(range(MIN_VID, MAX_VID + 1))
RANGE = re.compile(r"([0-9]{1,5}) ?- ?([0-9]{1,5})")


def is_vid(number: int) -> bool:
    return MIN_VID <= number <= MAX_VID


def parse_range(text: str) -> frozenset[int] | None:
    """The VIDs in "10-20", both ends included; None if it is no range, or no rising one between 1 and 4094."""
    match = RANGE.fullmatch(text.strip())
    if match is None:
        return None
    first, last = int(match[1]), int(match[2])
    return frozenset(range(first, last + 1)) if is_vid(first) and is_vid(last) and first <= last else None


def text(vids: Iterable[int]) -> str:
    """The shortest text for a set: {1, 2, 3, 10} -> "1-3,10"; the empty set is ""."""
    parts = []
    for _, group in groupby(enumerate(sorted(vids)), key=lambda pair: pair[1] - pair[0]):
        run = [vid for _, vid in group]
        parts.append(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}")
    return ",".join(parts)
