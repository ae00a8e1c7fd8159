"""The pools that a soak is made with: levels that stand together, and how many members all of them can do without.

Knows: which level bears what (storvirt/raid/layout.py). Refuses to know: what is done to them.
"""

from __future__ import annotations

from typing import NamedTuple

MIB = 1 << 20
KIB = 1 << 10


class Disk(NamedTuple):
    """size, grain: bytes."""

    raid: str
    size: int = 6 * MIB
    grain: int = 32 * KIB


class Plan(NamedTuple):
    """members: so many at first; least: so few may be left; budget: so many may be doubtful at the same time."""

    name: str
    members: int
    least: int
    budget: int
    disks: tuple[Disk, ...]


PLANS = (
    Plan("mixed", 6, 5, 1, (
        Disk("raid1", 4 * MIB), Disk("raid1c3", 3 * MIB), Disk("raid10", 4 * MIB, 4 * KIB), Disk("raid5", 8 * MIB),
        Disk("raid6", 4 * MIB, 128 * KIB), Disk("raid7", 4 * MIB),
    )),
    Plan("two lost", 6, 4, 2, (
        Disk("raid1c3", 4 * MIB, 4 * KIB), Disk("raid6", 8 * MIB), Disk("raid6", 4 * MIB, 4 * KIB),
    )),
    Plan("one lost", 4, 4, 1, (
        Disk("raid1", 6 * MIB), Disk("raid4", 4 * MIB), Disk("raid5", 8 * MIB), Disk("raid5", 3 * MIB, 4 * KIB),
        Disk("raid10", 4 * MIB, 64 * KIB),
    )),
    Plan("nested", 8, 8, 1, (Disk("raid50", 8 * MIB), Disk("raid60", 6 * MIB), Disk("raid10", 4 * MIB))),
    Plan("three lost", 7, 5, 3, (Disk("raid1c4", 4 * MIB), Disk("raid7", 8 * MIB), Disk("raid7", 3 * MIB, 4 * KIB))),
    Plan("mirror", 2, 2, 1, (Disk("raid1", 8 * MIB), Disk("raid1", 2 * MIB, 4 * KIB))),
    Plan("two of nested", 8, 8, 2, (Disk("raid60", 8 * MIB), Disk("raid6", 6 * MIB))),
    Plan("no redundancy", 3, 1, 0, (Disk("linear", 6 * MIB), Disk("raid0", 8 * MIB))),
)  # fmt: skip
