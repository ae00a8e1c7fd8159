"""How one grain lies on the columns of a slot: pure arithmetic, frozen values.

Knows: profiles, widths, padding, which bytes of a grain lie where in which extent, what may be lost.
Refuses to know: members, files, bytes themselves, checksums.

A grain's bytes are dealt over k *columns* in order: column c holds bytes [c * column, (c + 1) * column), the last one
padded with zeros. m more columns hold copies (raid1) or parity (raid5). A column is ceil(grain / k) bytes, rounded up
to sectors of 512, so k is free and padding is the price; `choose` takes the widest k that wastes under 5 %. Parity
stands in the last columns of every slot: who cuts a slab deals its members differently from slab to slab.

What that gives for raid5 and grains of 32 KiB (a test holds the table; "kept" is the user's share of the space used):

    members    k  column  padding    kept
          3    2   16384    0.0 %  66.7 %
          4    3   11264    3.0 %  72.7 %
          5    4    8192    0.0 %  80.0 %
          6    5    6656    1.5 %  82.1 %
      7 - 8    6    5632    3.0 %  83.1 %
     9 - 11    8    4096    0.0 %  88.9 %
    12 - 13   11    3072    3.0 %  88.9 %
    14 - 16   13    2560    1.5 %  91.4 %
    17 - 22   16    2048    0.0 %  94.1 %
    23 - 32   22    1536    3.0 %  92.8 %
    33 - 64   32    1024    0.0 %  97.0 %
"""

from __future__ import annotations

from typing import NamedTuple, Self

SECTOR = 512
EXTENT = 4 << 20
MIN_GRAIN, MAX_GRAIN = 4096, 1 << 20
MOST_DATA = 63  # columns of data: with parity a stripe has at most 64, one bit each in a word
MOST_COLUMNS = 64


class LayoutError(ValueError):
    """A layout that can't be: one sentence for people."""


class Profile(NamedTuple):
    """A RAID level. number: on disk, never reused; members: the fewest it works with; wide: k may be more than 1."""

    name: str
    number: int
    members: int
    wide: bool
    copies: bool  # the redundant columns are copies of the one data column
    parity: int  # redundant columns, unless they are copies


LINEAR = Profile("linear", 1, 1, wide=False, copies=False, parity=0)
RAID0 = Profile("raid0", 2, 1, wide=True, copies=False, parity=0)
RAID1 = Profile("raid1", 3, 2, wide=False, copies=True, parity=0)
RAID5 = Profile("raid5", 4, 3, wide=True, copies=False, parity=1)
PROFILES = {profile.name: profile for profile in (LINEAR, RAID0, RAID1, RAID5)}


class Piece(NamedTuple):
    """A run of bytes of a grain in one column. at: in the extent; offset: in the grain; all in bytes."""

    column: int
    at: int
    offset: int
    length: int


