"""vfab volume: the volumes of a lab's pools; and making one in a pool that no lab runs."""

from __future__ import annotations

import argparse

from storvirt.raid.layout import LEVELS
from tools import storage
from tools.labs import choose
from tools.output import print_json
from tools.part_status import status
from tools.subverbs import Subverbs, level, size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = Subverbs(parser, "list")
    verbs.add("list", _list, "a line for each volume")
    verbs.add("show", _show, "one volume, and who uses it").add_argument("name", metavar="VOLUME")
    verbs.add(
        "status", _status, "whether all is well with them, and the pools they are in; exit code 0 when it is"
    ).add_argument("name", metavar="VOLUME", nargs="?")
    make = verbs.add(
        "create", _create,
        "make a volume in a pool that no lab runs, on its files. In a lab write it into the lab file instead:"
        " vfab up makes it while everything goes on",
    )  # fmt: skip
    make.add_argument("name", metavar="NAME")
    make.add_argument("files", metavar="FILE", nargs="+", help="the pool's members, all of them")
    make.add_argument("--size", type=size, required=True, metavar="SIZE", help="such as 500MiB")
    make.add_argument("--raid", type=level, required=True, metavar="LEVEL", help=LEVELS)
    make.add_argument("--grain", type=size, default=32768, metavar="SIZE", help="4KiB to 1MiB (32KiB)")


def run(options: argparse.Namespace) -> int:
    code: int = options.subverb(options)
    return code


def _list(options: argparse.Namespace) -> int:
    found = storage.rows(storage.statuses(choose(options.lab)), "volumes")
    if options.json:
        print_json(found)
    else:
        print(storage.volume_table(found) if found else "This lab has no volumes.")
    return 0


def _show(options: argparse.Namespace) -> int:
    told = storage.statuses(choose(options.lab))
    found = storage.rows(told, "volumes")
    chosen = [row for row in found if row["name"] == options.name]
    if not chosen:
        raise storage.nothing_named("volumes", options.name, found)
    luns = [lun for lun in storage.rows(told, "luns") if lun["volume"] == options.name]
    if options.json:
        print_json({"volumes": chosen, "luns": luns})
        return 0
    print(storage.volume_table(chosen))
    if luns:
        print(f"\n{storage.lun_table(luns)}")
    return 0


def _status(options: argparse.Namespace) -> int:
    return status(options, "volumes", storage.volume_table)


def _create(options: argparse.Namespace) -> int:
    from tools.offline import Pool, asking

    files = [storage.absolute(file) for file in options.files]
    with asking(), Pool.open(files) as pool:
        pool.create_volume(options.name, options.size, options.raid, options.grain)
        value = pool.status()
    if options.json:
        print_json(value)
    else:
        print(f"Volume {options.name} is made in pool {value['name']}.")
    return 0
