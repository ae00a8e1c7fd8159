"""vfab pool plan: what fits into a pool with a RAID level, what it survives, what is wasted; before anything is made.

Knows: the words on the command line, lab files and running pools as sources of sizes, sentences and tables.
Refuses to know: how it is computed (storvirt.pool.plan).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any, NamedTuple

from daemons.lab import sizes
from daemons.lab.mistake import LabError
from storvirt.pool.errors import PoolError
from storvirt.pool.plan import Plan, plan
from tools import storage
from tools.errors import BadFile, BadInput
from tools.labs import choose
from tools.output import print_json, table
from tools.subverbs import Subverbs, level, size

_NUMBERS = ("no", "one", "two", "three", "four", "five")


class Wanted(NamedTuple):
    """What is to be planned. size: bytes of a volume that is meant for it, None = nobody said."""

    title: str
    members: tuple[int, ...]
    raid: str
    grain: int
    extent: int | None = None
    size: int | None = None


def add_word(verbs: Subverbs) -> None:
    word = verbs.add("plan", run, "say beforehand what fits, what survives and what is wasted with a RAID level")
    word.add_argument(
        "what", metavar="FILE|POOL", nargs="?", help="a lab file (all of its volumes), or a pool of a running lab"
    )
    word.add_argument(
        "--members", type=_members, metavar="SIZES", help="instead: sizes, such as 4TiB,4TiB,2TiB or 6x4TiB"
    )
    word.add_argument(
        "--size",
        type=size,
        action="append",
        default=[],
        metavar="SIZE",
        help="one more member of this size; repeatable",
    )
    word.add_argument(
        "--raid", "--level", type=level, metavar="LEVEL", help="the level; left out: what the volumes have"
    )
    word.add_argument("--grain", type=size, metavar="SIZE", help="unit of mapping, 4KiB to 1MiB (32KiB)")


def _members(text: str) -> tuple[int, ...]:
    """An argparse type: sizes between commas, each perhaps several times."""
    found: list[int] = []
    for part in text.split(","):
        count, times, one = part.strip().rpartition("x")
        if times and not (count.isdecimal() and 1 <= int(count[:4]) <= 64):
            raise argparse.ArgumentTypeError(f"{part!r} is no number of members and their size; write it like 6x4TiB")
        found += [size(one)] * (int(count) if times else 1)
    return tuple(found)


def run(options: argparse.Namespace) -> int:
    if (options.what is None) == (options.members is None):
        raise BadInput("give a lab file, the name of a pool, or sizes with --members")
    plans = [(wanted, _planned(wanted)) for wanted in _wanted(options)]
    if options.json:
        print_json([_value(*one) for one in plans])
    else:
        print("\n\n".join(_text(*one) for one in plans))
    return 1 if any(wanted.size is not None and wanted.size > one.capacity for wanted, one in plans) else 0


def _planned(wanted: Wanted) -> Plan:
    try:
        return plan(wanted.members, wanted.raid, wanted.grain, wanted.extent)
    except PoolError as error:
        raise BadInput(f"{wanted.title}: {error}") from None


def _wanted(options: argparse.Namespace) -> list[Wanted]:
    if options.members is not None:
        if options.raid is None:
            raise BadInput("say which level the volumes have with --raid")
        members = (*options.members, *options.size)
        return [Wanted(f"{options.raid} over {len(members)} members", members, options.raid, options.grain or 32768)]
    is_file = "/" in options.what or "." in options.what
    found = [*(_of_file(options) if is_file else _of_pool(options))]
    if not found:
        raise BadInput(f"{options.what} has no volumes; say which level they are to have with --raid")
    return found


def _of_file(options: argparse.Namespace) -> Iterator[Wanted]:
    """Of each volume, or of each pool where a level is asked for."""
    from daemons.lab.loader import find, load  # most of what `vfab pool` loads, and few ask for it

    try:
        held = load(find(options.what)).lab.storage
    except LabError as error:
        raise BadFile(str(error)) from None
    for pool in held.pools.values():
        members = (*(pool.size for _ in pool.members), *options.size)
        if options.raid is not None:
            yield Wanted(f"{options.raid} in pool {pool.name}", members, options.raid, options.grain or 32768)
            continue
        for volume in held.of_pool(pool.name)[0]:
            title = f"volume {volume.name} ({volume.raid}) in pool {pool.name}"
            yield Wanted(title, members, volume.raid, options.grain or volume.grain, size=volume.size)


def _of_pool(options: argparse.Namespace) -> Iterator[Wanted]:
    lab = choose(options.lab)
    told = storage.statuses(lab, options.what)[options.what]
    if "pool" not in told:
        raise BadInput("; ".join(told["problems"]) or f"pool {options.what} is not open")
    there = (row["size"] for row in told["pool"]["members"] if row["state"] != "removed")
    members, extent = (*there, *options.size), told["pool"]["extent"]
    if options.raid is not None:
        yield Wanted(f"{options.raid} in pool {options.what}", members, options.raid, options.grain or 32768, extent)
        return
    for row in told["volumes"]:
        title = f"volume {row['name']} ({row['raid']}) in pool {options.what}"
        yield Wanted(title, members, row["raid"], options.grain or row["grain"], extent, row["size"])


# --- words


def _value(wanted: Wanted, one: Plan) -> dict[str, Any]:
    survived = None if one.survived is None else {"survived": one.survived[0], "of": one.survived[1]}
    return {
        **one._asdict(),
        "title": wanted.title,
        "volume_size": wanted.size,
        "survived": survived,
        "members": [member._asdict() for member in one.members],
        "shapes": [shape._asdict() for shape in one.shapes],
    }


def _text(wanted: Wanted, one: Plan) -> str:
    about = sizes.about
    lines = [f"{wanted.title}: {about(one.capacity)} for data, of {about(one.size)}"]
    if wanted.size is not None:
        fits = "fits" if wanted.size <= one.capacity else "does not fit when it is full: volumes are thin"
        lines.append(f"The volume has {about(wanted.size)} and, alone in the pool, {fits}.")
    lines.append(_survives(one))
    wasted = f"Not for data: {about(one.redundancy)} of redundancy, {about(one.kept)} for the log and the map"
    wasted += f", {about(one.padding)} of padding" if one.padding else ""
    lines.append(wasted + (f"; {about(one.unused)} that {one.raid} can't use." if one.unused else "."))
    rows = [
        (number, about(member.size), about(member.data), about(member.kept), about(member.unused))
        for number, member in enumerate(one.members)
    ]
    parts = ["\n".join(lines), table(("MEMBER", "SIZE", "SLABS", "LOG AND MAP", "UNUSED"), rows)]
    if len(one.shapes) > 1:
        widths = [(shape.data, shape.redundant, about(shape.capacity)) for shape in one.shapes]
        parts.append(table(("DATA COLUMNS", "REDUNDANT", "HOLDS"), widths))
    return "\n\n".join(parts)


def _survives(one: Plan) -> str:
    if not one.tolerance:
        return "It survives the loss of no member."
    many = _NUMBERS[one.tolerance] if one.tolerance < len(_NUMBERS) else str(one.tolerance)
    said = f"It survives the loss of any {many} member{'s' if one.tolerance > 1 else ''}"
    if one.survived is not None and one.survived[0]:
        more = _NUMBERS[one.tolerance + 1] if one.tolerance + 1 < len(_NUMBERS) else str(one.tolerance + 1)
        return f"{said}; of {more}, {one.survived[0]} of the {one.survived[1]} ways to lose them."
    return f"{said}."
