"""vfab logs NODE: what a node, or the controller (fabricd), has written; with -f as it comes."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time

from daemons.errors import UserError
from tools.labs import choose

_LOOK_SECONDS = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", metavar="NODE", help="a switch, a pool, hostd, or fabricd (the controller)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what is written later, until Ctrl-C")


def run(options: argparse.Namespace) -> int:
    lab = choose(options.lab)
    known = sorted(name.removesuffix(".log") for name in _names(lab.paths.logs))
    if options.node not in known:
        raise UserError(f"there is no log of {options.node!r}; there are: {', '.join(known) or 'none'}")
    sys.stdout.flush()
    with open(lab.paths.log(options.node), "rb") as log:
        shutil.copyfileobj(log, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        # inotify is not in the standard library; five looks a second cost nothing and end with the lab.
        while options.follow and os.path.exists(log.name):
            time.sleep(_LOOK_SECONDS)
            shutil.copyfileobj(log, sys.stdout.buffer)
            sys.stdout.buffer.flush()
    return 0


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
