"""How one grain lies on the columns of a slot: pure arithmetic, frozen values.

Knows: profiles, widths, groups, padding, which bytes of a grain lie where in which extent, what may be lost.
Refuses to know: members, files, bytes themselves, checksums.

A grain's bytes are dealt over k *data columns* in order: column c holds bytes [c * column, (c + 1) * column), the last
one padded with zeros. m more columns hold copies or parity. A column is ceil(grain / k) bytes, rounded up to sectors of
512, so k is free and padding is the price; `choose` takes the widest k that wastes under 5 %. Redundant columns stand
last in every slot: who cuts a slab deals its members differently from slab to slab.

Columns stand in *groups* of d data and p redundant ones, and each group survives the loss of any p of its columns. A
group with one data column holds copies of it; all others have parity (P, Q, R of raid/gf.h). A slot is one group but
for the nested levels, where data columns c with the same c // d, and redundant ones k + r with the same r // p, are
one:

    level     groups       d            p    survives
    linear    1            1            0    nothing
    raid0     1            1 or more    0    nothing
    raid1     1            1            1    one; raid1c3, raid1c4, ... have 3, 4, ... copies and survive all but one
    raid4     1            1 or more    1    any one; parity always on one member (who cuts slabs sees to that)
    raid5     1            1 or more    1    any one
    raid6     1            1 or more    2    any two
    raid7     1            1 or more    3    any three
    raid10    k            1            1    any one, and more as long as no pair loses both
    raid50    2 or more    1 or more    1    any one, and one more in each other group
    raid60    2 or more    1 or more    2    any two, and two more in each other group

A level asks for its usual number of members (`Profile.members`), but slabs may be narrower where only few members have
room left: down to one data column, and to one group.

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

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Self

SECTOR = 512
EXTENT = 4 << 20
MIN_GRAIN, MAX_GRAIN = 4096, 1 << 20
MOST_DATA = 63  # columns of data: with parity a stripe has at most 64, one bit each in a word
MOST_COLUMNS = 64


class LayoutError(ValueError):
    """A layout that can't be: one sentence for people."""


class Profile(NamedTuple):
    """A RAID level. number: on disk, never reused; members: the fewest that a volume of it needs; parity: redundant
    columns of a group; wide: k may be more than 1; copies: a group has one data column, and redundant ones are copies;
    nested: several groups; dedicated: redundant columns always lie on the same member."""

    name: str
    number: int
    members: int
    parity: int
    wide: bool = True
    copies: bool = False
    nested: bool = False
    dedicated: bool = False

    @property
    def narrowest(self) -> int:
        """Columns of the narrowest slot."""
        return 1 + self.parity


LINEAR = Profile("linear", 1, 1, 0, wide=False)
RAID0 = Profile("raid0", 2, 1, 0)
RAID1 = Profile("raid1", 3, 2, 1, wide=False, copies=True)
RAID5 = Profile("raid5", 4, 3, 1)
RAID6 = Profile("raid6", 5, 4, 2)
RAID7 = Profile("raid7", 6, 5, 3)
RAID10 = Profile("raid10", 7, 4, 1, copies=True, nested=True)
RAID4 = Profile("raid4", 8, 3, 1, dedicated=True)
RAID50 = Profile("raid50", 9, 6, 1, nested=True)
RAID60 = Profile("raid60", 10, 8, 2, nested=True)
_MIRRORS = 64  # number of raid1 with n copies, 3 to 64, without this


def _mirror(copies: int) -> Profile:
    """raid1 with 3 or more copies, under the name that btrfs gave it."""
    return Profile(f"raid1c{copies}", _MIRRORS + copies, copies, copies - 1, wide=False, copies=True)


# Those that are offered by name; profile_named() knows more copies, too.
PROFILES = {
    profile.name: profile
    for profile in (
        *(LINEAR, RAID0, RAID1, _mirror(3), _mirror(4)),
        *(RAID10, RAID4, RAID5, RAID6, RAID7, RAID50, RAID60),
    )
}
_EVERY = {**{one.name: one for one in map(_mirror, range(3, MOST_COLUMNS + 1))}, **PROFILES}
BY_NUMBER = {profile.number: profile for profile in _EVERY.values()}
LEVELS = (
    "linear, raid0, raid1 (two copies; raid1c3 to raid1c64: more), raid10, raid4, raid5, raid6, raid7, raid50, raid60"
)


