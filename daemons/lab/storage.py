"""The storage of a lab as it is meant: every default filled in, every name resolved. All values are frozen.

Knows: what the rest of the house needs of pools, volumes and LUNs. Refuses to know: the file and its positions.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Pool:
    """members, spares: as they stand in the file; size: bytes of each; repair_rate: bytes/s, spare_after: seconds, None
    where the file does not say."""

    name: str
    members: tuple[str, ...]
    size: int
    spares: tuple[str, ...] = ()
    repair_rate: int | None = None
    spare_after: int | None = None


@dataclass(frozen=True, slots=True)
class Volume:
    """size, grain: bytes; raid: a level of storvirt.raid.layout."""

    name: str
    pool: str
    raid: str
    size: int
    grain: int


@dataclass(frozen=True, slots=True)
class Lun:
    """path, tcp: at most one is set; none is a unix socket in the run folder."""

    name: str
    volume: str
    path: str | None
    tcp: str | None
    read_only: bool


@dataclass(frozen=True, slots=True)
class Storage:
    pools: dict[str, Pool] = field(default_factory=dict)
    volumes: dict[str, Volume] = field(default_factory=dict)
    luns: dict[str, Lun] = field(default_factory=dict)

    def of_pool(self, pool: str) -> tuple[list[Volume], list[Lun]]:
        """The volumes in a pool and the LUNs of these, in the file's order."""
        volumes = [volume for volume in self.volumes.values() if volume.pool == pool]
        names = {volume.name for volume in volumes}
        return volumes, [lun for lun in self.luns.values() if lun.volume in names]
