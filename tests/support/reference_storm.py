"""The reference switch's storm control: one token bucket per port and kind of flooded frame.

Knows: a rate, its unit, when frames came. Refuses to know: ports, VLANs, and everything in netvirt.
The bucket is exact (fractions): it holds a tenth of a second's worth, at least one largest frame (with one tag), and
starts full.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

SECOND = 1_000_000_000


@dataclass
class Bucket:
    """unit: fps (frames per second) or bps (bits per second of the frames as they came, without preamble and FCS)."""

    rate: int
    unit: str
    mtu: int
    tokens: Fraction = field(init=False)
    filled: int | None = None

    def __post_init__(self) -> None:
        self.tokens = self.size()

    def size(self) -> Fraction:
        return max(Fraction(self.rate, 10), Fraction(1 if self.unit == "fps" else 8 * (self.mtu + 18)))

    def take(self, length: int, now: int) -> bool:
        """Whether a frame of `length` bytes may pass at `now` nanoseconds; if so, it is paid for."""
        if self.filled is not None:
            self.tokens = min(self.size(), self.tokens + Fraction((now - self.filled) * self.rate, SECOND))
        self.filled = now
        price = Fraction(1) if self.unit == "fps" else min(Fraction(8 * length), self.size())
        if self.tokens < price:
            return False
        self.tokens -= price
        return True
