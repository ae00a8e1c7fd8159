"""vfab lun: the LUNs of a lab, where they are and who uses them."""

from __future__ import annotations

import argparse

from daemons.errors import UserError
from tools import storage
from tools.labs import choose
from tools.output import print_json
from tools.part_status import status
from tools.subverbs import Subverbs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = Subverbs(parser, "list")
    verbs.add("list", _list, "a line for each LUN")
    verbs.add("show", _show, "one LUN; vfab attach tells what to paste").add_argument("name", metavar="LUN")
    verbs.add("status", _status, "whether all is well with them; exit code 0 when it is").add_argument(
        "name", metavar="LUN", nargs="?"
    )
    make = verbs.add("create", _create, "says what to write into the lab file: a LUN exists only while its lab is up")
    make.add_argument("name", metavar="NAME")
    make.add_argument("volume", metavar="VOLUME")


def run(options: argparse.Namespace) -> int:
    code: int = options.subverb(options)
    return code


def _list(options: argparse.Namespace) -> int:
    found = storage.rows(storage.statuses(choose(options.lab)), "luns")
    if options.json:
        print_json(found)
    else:
        print(storage.lun_table(found) if found else "This lab has no LUNs.")
    return 0


def _show(options: argparse.Namespace) -> int:
    found = storage.rows(storage.statuses(choose(options.lab)), "luns")
    chosen = [row for row in found if row["name"] == options.name]
    if not chosen:
        raise storage.nothing_named("luns", options.name, found)
    if options.json:
        print_json(chosen[0])
    else:
        print(f"{storage.lun_table(chosen)}\nvfab attach {options.name} tells what to paste.")
    return 0


def _status(options: argparse.Namespace) -> int:
    return status(options, "luns", storage.lun_table)


def _create(options: argparse.Namespace) -> int:
    raise UserError(
        "a LUN is made by the lab file: write"
        f" {options.name}: {{volume: {options.volume}, nbd: true}} under storage: luns:, then vfab up FILE"
    )
