"""Whether the tables of a commit record can be true: a record whose checksum fits may still be somebody's mistake.

Knows: what every table promises to those that index by it. Refuses to know: members' content, how tables come about.
"""

from __future__ import annotations

from storvirt.pool import format as f
from storvirt.pool.space import layout_of
from storvirt.raid.layout import BY_NUMBER, LayoutError
from storvirt.volume.map import PAGE, levels_for

STATES = frozenset({f.IN, f.OUT, f.SPARE, f.REMOVED})
MOST_SLABS = 1 << 20  # numbers are used again, and a pool has far fewer extents
MOST_VOLUMES = 1 << 20  # a volume's number and a block's share 64 bits: 20 and 44
MOST_BYTES = 1 << 50  # of a volume


def check(commit: f.Commit, extent: int) -> None:
    """Raises FormatError with what is wrong. extent: bytes."""
    if not commit.members or not all(row.state in STATES for row in commit.members):
        raise f.FormatError("its member table has no rows, or states that are not known")
    for number, row in enumerate(commit.members):
        if row.successor not in f.WORDS and (row.successor >= len(commit.members) or row.successor == number):
            raise f.FormatError(f"member {number} is replaced by member {row.successor}, which can't be")
    slabs = {row.slab: row for row in commit.slabs}
    _distinct("slab", [row.slab for row in commit.slabs])
    _distinct("volume", [row.volume for row in commit.volumes])
    _distinct("volume's name", [row.name for row in commit.volumes])
    _distinct("extent", [column for row in commit.slabs for column in row.columns])
    for slab in commit.slabs:
        _slab(slab, commit.members, extent)
    for volume in commit.volumes:
        _volume(volume, commit.next_volume)
    for segment in commit.segments:
        slab_row = slabs.get(segment.slab)
        if slab_row is None or slab_row.use != f.LOG or segment.end > extent:
            raise f.FormatError(f"segment {segment.slab} of the log is no slab for the log, or ends behind its end")


def _distinct(what: str, values: list[int] | list[str] | list[f.Column]) -> None:
    if len(set(values)) != len(values):
        raise f.FormatError(f"some {what} is in its table twice")


def _slab(row: f.SlabRow, members: tuple[f.MemberRow, ...], extent: int) -> None:
    where = f"slab {row.slab}"
    if not 1 <= row.slab < MOST_SLABS or row.use not in (f.DATA, f.META, f.LOG) or row.profile not in BY_NUMBER:
        raise f.FormatError(f"{where} has a number, use or profile that can't be")
    grain = {f.META: PAGE, f.LOG: extent}.get(row.use, row.grain)
    mirrored = row.data == 1 and row.profile in (f.LINEAR, f.RAID1)
    if row.grain != grain or (row.use != f.DATA and not mirrored) or not 1 <= len(row.columns) <= f.MAX_MEMBERS:
        raise f.FormatError(f"{where} has slots or columns that do not fit its use")
    if row.use == f.DATA:
        try:
            layout_of(row, extent)
        except LayoutError as error:
            raise f.FormatError(f"{where}: {error}") from None
    if len({column.member for column in row.columns}) != len(row.columns):
        raise f.FormatError(f"{where} has two columns on one member")
    for member, number in row.columns:
        if member >= len(members) or f.EXTENTS_AT + (number + 1) * extent > members[member].size:
            raise f.FormatError(f"{where} has a column behind the end of member {member}, or on none")


def _volume(row: f.VolumeRow, numbers: int) -> None:
    where = f"volume {row.volume}"
    if not 1 <= row.volume < min(numbers, MOST_VOLUMES) or not row.name or row.profile not in BY_NUMBER:
        raise f.FormatError(f"{where} has a number, name or profile that can't be")
    if not 4096 <= row.grain <= 1 << 20 or row.grain & (row.grain - 1):
        raise f.FormatError(f"{where} has grains of {row.grain} bytes")
    if not 0 < row.size <= MOST_BYTES or row.size % 4096 or row.levels > levels_for(row.size, row.grain):
        raise f.FormatError(f"{where} has {row.size} bytes and {row.levels} levels in its map")
