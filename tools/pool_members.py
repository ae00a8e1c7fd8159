"""vfab pool add, remove, rejoin, rebalance, grow, cancel, set: members that come and go while guests write.

Knows: the words on the command line. Refuses to know: how it is done, how a job is waited for (tools.verbs.pool).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from daemons.lab import sizes
from daemons.lab_client import Lab
from tools import storage
from tools.changing import show
from tools.errors import BadInput
from tools.labs import choose
from tools.output import print_json
from tools.subverbs import Subverbs, size

Follow = Callable[[argparse.Namespace, dict[str, Any]], int]


def add_words(verbs: Subverbs, follow: Follow) -> None:
    """follow: waits for a job that has begun, and says how it ended."""

    def job(op: str, *names: str) -> Callable[[argparse.Namespace], int]:
        return lambda options: _job(options, op, names, follow)

    add = verbs.add("add", job("add", "path", "size", "spare"), "one member more, while guests write")
    _pool(add)
    add.add_argument("path", metavar="FILE", help="is made; a block device or an NBD export must be empty")
    add.add_argument("--size", type=size, metavar="SIZE", help="such as 1GiB; left out: as large as the largest member")
    add.add_argument("--spare", action="store_true", help="keep it empty until a member is lost, and then use it")
    remove = verbs.add("remove", job("remove", "member"), "move what a member holds to the others, then take it out")
    _pool(remove)
    _member(remove)
    rejoin = verbs.add("rejoin", job("rejoin", "member", "path"), "give a member that was away what it missed")
    _pool(rejoin)
    _member(rejoin)
    rejoin.add_argument("--file", dest="path", metavar="FILE", help="where it is now, if it was moved")
    rebalance = verbs.add("rebalance", job("rebalance"), "spread what there is over all members, after some were added")
    _pool(rebalance)
    for word in (add, remove, rejoin, rebalance):
        word.add_argument("--no-wait", action="store_true", help="begin, and do not wait for the end")
    cancel = verbs.add("cancel", _cancel, "call off the job under way; what it moved in vain is moved back")
    _pool(cancel)
    grow = verbs.add("grow", _grow, "use members whose files were made larger")
    _pool(grow)
    grow.add_argument("--size", type=size, metavar="SIZE", help="make all of them so large first")
    change = verbs.add("set", _set, "how fast jobs may be: repair-rate=100MiB/s, or repair-rate=0 for no limit")
    _pool(change)
    change.add_argument("settings", metavar="KEY=VALUE", nargs="+", help="repair-rate=RATE, until vfab up says another")


def _pool(word: argparse.ArgumentParser) -> None:
    word.add_argument("name", metavar="POOL")


def _member(word: argparse.ArgumentParser) -> None:
    word.add_argument("member", metavar="MEMBER", help="its file (the last part will do) or its number")


def _job(options: argparse.Namespace, op: str, names: tuple[str, ...], follow: Follow) -> int:
    lab = choose(options.lab)
    storage.pool_named(lab, options.name)
    args = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if "path" in args:
        args["path"] = storage.absolute(args["path"])
    begun = storage.call(lab, options.name, op, **args)
    if begun is not None:
        return follow(options, begun)
    if options.json:
        print_json({"kind": op, "state": "done"})
    else:
        what = args.get("path") or args.get("member")
        print(f"{what} is a spare of pool {options.name}." if op == "add" else f"{what} is no spare any more.")
    return 0


def _cancel(options: argparse.Namespace) -> int:
    lab = choose(options.lab)
    storage.pool_named(lab, options.name)
    back = storage.call(lab, options.name, "cancel")
    if options.json:
        print_json({"back": back})
    elif back is None:
        print("It is called off.")
    else:
        print(f"It is called off; what was moved goes back: vfab pool status {options.name} tells how far it is.")
    return 0


def _grow(options: argparse.Namespace) -> int:
    lab = choose(options.lab)
    storage.pool_named(lab, options.name)
    grown = storage.call(lab, options.name, "grow", size=options.size or 0)
    if options.json:
        print_json({"grown": grown})
    else:
        print(f"larger now: {', '.join(grown)}")
    return 0


def _set(options: argparse.Namespace) -> int:
    lab = choose(options.lab)
    storage.pool_named(lab, options.name)
    wanted = dict(_setting(text) for text in options.settings)
    with Lab(lab) as running:
        return show(running.set_pool(options.name, **wanted), options.json)


def _setting(text: str) -> tuple[str, int]:
    key, sign, value = text.partition("=")
    if key != "repair-rate" or not sign:
        raise BadInput(f"{text!r} is no setting of a pool; write repair-rate=100MiB/s")
    rate = 0 if value == "0" else sizes.parse(value.removesuffix("/s"))
    if rate is None:
        raise BadInput(f"{value!r} is no rate; write it like 100MiB/s")
    return "repair_rate", rate