def profile_named(name: str) -> Profile:
    """Raises LayoutError with the names that there are."""
    if name not in _EVERY:
        raise LayoutError(f"there is no RAID level {name!r}; there are: {LEVELS}")
    return _EVERY[name]


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
        if profile.nested:
            groups = m // profile.parity
            if not groups or m % profile.parity or k % groups or (profile.copies and k != groups):
                raise LayoutError(f"{profile.name} has groups of equal width, not {k} and {m} columns")
        else:
            # Pages and the log are raid1, too, with as many copies as the pool's volumes need.
            least, most = (1, MOST_COLUMNS - 1) if profile is RAID1 else (profile.parity, profile.parity)
            if not least <= m <= most:
                raise LayoutError(f"{profile.name} has {_counted(least, most, 'redundant column')}, not {m}")
        if k + m > MOST_COLUMNS:
            raise LayoutError(f"a slot has at most {MOST_COLUMNS} columns, not {k + m}")
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
    def groups(self) -> int:
        return self.m // self.profile.parity if self.profile.nested else 1

    @property
    def d(self) -> int:
        """Data columns of a group."""
        return self.k // self.groups

    @property
    def p(self) -> int:
        """Redundant columns of a group."""
        return self.m // self.groups

    @property
    def tolerance(self) -> int:
        """How many columns may be lost, whichever they are."""
        return self.p

    def group(self, column: int) -> int:
        assert 0 <= column < self.width
        return column // self.d if column < self.k else (column - self.k) // self.p

    def columns_of(self, group: int) -> tuple[int, ...]:
        """Of a group, data first."""
        data = range(group * self.d, (group + 1) * self.d)
        return (*data, *range(self.k + group * self.p, self.k + (group + 1) * self.p))

    def survives(self, lost: Iterable[int]) -> bool:
        """Whether a grain can be read without these columns."""
        count = [0] * self.groups
        for column in set(lost):
            count[self.group(column)] += 1
        # Redundant columns may all be lost, and that is never more than p of a group.
        return all(gone <= self.p for gone in count)

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
        return "copy" if self.d == 1 else "parity"

    def held(self, column: int) -> range:
        """The bytes of the grain that a column holds or copies; empty for parity."""
        role = self.role(column)
        start = (self.group(column) if role == "copy" else column) * self.column
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
        """The columns, none of them lost, that `column` is made of: itself, a copy, or d others of its group, data
        before parity. (Which multiples of them: raid/field.pyx.) Raises LayoutError."""
        if column not in lost:
            return (column,)
        left = [other for other in self.columns_of(self.group(column)) if other not in lost]
        if len(left) < self.d:
            raise LayoutError(f"{len(lost)} columns are lost, and {self.profile.name} survives {self.tolerance}")
        return tuple(left[: self.d])


def column_bytes(grain: int, k: int) -> int:
    """Bytes of each column: ceil(grain / k), rounded up to sectors."""
    return -(-grain // (k * SECTOR)) * SECTOR


def _counted(least: int, most: int, what: str) -> str:
    return f"{least if least == most else f'{least} to {most}'} {what}{'' if most == 1 else 's'}"


def _worth_it(grain: int, k: int) -> bool:
    """Less than a twentieth of k columns is padding, and no column is nothing but padding."""
    column = column_bytes(grain, k)
    return (k * column - grain) * 20 < k * column and (k - 1) * column < grain


MOST_IN_GROUP = 12  # columns of a group of raid50 and raid60: wider ones would be raid5 and raid6 again


def choose(profile: Profile, members: int, grain: int, extent: int = EXTENT, narrow: bool = False) -> Layout:
    """The widest layout that wastes under 5 % on padding and fits on `members` different members; of nested ones that
    are equally wide the one that keeps most.

    narrow: members that are fewer than the level asks for will do, as far as every group keeps its redundancy. Raises
    LayoutError with one sentence if there are too few.
    """
    fewest = profile.narrowest if narrow else profile.members
    if members < fewest:
        raise LayoutError(f"{profile.name} needs at least {_counted(fewest, fewest, 'member')}, not {members}")
    most = min(members, MOST_COLUMNS)
    shapes = _nested(profile, most, narrow) if profile.nested else _plain(profile, most)
    k, m = max(((k, m) for k, m in shapes if _worth_it(grain, k)), key=lambda shape: (shape[0], -shape[1]))
    return Layout.of(profile, k, m, grain, extent)


def _plain(profile: Profile, members: int) -> Iterator[tuple[int, int]]:
    """(k, m) that fit."""
    for k in range(1, min(members - profile.parity, MOST_DATA if profile.wide else 1) + 1):
        yield k, profile.parity


def _nested(profile: Profile, members: int, narrow: bool) -> Iterator[tuple[int, int]]:
    least, widest = (1, 1) if profile.copies else (1 if narrow else 2, MOST_IN_GROUP - profile.parity)
    for d in range(least, widest + 1):
        for groups in range(1 if narrow or profile.copies else 2, members // (d + profile.parity) + 1):
            if d * groups <= MOST_DATA:
                yield d * groups, groups * profile.parity