class Layout(NamedTuple):
    """Made by `Layout.of` or `choose`: k data columns and m redundant ones of `column` bytes each, for a grain."""

    profile: Profile
    k: int
    m: int
    grain: int
    column: int
    extent: int

    @classmethod
    def of(cls, profile: Profile, k: int, m: int, grain: int, extent: int = EXTENT) -> Self:
        """Checked, also when it comes from a disk. Raises LayoutError."""
        if not MIN_GRAIN <= grain <= MAX_GRAIN or grain & (grain - 1):
            raise LayoutError(f"a grain is a power of two from {MIN_GRAIN} to {MAX_GRAIN} bytes, not {grain}")
        widest = MOST_DATA if profile.wide else 1
        if not 1 <= k <= widest:
            raise LayoutError(f"{profile.name} has {_counted(1, widest, 'data column')}, not {k}")
        most, least = (MOST_COLUMNS - 1, 1) if profile.copies else (profile.parity, profile.parity)
        if not least <= m <= most:
            raise LayoutError(f"{profile.name} has {_counted(least, most, 'redundant column')}, not {m}")
        if k + m < profile.members:
            raise LayoutError(f"{profile.name} has at least {profile.members} columns, not {k + m}")
        column = column_bytes(grain, k)
        if (k - 1) * column >= grain:
            raise LayoutError(f"a grain of {grain} bytes leaves one of {k} columns empty")
        if extent % SECTOR or extent < column:
            raise LayoutError(f"an extent of {extent} bytes is no whole number of sectors or has no room for one slot")
        return cls(profile, k, m, grain, column, extent)

    @property
    def width(self) -> int:
        """Columns of a slot, and so members of a slab."""
        return self.k + self.m

    @property
    def tolerance(self) -> int:
        """How many columns may be lost, whichever they are."""
        return self.m

    @property
    def slots(self) -> int:
        """Slots, each for one grain, in a slab."""
        return self.extent // self.column

    @property
    def padding(self) -> float:
        """The share of the data columns that holds nothing (0 to 1)."""
        return 1 - self.grain / (self.k * self.column)

    @property
    def kept(self) -> float:
        """The share of a slot's space that is the user's (0 to 1)."""
        return self.grain / (self.width * self.column)

    def role(self, column: int) -> str:
        """What a column holds: data, copy or parity."""
        assert 0 <= column < self.width
        if column < self.k:
            return "data"
        return "copy" if self.profile.copies else "parity"

    def held(self, column: int) -> range:
        """The bytes of the grain that a column holds or copies; empty for parity."""
        role = self.role(column)
        start = 0 if role == "copy" else column * self.column
        return range(0) if role == "parity" else range(start, min(start + self.column, self.grain))

    def pieces(self, slot: int, offset: int, length: int) -> list[Piece]:
        """Where bytes [offset, offset + length) of the grain in `slot` lie, in order; copies lie at the same `at`."""
        assert 0 <= slot < self.slots
        assert 0 <= offset <= offset + length <= self.grain
        found, end = [], offset + length
        while offset < end:
            column, inside = divmod(offset, self.column)
            run = min(self.column - inside, end - offset)
            found.append(Piece(column, slot * self.column + inside, offset, run))
            offset += run
        return found

    def sources(self, column: int, lost: frozenset[int] = frozenset()) -> tuple[int, ...]:
        """The columns, none of them lost, whose XOR is `column`: itself, a copy, or all others. Raises LayoutError."""
        if column not in lost:
            return (column,)
        others = [other for other in range(self.width) if other != column and other not in lost]
        if len(others) < self.width - self.m:
            raise LayoutError(f"{len(lost)} columns are lost, and {self.profile.name} survives {self.tolerance}")
        return (others[0],) if self.profile.copies else tuple(others)


def column_bytes(grain: int, k: int) -> int:
    """Bytes of each column: ceil(grain / k), rounded up to sectors."""
    return -(-grain // (k * SECTOR)) * SECTOR


def _counted(least: int, most: int, what: str) -> str:
    return f"{least if least == most else f'{least} to {most}'} {what}{'' if most == 1 else 's'}"


def _worth_it(grain: int, k: int) -> bool:
    """Less than a twentieth of k columns is padding, and no column is nothing but padding."""
    column = column_bytes(grain, k)
    return (k * column - grain) * 20 < k * column and (k - 1) * column < grain


def choose(profile: Profile, members: int, grain: int, copies: int = 2, extent: int = EXTENT) -> Layout:
    """The widest layout that wastes under 5 % on padding and fits on `members` different members.

    copies: of raid1, the first included. Raises LayoutError with one sentence if there are too few members.
    """
    fewest = max(copies, profile.members) if profile.copies else profile.members
    if members < fewest:
        what = f"{profile.name} with {copies} copies" if profile.copies and copies > profile.members else profile.name
        raise LayoutError(f"{what} needs at least {_counted(fewest, fewest, 'member')}, not {members}")
    m = copies - 1 if profile.copies else profile.parity
    most = min(members - m, MOST_DATA) if profile.wide else 1
    k = max(k for k in range(1, most + 1) if _worth_it(grain, k))
    return Layout.of(profile, k, m, grain, extent)
