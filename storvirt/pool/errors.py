"""What a pool raises beside BlockError. Knows: whose trouble it is. Refuses to know: how it came about."""

from __future__ import annotations


class PoolError(Exception):
    """The user's to read: one sentence."""


class Suspended(Exception):
    """The host is in trouble, not a member: nothing is lost, the call is to be made again later. One sentence."""


class Busy(Suspended):
    """Nobody is in trouble: the call needs what a checkpoint gives, and whoever makes the fsyncs (flush.py) makes one
    now. Only a pool whose fsyncs are made `apart` raises it; the call is to be made again afterwards."""
