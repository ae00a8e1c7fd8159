"""The library's door: a pool on files, without any daemon.

Knows: which member files, who closes them. Refuses to know: how a pool works (storvirt.pool.pool), members that come
and go (upkeep.py), system calls (storvirt.backing).

A pool has one opener at a time: the files are locked, and the second opener is told who has them. Everything raises
PoolError, MemberError or BlockError (the latter two are OSErrors), or Suspended: the host has no space; make room and
call again, nothing is lost.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from os import PathLike, fspath
from types import TracebackType
from typing import Any

from storvirt.backing import identity
from storvirt.backing.files import close_all, create_all, open_all, open_there, remove_all
from storvirt.lun import Lun
from storvirt.pool.assemble import format_pool, open_pool
from storvirt.pool.growth import grow_volume
from storvirt.pool.pool import Pool as Core
from storvirt.pool.pool import PoolError
from storvirt.pool.upkeep import Upkeep
from storvirt.volume.volume import Volume

Paths = Sequence[str | PathLike[str]]


def create_core(paths: Paths, *, name: str, size: int, extent: int | None = None) -> Core:
    """A new, empty pool on new files of `size` bytes each. Never touches a file that is there.

    A path may be an NBD URI or name a block device: these have their own sizes, and must be blank.
    """
    members = create_all(_texts(paths), size)
    try:
        idents = [identity.fresh() for _ in members]
        return format_pool(members, name=name, pool_id=identity.fresh(), member_ids=idents, extent=extent)
    except BaseException:
        remove_all(members)
        raise


def _texts(paths: Paths) -> list[str]:
    """One name would be a sequence, too: of files with names of one letter."""
    if isinstance(paths, str):
        raise PoolError(f"the files of a pool are a list, and {paths!r} is one name")
    return [fspath(path) for path in paths]


class OpenVolume(Lun):
    """A volume as a Block for any byte offset: read, write, zero, trim, flush, extents; and pread and pwrite, with the
    order of arguments that os.pread has."""

    def __init__(self, pool: Core, name: str, read_only: bool) -> None:
        super().__init__(Volume(pool, pool.disk(name)), name, read_only)
        self._pool = pool

    def pread(self, length: int, offset: int) -> bytes:
        return self.read(offset, length)

    def pwrite(self, data: bytes | memoryview, offset: int) -> None:
        """Acknowledged when it returns: survives the death of this process; after flush() also the loss of power."""
        self.write(offset, data)

    def write(self, offset: int, data: bytes | memoryview, fua: bool = False) -> None:
        super().write(offset, data, fua)
        self._pool.work()  # nobody else does what can be done meanwhile

    def flush(self) -> None:
        self._must_be_open("flush")
        super().flush()

    def _judge(self, call: str, offset: int, length: int, writing: bool = False, carried: bool = False) -> None:
        self._must_be_open(call)
        super()._judge(call, offset, length, writing, carried)

    def _must_be_open(self, call: str) -> None:
        # Reads would still come from what is in memory, or say that the members are damaged.
        if self._pool.closed:
            raise self._error(errno.ESHUTDOWN, f"{call}: pool {self._pool.name} is closed")


class Pool(Upkeep):
    """An open pool. `with Pool.create([...], size=1 << 30) as pool:` closes it at the end, with a checkpoint.

    with Pool.open(["a.img", "b.img", "c.img"]) as pool:
        pool.add("d.img")
        job = pool.rebalance()
        while job.step():  # a little at a time: volumes may be read and written in between
            print(job.progress)
        pool.remove("a.img").run()
    """

    def __init__(self, core: Core, read_only: bool = False) -> None:
        super().__init__(core)
        self.read_only = read_only

    @classmethod
    def create(cls, paths: Paths, size: int, name: str = "pool", extent: int | None = None) -> Pool:
        """A new pool on new files. size: bytes of each file (they are sparse); extent: bytes, a power of two."""
        return cls(create_core(paths, name=name, size=size, extent=extent))

    @classmethod
    def open(cls, paths: Paths, read_only: bool = False, degraded: bool = False) -> Pool:
        """A pool that is there, in any order of its files.

        degraded: go on although some are missing, as far as redundancy reaches. read_only: no file changes, and
        others may look at the same time.
        """
        texts = _texts(paths)
        members = (open_there if degraded else open_all)(texts, read_only)
        try:
            if not members:
                raise PoolError("none of the pool's files is there")
            return cls(open_pool(members, degraded=degraded, read_only=read_only), read_only)
        except BaseException:
            close_all(members)
            raise

    @property
    def name(self) -> str:
        return self.core.name

    @property
    def volumes(self) -> list[str]:
        return [row.name for row in self.core.volume_rows.values()]

    def create_volume(self, name: str, size: int, raid: str = "raid5", grain: int = 32768) -> OpenVolume:
        """A thin volume of `size` bytes (a multiple of 4096). raid: a level of storvirt.raid.layout. grain: bytes."""
        self._must_write()
        self.core.create_volume(name, size, raid, grain)
        return self.volume(name)

    def grow_volume(self, name: str, size: int) -> OpenVolume:
        """Make a volume larger; handles that were open keep the old size."""
        self._must_write()
        grow_volume(self.core, name, size)
        return self.volume(name)

    def volume(self, name: str) -> OpenVolume:
        self._must_be_open()
        return OpenVolume(self.core, name, self.read_only)

    def status(self) -> dict[str, Any]:
        """Members, volumes, free space in bytes, counters."""
        return self.core.status()

    def _must_be_open(self) -> None:
        if self.core.closed:
            raise PoolError(f"pool {self.name} is closed")

    def _must_write(self) -> None:
        self._must_be_open()
        if self.read_only:
            raise PoolError(f"pool {self.name} is open for reading only")

    def close(self) -> None:
        """A checkpoint, then the files are closed and unlocked. A second call does nothing."""
        if self.read_only:
            if not self.core.closed:
                self.core.abandon()
        else:
            self.core.close()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
