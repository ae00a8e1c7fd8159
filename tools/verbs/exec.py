"""vfab exec HOST -- COMMAND: runs a program in a host of kind netns, in place of this one.

Input, output and exit code are the program's own; without a command it is your shell.
Knows: who may be meant, whom to ask. Refuses to know: how one gets in there.
"""

from __future__ import annotations

import argparse
import os

from daemons.client import Client
from daemons.errors import UserError
from daemons.paths import INSIDE
from tools.entering import become, enter
from tools.errors import BadInput
from tools.labs import choose
from tools.nodes import nobody, nodes

# Why a program can't run in a node of another kind, and what can be done there.
_OTHERS = {
    "host": "{name} is a userspace host, which has no stack of the kernel to run a program in; use vfab ping {name} or "
    "vfab traffic {name}, or give it kind: netns in the lab file",
    "vm": "{name} is a virtual machine; log in with vfab console {name}",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("host", metavar="HOST", help="a host of kind netns")
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="the program and its arguments (your shell)"
    )


def run(options: argparse.Namespace) -> int:
    lab = choose(options.lab)
    words = [word for number, word in enumerate(options.command) if number or word != "--"]
    known = nodes(lab)
    node = known.get(options.host)
    if node is None:
        nobody(
            lab, options.host, [each.name for each in known.values() if each.kind not in _OTHERS], "host of kind netns"
        )
    if node.kind in _OTHERS:
        raise BadInput(_OTHERS[node.kind].format(name=node.name))
    with Client(lab.paths.control(node.daemon), timeout=10) as client:
        status = client.call("status")
    row = next((row for row in status["hosts"] if row["name"] == node.name), None)
    if row is None:
        raise UserError(f"{node.name} is not up: {'; '.join(status['problems']) or 'it is just being started'}")
    enter(row)
    os.environ[INSIDE] = os.path.join(lab.paths.run, node.name)
    become(words or [os.environ.get("SHELL", "/bin/sh")])
