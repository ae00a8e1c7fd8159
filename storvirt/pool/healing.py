"""Which columns may be lying, when a block is not what its checksum says: guesses, the likeliest first.

Knows: how many columns of a group may be wrong at once (storvirt/raid/layout.py). Refuses to know: bytes, checksums.

A block's CRC says that it is wrong, and says so of each way to compute it again; the way that verifies names the liars.
So two liars of a raid6 are named, and one beside a member that is out.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from storvirt.pool.slab import Slab


def suspects(slab: Slab, offset: int, length: int) -> Iterator[int]:
    """Sets of columns (a bit each) to do without when these bytes of a grain are reconstructed; the smallest first.

    Columns that are out are not among them: they are done without anyway, and leave fewer that may be wrong.
    """
    own = slab.touched(offset, length)
    groups = {slab.group(column) for column in _numbers(own)}
    ways = [_of_group(slab, group, own & group) for group in sorted(groups)]
    for parts in sorted(itertools.product(*ways), key=lambda parts: sum(part.bit_count() for part in parts)):
        if any(parts):
            yield sum(parts)


def _of_group(slab: Slab, group: int, own: int) -> list[int]:
    """No column, and every set that makes a difference: at least one of those that hold the bytes is among the wrong or
    among those that are out, and is computed from the others."""
    there = _numbers(group & ~slab.missing)
    spare = min(slab.redundant - (group & slab.missing).bit_count(), len(there) - 1)
    if slab.copies:  # the first copy that is left is read: the others behind it do not matter
        return [sum(1 << column for column in there[:count]) for count in range(max(spare, 0) + 1)]
    found = [0]
    for count in range(1, spare + 1):
        for columns in itertools.combinations(there, count):
            wrong = sum(1 << column for column in columns)
            if own & (wrong | slab.missing):
                found.append(wrong)
    return found


def _numbers(columns: int) -> list[int]:
    return [column for column in range(columns.bit_length()) if columns >> column & 1]
