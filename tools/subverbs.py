"""Verbs with words of their own below them, such as `vfab pool list`; sizes and RAID levels on the command line.

Knows: argparse. Refuses to know: what a word does.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from daemons.lab import sizes
from storvirt.block import BLOCK
from storvirt.raid.layout import LayoutError, profile_named

Run = Callable[[argparse.Namespace], int]


class Subverbs:
    """`options.subverb` is the function that was chosen; `default` is taken where nothing is said."""

    def __init__(self, parser: argparse.ArgumentParser, default: str) -> None:
        self._parser = parser
        self._default = default
        self._words = parser.add_subparsers(metavar="WORD", help="one of these; without any it is " + default)

    def add(self, name: str, run: Run, help: str) -> argparse.ArgumentParser:
        word = self._words.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".", allow_abbrev=False)
        # Also behind the word: that is where one types them. Without SUPPRESS these defaults would win.
        word.add_argument("-l", "--lab", metavar="LAB", default=argparse.SUPPRESS, help="the lab")
        word.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
        word.set_defaults(subverb=run)
        if name == self._default:
            self._parser.set_defaults(subverb=run)
        return word


def size(text: str) -> int:
    """An argparse type: bytes, a multiple of 4 KiB."""
    found = sizes.parse(text)
    if found is None or found < BLOCK or found % BLOCK:
        raise argparse.ArgumentTypeError(f"{text!r} is no size in whole 4 KiB; write it like 512MiB or 1GiB")
    return found


def level(text: str) -> str:
    """An argparse type: a RAID level's name."""
    try:
        return profile_named(text).name
    except LayoutError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
