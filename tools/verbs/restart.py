"""vfab restart NODE: end a node's process and start it again, with its configuration and a higher epoch."""

from __future__ import annotations

import argparse

from tools.labs import ask, choose
from tools.output import print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", metavar="NODE", help="a switch, a pool, or hostd")


def run(options: argparse.Namespace) -> int:
    rows = ask(choose(options.lab), "restart", node=options.node)
    if options.json:
        print_json(rows)
    else:
        print(f"{options.node} is up again, process {rows[options.node]['pid']}.")
    return 0
