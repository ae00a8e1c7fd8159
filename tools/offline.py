"""A pool on its files, opened by the command itself: for pools that no lab runs.

Knows: the library's door and its errors. Refuses to know: labs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from daemons.errors import UserError
from storvirt.backing.errors import MemberError
from storvirt.block import BlockError
from storvirt.pool.files import Pool as Pool
from storvirt.pool.pool import PoolError, Suspended


@contextlib.contextmanager
def asking() -> Iterator[None]:
    """What the library raises becomes the user's sentence."""
    try:
        yield
    except BlockError as error:
        raise UserError(error.strerror or str(error)) from None
    except (PoolError, MemberError, Suspended) as error:
        raise UserError(str(error)) from None
