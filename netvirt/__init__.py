"""The network half of virtfab: frames, bursts, switches, links and NICs. Usable without any daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netvirt.nic import Nic as Nic

__all__ = ["Nic"]


def __getattr__(name: str) -> object:
    # Nic needs ZeroMQ, which costs more to import than the rest together: only who asks for it pays.
    if name == "Nic":
        from netvirt.nic import Nic

        return Nic
    raise AttributeError(f"module 'netvirt' has no attribute {name!r}")
