"""vfab vm: the virtual machines of a lab: what they do, on, off, reset, shutdown, and QEMU's own commands."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

from daemons.errors import UserError
from tools import machines
from tools.arguments import seconds
from tools.errors import BadInput
from tools.labs import choose
from tools.output import print_json, table
from tools.subverbs import Subverbs

_LOOK_SECONDS = 0.2  # vmd tells of a machine when it is asked
_MIB = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = Subverbs(parser, "list")
    verbs.add("list", _list, "a line for each virtual machine")
    for what, help in (
        ("on", "start a machine; answers when QEMU runs"),
        ("off", "end a machine at once, as if its cable had been pulled"),
        ("reset", "press a machine's reset button"),
    ):
        verbs.add(what, _power(what), help).add_argument("name", metavar="VM")
    shutdown = verbs.add("shutdown", _shutdown, "press a machine's power button, and wait until the guest is down")
    shutdown.add_argument("name", metavar="VM")
    shutdown.add_argument(
        "-t", "--timeout", type=seconds(0, 86400), default=60.0, metavar="S", help="seconds to wait for it (60)"
    )
    qmp = verbs.add("qmp", _qmp, "give QEMU a command of QMP, such as: vfab vm qmp vm1 query-status")
    qmp.add_argument("name", metavar="VM")
    qmp.add_argument("command", metavar="COMMAND")
    qmp.add_argument("arguments", metavar="KEY=VALUE", nargs="*", help="its arguments; or one JSON object")


def run(options: argparse.Namespace) -> int:
    code: int = options.subverb(options)
    return code


def _list(options: argparse.Namespace) -> int:
    found = machines.rows(choose(options.lab))
    if options.json:
        print_json(found)
    elif not found:
        print("This lab has no virtual machines.")
    else:
        header = ("VM", "STATE", "PID", "ACCEL", "CPUS", "MEMORY", "RESTARTS", "")
        print(table(header, [_cells(row) for row in found]))
    return 0


def _cells(row: machines.Row) -> tuple[object, ...]:
    said = row["problem"] or row["note"]
    memory = f"{row['memory'] // _MIB} MiB"
    return (row["name"], row["state"], row["pid"], row["accel"], row["cpus"], memory, row["restarts"], said or " ")


def _power(what: str) -> Callable[[argparse.Namespace], int]:
    def power(options: argparse.Namespace) -> int:
        _tell(options, machines.ask(choose(options.lab), "power", machine=options.name, what=what))
        return 0

    return power


def _tell(options: argparse.Namespace, row: machines.Row) -> None:
    if options.json:
        print_json(row)
    else:
        print(f"{row['name']}: {row['state']}" + (f" ({row['note']})" if row["note"] else ""))


def _shutdown(options: argparse.Namespace) -> int:
    lab = choose(options.lab)
    row = machines.ask(lab, "power", machine=options.name, what="shutdown")
    deadline = time.monotonic() + options.timeout
    while row["state"] != "stopped" and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
        row = machines.row(lab, options.name)
    _tell(options, row)
    if row["state"] != "stopped":
        raise UserError(
            f"{options.name} is not down after {options.timeout:g} s: its guest does not listen to the power button;"
            f" vfab vm off {options.name} ends it"
        )
    return 0


def _qmp(options: argparse.Namespace) -> int:
    arguments = _arguments(options.arguments)
    print_json(
        machines.ask(choose(options.lab), "qmp", machine=options.name, command=options.command, arguments=arguments)
    )
    return 0


def _arguments(words: list[str]) -> dict[str, Any]:
    """`{"name": "eth0", "up": false}`, or name=eth0 up=false: a value that is JSON is that, all others are text."""
    if len(words) == 1 and words[0].lstrip().startswith("{"):
        try:
            value = json.loads(words[0])
        except (ValueError, RecursionError) as error:
            raise BadInput(f"the arguments are no JSON object: {error}") from None
        if not isinstance(value, dict):
            raise BadInput("the arguments are no JSON object")
        return value
    found: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not key or not equals:
            raise BadInput(f"{word!r} is no argument; write KEY=VALUE, or one JSON object")
        try:
            found[key] = json.loads(text)
        except (ValueError, RecursionError):
            found[key] = text
    return found
