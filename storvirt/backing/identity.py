"""Where identities come from: the only dice of the storage half.

Knows: the kernel's random numbers. Refuses to know: what is called by them.
"""

from __future__ import annotations

import os

SIZE = 16


def fresh() -> bytes:
    """16 bytes that nobody has had before (2^-128)."""
    return os.urandom(SIZE)
