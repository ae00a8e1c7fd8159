"""The daemons' event loop is the one that netvirt's ports use (the library's NICs need it without any daemon)."""

from netvirt.ports.loop import Loop as Loop
from netvirt.ports.loop import Timer as Timer

__all__ = ["Loop", "Timer"]
