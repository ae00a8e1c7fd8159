"""The storage that a lab file means, with everything in it that does not fit together; and what is odd about it.

Knows: names, files that are used twice, RAID levels and their members, sizes.
Refuses to know: what is on disk, what runs.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from storvirt.nbd.uri import PATIENCE, is_uri, parse
from storvirt.raid.layout import LayoutError, choose, profile_named

from . import sizes
from .mistake import At, Finding, did_you_mean, listed, quoted
from .storage import Lun, Pool, Storage, Volume
from .storage_model import StorageModel

STORAGE: At = ("storage",)
POOLS: At = (*STORAGE, "pools")
VOLUMES: At = (*STORAGE, "volumes")
LUNS: At = (*STORAGE, "luns")
# The least that storvirt.pool.assemble takes: 8 MiB and eight extents of 4 MiB. A test holds them together.
LEAST_MEMBER = 40 << 20
LOOPBACK = ("127.", "localhost:", "[::1]")


class Gone:
    """Names that the reader had to take out of the file: nothing more is said about them."""

    def __init__(self, removed: AbstractSet[At]) -> None:
        names = {(str(way[1]), str(way[2])) for way in removed if way[:1] == STORAGE and len(way) > 2}
        whole = {str(way[1]) for way in removed if way[:1] == STORAGE and len(way) == 2}
        everything = STORAGE in removed
        self._names = names
        self._whole = {"pools", "volumes", "luns"} if everything else whole

    def has(self, kind: str, name: str) -> bool:
        return kind in self._whole or (kind, name) in self._names


def resolve_storage(model: StorageModel, nodes: set[str], gone: Gone) -> tuple[Storage, list[Finding]]:
    """`nodes`: the names of switches and hosts."""
    findings: list[Finding] = []
    pools = {
        name: Pool(name, pool.members, pool.size, pool.spares, pool.repair_rate, pool.spare_after)
        for name, pool in model.pools.items()
    }
    volumes = {
        name: Volume(name, volume.pool, volume.raid, volume.size, volume.grain)
        for name, volume in model.volumes.items()
    }
    luns = {name: Lun(name, lun.volume, lun.nbd.path, lun.nbd.tcp, lun.read_only) for name, lun in model.luns.items()}
    findings += _names(pools, nodes)
    findings += _members(pools)
    for volume in volumes.values():
        findings += _volume(volume, pools, gone)
    findings += _luns(luns, volumes, gone)
    return Storage(pools, volumes, luns), findings


def _names(pools: dict[str, Pool], nodes: set[str]) -> Iterator[Finding]:
    for name in pools:
        if name in nodes:
            what = f"{quoted(name)} is a node already, and a pool is a process of its own beside the nodes"
            yield Finding((*POOLS, name), what, "give one of them another name", key=True)


def _members(pools: dict[str, Pool]) -> Iterator[Finding]:
    used: dict[str, str] = {}
    for pool in pools.values():
        if pool.size < LEAST_MEMBER:
            what = f"members of {sizes.text(pool.size)} are too small for a pool"
            yield Finding((*POOLS, pool.name, "size"), what, f"give at least {sizes.text(LEAST_MEMBER)}")
        listed_files = [("members", index, member) for index, member in enumerate(pool.members)]
        listed_files += [("spares", index, member) for index, member in enumerate(pool.spares)]
        for key, index, member in listed_files:
            path = parse(member)._replace(patience=PATIENCE).text if is_uri(member) else posixpath.normpath(member)
            if path in used:
                other = used[path]
                what = f"the file {quoted(member)} is a member twice"
                what += "" if other == pool.name else f" (of pool {quoted(other)} too)"
                yield Finding((*POOLS, pool.name, key, index), what, "give each member a file of its own")
            used.setdefault(path, pool.name)


def _volume(volume: Volume, pools: dict[str, Pool], gone: Gone) -> Iterator[Finding]:
    at = (*VOLUMES, volume.name)
    pool = pools.get(volume.pool)
    if pool is None:
        if not gone.has("pools", volume.pool):
            fix = f"add it to pools:, or use one of {listed(pools)}" if pools else "add it to pools:"
            what = f"there is no pool {quoted(volume.pool)}"
            yield Finding((*at, "pool"), what, did_you_mean(volume.pool, pools, fix))
        return
    if gone.has("pools", volume.pool):
        return  # the pool may have had more members
    try:
        choose(profile_named(volume.raid), len(pool.members), volume.grain)
    except LayoutError as error:
        what = f"pool {quoted(pool.name)} has too few members for this volume: {error}"
        yield Finding((*at, "raid"), what, "add members to the pool, or take another level")


def _luns(luns: dict[str, Lun], volumes: dict[str, Volume], gone: Gone) -> Iterator[Finding]:
    places: dict[str, Lun] = {}
    for lun in luns.values():
        at = (*LUNS, lun.name)
        if lun.volume not in volumes:
            if not gone.has("volumes", lun.volume):
                fix = f"add it to volumes:, or use one of {listed(volumes)}" if volumes else "add it to volumes:"
                what = f"there is no volume {quoted(lun.volume)}"
                yield Finding((*at, "volume"), what, did_you_mean(lun.volume, volumes, fix))
            continue
        where = lun.path or lun.tcp
        if where is None:
            continue
        other = places.setdefault(where, lun)
        if volumes[other.volume].pool != volumes[lun.volume].pool:
            what = f"{lun.name} and {other.name} are in different pools and cannot share {where}"
            yield Finding((*at, "nbd"), what, "give each an address of its own: a pool is a process")


def oddities(storage: Storage) -> Iterator[Finding]:
    """What may be meant but mostly is not: warnings."""
    for volume in storage.volumes.values():
        pool = storage.pools[volume.pool]
        layout = choose(profile_named(volume.raid), len(pool.members), volume.grain)
        room = int(pool.size * len(pool.members) * layout.kept)
        if volume.size > room:
            what = f"volume {quoted(volume.name)} is larger than its pool ({sizes.about(room)} with {volume.raid})"
            fix = "volumes are thin, so this works until the pool is full; give the pool larger or more members"
            yield Finding((*VOLUMES, volume.name, "size"), what, fix)
    writers: dict[str, str] = {}
    for lun in storage.luns.values():
        at = (*LUNS, lun.name)
        if lun.tcp is not None:
            near = lun.tcp.startswith(LOOPBACK)
            whom = "every user of this machine" if near else "everybody who reaches this address"
            what = f"LUN {quoted(lun.name)} is open to {whom}: NBD over TCP asks nobody who he is"
            yield Finding((*at, "nbd", "tcp"), what, "write nbd: true for a unix socket that is yours alone")
        if lun.read_only:
            continue
        other = writers.setdefault(lun.volume, lun.name)
        if other != lun.name:
            what = f"{other} and {lun.name} both write to volume {quoted(lun.volume)}"
            fix = "give each guest a volume of its own, unless they share a cluster file system"
            yield Finding((*at, "volume"), what, fix)
