"""vfab topo SHAPE: the lab file of a shape, such as tree,2,3; to look at, and to begin a lab of one's own with."""

from __future__ import annotations

import argparse

from daemons.lab import shapes
from tools.output import print_json
from tools.shapes import keep, read


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = f"shapes, with what is taken where nothing is said:\n{shapes.usage()}"
    parser.add_argument("shape", metavar="SHAPE", help="such as single,4 or leaf-spine,2,4,hosts=2")
    add_hosts(parser)
    parser.add_argument("-o", "--save", metavar="FILE", help="write it there, not to the output")


def add_hosts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--hosts", choices=tuple(shapes.HOSTS), default="userspace", metavar="KIND",
        help="userspace: hosts that answer pings, a process for all (the default); netns: namespaces that run programs",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    topo = read(options.shape, options.hosts)
    if options.save:
        print(f"The lab file is {keep(topo, options.save)}.")
    elif options.json:
        print_json(topo.to_dict())
    else:
        print(topo.to_yaml(), end="")
    return 0
