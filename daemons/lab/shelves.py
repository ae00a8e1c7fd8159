"""What a picture of a lab shows of its storage, before it is text or SVG: pools with their files, volumes, LUNs.

Knows: what to write about each. Refuses to know: characters, pixels, what runs.
"""

from __future__ import annotations

from typing import NamedTuple

from . import sizes
from .lab import Lab
from .storage import Lun


class Shelf(NamedTuple):
    """A pool. files: the members' names without their folders; about: what they are together."""

    name: str
    files: tuple[str, ...]
    about: str
    volumes: tuple[Drawer, ...]


class Drawer(NamedTuple):
    """A volume, and who offers it."""

    name: str
    about: str
    luns: tuple[str, ...]


def shelves(lab: Lab) -> list[Shelf]:
    """All pools in the file's order."""
    made = []
    for pool in lab.storage.pools.values():
        volumes, luns = lab.storage.of_pool(pool.name)
        drawers = tuple(
            Drawer(
                volume.name,
                f"{volume.raid}, {sizes.text(volume.size)}",
                tuple(_offered(lun) for lun in luns if lun.volume == volume.name),
            )
            for volume in volumes
        )
        count = len(pool.members)
        about = f"{count} files of {sizes.text(pool.size)}" if count > 1 else f"a file of {sizes.text(pool.size)}"
        made.append(Shelf(pool.name, tuple(path.rpartition("/")[2] for path in pool.members), about, drawers))
    return made


def _offered(lun: Lun) -> str:
    return f"{lun.name} (read only)" if lun.read_only else lun.name
