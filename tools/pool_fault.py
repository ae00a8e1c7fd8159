"""vfab pool fault: members of a running pool that fail and lie on purpose, to see that nothing is lost by it.

Knows: the words of the command line. Refuses to know: what a fault does (storvirt.wrappers).
"""

from __future__ import annotations

import argparse
from typing import Any

from tools import storage
from tools.errors import BadInput
from tools.labs import choose
from tools.output import print_json, table
from tools.subverbs import Subverbs

_KEYS: dict[str, type[float] | type[int]] = {"rate": float, "ms": float, "seed": int}


def add_word(verbs: Subverbs) -> None:
    word = verbs.add(
        "fault", _fault,
        "a member fails and lies on purpose: error, read-error, write-error, flush-error, flip, torn, lost,"
        " misdirected, lying-flush with rate=0.01 (per call; 1 where it is left out), latency with ms=5; off ends it",
    )  # fmt: skip
    word.add_argument("name", metavar="POOL")
    word.add_argument(
        "member", metavar="MEMBER", nargs="?", help="its file (the last part will do) or its number; or off"
    )
    word.add_argument("kind", metavar="KIND", nargs="?", help="what it does, or off")
    word.add_argument("settings", metavar="KEY=VALUE", nargs="*", help="rate=, ms=, seed=")


def _fault(options: argparse.Namespace) -> int:
    lab = choose(options.lab)
    storage.pool_named(lab, options.name)
    if options.member and options.member != "off" and not options.kind:
        raise BadInput(f"say which fault {options.member} is to have, or off; vfab pool fault --help has their names")
    wanted = dict(_setting(word) for word in options.settings)
    told = storage.call(lab, options.name, "fault", member=options.member, kind=options.kind, **wanted)
    if options.json:
        print_json(told)
    elif told["faults"]:
        print(_table(told["faults"]))
    else:
        print(f"No member of pool {options.name} is given faults.")
    return 0


def _setting(word: str) -> tuple[str, Any]:
    key, equals, value = word.partition("=")
    if not equals or key not in _KEYS:
        raise BadInput(f"{word!r} is none of rate=, ms= and seed=")
    try:
        return key, _KEYS[key](value)
    except ValueError:
        raise BadInput(f"{key}= is a number, not {value!r}") from None


def _table(rows: list[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        shown = [(kind.replace("_", "-"), f"{rate:g}", row["struck"][kind]) for kind, rate in row["rates"].items()]
        shown += [("latency", f"{row['ms']:g} ms", "")] if row["ms"] else []
        lines += [(row["member"], row["path"], *words, row["seed"]) for words in shown]
    return table(("MEMBER", "PATH", "FAULT", "RATE", "STRUCK", "SEED"), lines)
