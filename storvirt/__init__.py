"""The storage half of virtfab: pools of backing files, RAID, thin volumes, LUNs. Usable without any daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storvirt.pool.files import Pool as Pool
    from storvirt.pool.pool import PoolError as PoolError
    from storvirt.pool.pool import Suspended as Suspended

__all__ = ["Pool", "PoolError", "Suspended"]


def __getattr__(name: str) -> object:
    # The compiled rooms cost more to import than all else: only who opens a pool pays for them.
    if name == "Pool":
        from storvirt.pool.files import Pool

        return Pool
    if name in ("PoolError", "Suspended"):
        from storvirt.pool import pool

        return getattr(pool, name)
    raise AttributeError(f"module 'storvirt' has no attribute {name!r}")
