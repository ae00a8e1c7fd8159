"""vfab pingall: every host pings every other. Exit code 0 when exactly those answer whom the lab joins, as its file
says and with what was changed since."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any, NamedTuple

from daemons.client import Client
from daemons.errors import UserError
from daemons.reaching import Expected, expected
from tools.arguments import seconds
from tools.asking import ASKED
from tools.labs import KnownLab, choose
from tools.nodes import nodes
from tools.output import paint, print_json

_SILENCE_SECONDS = 600.0
Question = tuple[str, str, str, bool | None]


class Pair(NamedTuple):
    """One ping. `expected`: the lab joins the two, None: nobody can say; `reached`: an answer came."""

    source: str
    target: str
    address: str
    expected: bool | None
    reached: bool
    error: str

    @property
    def right(self) -> bool:
        return self.expected in (None, self.reached)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-W",
        "--timeout",
        type=seconds(0.001, 600),
        default=1.0,
        metavar="S",
        help="seconds to wait for each answer (1)",
    )


def run(options: argparse.Namespace) -> int:
    lab = choose(options.lab)
    hosts = host_addresses(lab)
    if not hosts:
        raise UserError(f"lab {lab.name} has no hosts")
    sources = [node.name for node in nodes(lab).values() if node.daemon in ASKED]
    pairs = _ping(lab, questions(sources, hosts, expected(lab)), options.timeout)
    wrong = [pair for pair in pairs if not pair.right]
    if options.json:
        print_json({"ok": not wrong, "pairs": [{**pair._asdict(), "right": pair.right} for pair in pairs]})
        return 1 if wrong else 0
    print(matrix(list(hosts), pairs))
    for pair in wrong:
        print(paint(complaint(pair), "red"))
    if not wrong:
        unsure = sum(pair.expected is None for pair in pairs)
        joined = sum(pair.expected is True for pair in pairs)
        print(
            f"All {len(pairs) - unsure} pings as the lab file says: {joined} answered,"
            f" {len(pairs) - unsure - joined} stayed apart."
        )
        if unsure:
            print(
                f"Of {unsure} more nothing was expected: routers, leases, virtual machines, limits, flood"
                " switches or static stations decide."
            )
    return 1 if wrong else 0


def host_addresses(lab: KnownLab) -> dict[str, list[str]]:
    """Host -> its addresses without prefix length, from what its process was told."""
    return {node.name: node.addresses for node in nodes(lab).values()}


def questions(sources: Iterable[str], hosts: dict[str, list[str]], told: Expected) -> list[Question]:
    """(from, to, address, must it answer) for every address of every pair: no address may leak into another VLAN."""
    joined, doubted = (
        {(source, target, address) for source, target, addresses in rows for address in addresses}
        for rows in (told.reach, told.unsure or [])
    )
    return [
        (source, target, address, None if told.unsure is None or ask in doubted else ask in joined)
        for source in sources
        for target, addresses in hosts.items()
        if target != source
        for address in addresses
        for ask in ((source, target, address),)
    ]


def _ping(lab: KnownLab, asked: list[Question], timeout: float) -> list[Pair]:
    answers: dict[tuple[str, str], dict[str, Any]] = {}
    known = nodes(lab)
    for daemon in ASKED:
        pairs = [[source, address] for source, _, address, _ in asked if known[source].daemon == daemon]
        if pairs:
            with Client(lab.paths.control(daemon), timeout=_SILENCE_SECONDS) as client:
                told = client.call("pingall", pairs=pairs, timeout_ms=timeout * 1000)
            answers |= {(source, address): answer for (source, address), answer in zip(pairs, told, strict=True)}
    return [
        Pair(source, target, address, expected, bool(answer["ok"]), answer["error"])
        for source, target, address, expected in asked
        for answer in (answers[source, address],)
    ]


def matrix(hosts: list[str], pairs: list[Pair]) -> str:
    """Rows ask, columns answer: `o` reached, `.` apart, and `X` where that is wrong."""
    cells: dict[tuple[str, str], str] = {}
    for pair in pairs:
        now = "X" if not pair.right else "o" if pair.reached else "."
        key = (pair.source, pair.target)
        cells[key] = max((cells.get(key, "."), now), key=".oX".index)
    width = max(map(len, hosts))
    lines = [" " * (width + 2) + " ".join(host.rjust(2) for host in hosts)]
    for source in hosts:
        marks = [cells.get((source, target), " ").rjust(max(2, len(target))) for target in hosts]
        lines.append(f"{source:<{width}}  {' '.join(marks)}")
    return "\n".join(lines)


def complaint(pair: Pair) -> str:
    if pair.expected:
        why = f": {pair.error}" if pair.error else ""
        return f"{pair.source} does not reach {pair.target} ({pair.address}), and should{why}"
    return f"{pair.source} reaches {pair.target} ({pair.address}), and should not"
