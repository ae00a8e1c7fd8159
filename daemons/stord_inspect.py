"""What a running pool answers when somebody asks where a byte of a volume lies.

Knows: the operation's arguments, checked. Refuses to know: how it is found out (storvirt.pool.inspection).
"""

from __future__ import annotations

from typing import Any

from daemons.errors import UserError
from daemons.stord_keeper import Keeper
from storvirt.block import BlockError
from storvirt.pool.inspection import inspect
from storvirt.pool.pool import PoolError


def answer(keeper: Keeper, args: dict[str, Any]) -> dict[str, Any]:
    """`{volume, offset, without}`: bytes; numbers of members. It reads one grain, and waits for that. Raises
    UserError."""
    volume, offset, without = args.get("volume"), args.get("offset"), args.get("without", [])
    if not isinstance(volume, str) or not _number(offset) or not isinstance(without, list):
        raise UserError("inspect wants {volume, offset, without: [numbers of members]}")
    if not all(map(_number, without)):
        raise UserError("inspect wants numbers of members under without")
    try:
        return inspect(keeper.pool, volume, int(offset or 0), frozenset(without))
    except PoolError as error:
        raise UserError(str(error)) from None
    except BlockError as error:
        raise UserError(error.strerror or str(error)) from None


def _number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
