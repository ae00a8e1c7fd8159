"""vfab ping H1 H2: ICMP echo from a host of the lab to another, or to an address. Exit code 0 when an answer came."""

from __future__ import annotations

import argparse
from typing import Any

from daemons.client import Client
from tools.arguments import seconds, whole
from tools.asking import pinger
from tools.asking import target as target_of
from tools.labs import choose
from tools.nodes import nodes
from tools.output import print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="H1", help="the host that asks")
    parser.add_argument("target", metavar="H2", help="the host or the address that is asked")
    parser.add_argument("-c", "--count", type=whole(1, 65535), default=4, metavar="N", help="echoes (4)")
    parser.add_argument(
        "-i", "--interval", type=seconds(0.001, 3600), default=0.2, metavar="S", help="seconds between them (0.2)"
    )
    parser.add_argument(
        "-W", "--timeout", type=seconds(0.001, 3600), default=1.0, metavar="S", help="seconds to wait for each (1)"
    )
    parser.add_argument("-s", "--size", type=whole(0, 65535), default=56, metavar="BYTES", help="payload (56)")


def run(options: argparse.Namespace) -> int:
    lab = choose(options.lab)
    tell = None if options.json else _tell(options)
    silence = options.interval + options.timeout + 10
    known = nodes(lab)
    daemon, target = pinger(lab, known, options.source), target_of(known, options.source, options.target)
    with Client(lab.paths.control(daemon), timeout=silence) as client:
        result = client.call(
            "ping",
            events=tell,
            src=options.source,
            dst=target,
            count=options.count,
            interval_ms=options.interval * 1000,
            timeout_ms=options.timeout * 1000,
            size=options.size,
        )
    if options.json:
        print_json(result)
    else:
        print(_summary(result))
    return 0 if result["received"] else 1


def _tell(options: argparse.Namespace) -> Any:
    def tell(event: dict[str, Any]) -> None:
        what = event["error"] or "no answer" if event["rtt_ms"] is None else f"{event['rtt_ms']:.3f} ms"
        print(f"{options.source} -> {options.target}  seq {event['seq']}  {what}", flush=True)

    return tell


def _summary(result: dict[str, Any]) -> str:
    times = result["rtts_ms"]
    spread = f"; min/avg/max {min(times):.3f}/{sum(times) / len(times):.3f}/{max(times):.3f} ms" if times else ""
    errors = f"; {'; '.join(dict.fromkeys(result['errors']))}" if result["errors"] else ""
    return f"{result['address']}: {result['sent']} sent, {result['received']} received{spread}{errors}"
