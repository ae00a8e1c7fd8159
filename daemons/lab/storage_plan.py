"""The storage of a lab -> what fabricd sends to its stords: one configuration per pool.

Knows: the value of `configure` (ARCHITECTURE.md). Refuses to know: where files and sockets are (`StoragePlaces` is
asked), processes.
"""

from __future__ import annotations

from typing import Any, Protocol

from .lab import Lab
from .storage import Lun, Pool

Config = dict[str, Any]


class StoragePlaces(Protocol):
    """Where things are; fabricd has one, and the planner only asks."""

    def member(self, path: str) -> str:
        """The absolute path of a member, or of a LUN's socket, as the lab file names it."""
        ...

    def nbd_path(self, pool: str, lun: str) -> str:
        """The unix socket of a LUN that the file gives no address for."""
        ...


def pool_config(lab: Lab, name: str, places: StoragePlaces, epoch: int) -> Config:
    """What `configure` carries to the stord of pool `name`."""
    pool = lab.storage.pools[name]
    volumes, luns = lab.storage.of_pool(name)
    return {
        "name": name,
        "lab": lab.name,
        "epoch": epoch,
        "pool": {
            "name": name,
            "members": [places.member(path) for path in pool.members],
            "size": pool.size,
            **_repair(pool, places),
        },
        "volumes": [
            {"name": volume.name, "size": volume.size, "raid": volume.raid, "grain": volume.grain} for volume in volumes
        ],
        "luns": [_lun(name, lun, places) for lun in luns],
    }


def _repair(pool: Pool, places: StoragePlaces) -> Config:
    """What the file says of it: stord has its own defaults."""
    said = {"repair_rate": pool.repair_rate, "spare_after": pool.spare_after}
    spares = {"spares": [places.member(path) for path in pool.spares]} if pool.spares else {}
    return {**spares, **{key: value for key, value in said.items() if value is not None}}


def pool_configs(lab: Lab, places: StoragePlaces, epoch: int) -> dict[str, Config]:
    """All of them, by name, in the file's order."""
    return {name: pool_config(lab, name, places, epoch) for name in lab.storage.pools}


def _lun(pool: str, lun: Lun, places: StoragePlaces) -> Config:
    where = {"tcp": lun.tcp} if lun.tcp is not None else {"path": lun_path(pool, lun, places)}
    return {"name": lun.name, "volume": lun.volume, **where, "read_only": lun.read_only}


def lun_path(pool: str, lun: Lun, places: StoragePlaces) -> str:
    """The unix socket of a LUN that has no TCP address."""
    return places.member(lun.path) if lun.path is not None else places.nbd_path(pool, lun.name)
