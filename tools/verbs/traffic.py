"""vfab traffic H1 H2: fill the way from one host to another with UDP frames and count what arrives."""

from __future__ import annotations

import argparse

from daemons.client import Client
from tools.arguments import seconds, whole
from tools.errors import BadInput
from tools.labs import choose
from tools.nodes import nobody, nodes
from tools.output import print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="H1", help="the host that sends")
    parser.add_argument("target", metavar="H2", help="the host that counts")
    parser.add_argument("--seconds", type=seconds(0.01, 3600), default=2.0, metavar="S", help="how long (2)")
    parser.add_argument(
        "--size", type=whole(42, 65535), default=1514, metavar="BYTES", help="frame size without FCS (1514)"
    )


def run(options: argparse.Namespace) -> int:
    lab = choose(options.lab)
    known = nodes(lab)
    for name in (options.source, options.target):
        if name not in known:
            nobody(lab, name, [each.name for each in known.values() if each.kind == "host"], "userspace host")
        if known[name].kind != "host":
            raise BadInput(f"{name} is no userspace host; between namespaces: vfab shell -c 'iperf H1 H2'")
    with Client(lab.paths.control("hostd"), timeout=options.seconds + 30) as client:
        result = client.call(
            "traffic", src=options.source, dst=options.target, seconds=options.seconds, size=options.size
        )
    if options.json:
        print_json(result)
    else:
        print(
            f"{options.source} -> {options.target}: {result['bits_per_second'] / 1e9:.2f} Gbit/s, "
            f"{result['frames_per_second']:,.0f} frames/s of {result['size']} bytes; "
            f"{result['frames']:,} arrived, {result['lost']:,} lost in {result['seconds']:.1f} s"
        )
    return 0 if result["frames"] else 1
