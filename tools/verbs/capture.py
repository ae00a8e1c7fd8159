"""vfab capture s1:eth1: frames as they pass a port of a switch, or all its ports (vfab capture s1).

Into a pcapng file with -w FILE, into a pipe with -w - (vfab capture s1 -w - | tshark -r -), or in words. Directions
are the switch's: "in" is a frame that it received. Ends with Ctrl-C, after -c frames or after --seconds.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from io import RawIOBase

from daemons.errors import UserError
from tools.capturing import Capture, Limits
from tools.decode import scapy_describe
from tools.errors import BadInput
from tools.labs import KnownLab, choose, desired
from tools.recording import Direction, JsonSink, PcapngSink, Sink, TextSink, forget_stdout

_DIRECTIONS: dict[str, frozenset[Direction]] = {
    "in": frozenset({"in"}),
    "out": frozenset({"out"}),
    "both": frozenset({"in", "out"}),
}
_EVERY_PORT = "*"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("where", metavar="SWITCH[:PORT]", help="the port, such as s1:eth1; s1 alone is all its ports")
    parser.add_argument("-w", "--write", metavar="FILE", help="write pcapng to FILE; - is stdout, for: | tshark -r -")
    parser.add_argument("-c", "--count", type=int, default=0, metavar="N", help="stop after N frames")
    parser.add_argument("--seconds", type=float, metavar="S", help="stop after S seconds")
    parser.add_argument("--direction", choices=sorted(_DIRECTIONS), default="both", help="seen from the switch (both)")
    parser.add_argument("--decode", action="store_true", help="print scapy's summary of each frame")


def run(options: argparse.Namespace) -> int:
    _check(options)
    switch, endpoint = _place(choose(options.lab), options.where)
    limits = Limits(options.count, options.seconds, _DIRECTIONS[options.direction])
    to_stdout = options.write == "-" or not options.write or options.decode or options.json
    with ExitStack() as files:
        capture = Capture(endpoint, switch, _sinks(options, switch, files), limits, _note)
        try:
            capture.run(sys.stdout.fileno() if to_stdout else None)
        except OSError as error:
            raise UserError(f"the capture has ended: {error.strerror or error}") from None
    if capture.reader_gone:
        forget_stdout()
    counts = capture.counts
    frames = f"{capture.total} frame{'' if capture.total == 1 else 's'}"
    _note(f"{frames} captured on {options.where} ({counts['in']} in, {counts['out']} out)")
    return 0


def _check(options: argparse.Namespace) -> None:
    if options.count < 0 or (options.seconds is not None and not 0 < options.seconds < 1e9):
        raise BadInput("-c and --seconds take a number greater than 0")
    if options.write == "-" and (options.decode or options.json):
        raise BadInput("-w - writes the capture itself to stdout, so nothing else can be printed there; use -w FILE")
    if options.write == "-" and sys.stdout.isatty():
        raise BadInput("-w - writes binary data, and stdout is a terminal; add for example: | tshark -r -")


def _place(lab: KnownLab, where: str) -> tuple[str, str]:
    """The switch's name and the endpoint to dial. Raises UserError."""
    switch, colon, port = where.partition(":")
    nodes = desired(lab)
    switches = [name for name, node in nodes.items() if node.kind == "switchd"]
    if switch not in switches:
        raise UserError(f"there is no switch {switch!r} in {lab.name}; there are: {', '.join(switches) or 'none'}")
    ports = [str(each["name"]) for each in nodes[switch].config["ports"]]
    if colon and port not in ports:
        raise UserError(f"switch {switch} has no port {port!r}; its ports are: {', '.join(ports)}")
    return switch, f"ipc://{lab.paths.zmq(switch)}#{port if colon else _EVERY_PORT}"


def _sinks(options: argparse.Namespace, switch: str, files: ExitStack) -> list[Sink]:
    sinks: list[Sink] = []
    if options.write:
        sinks.append(PcapngSink(_open(options.write, files), switch))
    if options.json:
        sinks.append(JsonSink(sys.stdout, scapy_describe() if options.decode else None))
    elif options.decode:
        sinks.append(TextSink(sys.stdout, scapy_describe()))
    elif not options.write:
        sinks.append(TextSink(sys.stdout))
    return sinks


def _open(name: str, files: ExitStack) -> RawIOBase:
    """Unbuffered: each burst is written whole, and nothing is left to fail when the file is closed."""
    target = sys.stdout.fileno() if name == "-" else name
    try:
        return files.enter_context(open(target, "wb", buffering=0, closefd=name != "-"))
    except OSError as error:
        raise BadInput(f"cannot write {name}: {error.strerror}") from None


def _note(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
