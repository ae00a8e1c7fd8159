"""Numbers on the command line: each is checked where it is typed, so that the answer is in the user's own words."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from collections.abc import Callable


def whole(lowest: int, highest: int) -> Callable[[str], int]:
    """An argparse type: a whole number from `lowest` to `highest`."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = lowest - 1
        if not lowest <= value <= highest:
            raise ArgumentTypeError(f"{text!r} is no whole number from {lowest} to {highest}")
        return value

    return read


def seconds(lowest: float, highest: float) -> Callable[[str], float]:
    """An argparse type: seconds from `lowest` to `highest`, with a fraction or without."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not lowest <= value <= highest:
            raise ArgumentTypeError(f"{text!r} is no number of seconds from {lowest:g} to {highest:g}")
        return value

    return read
