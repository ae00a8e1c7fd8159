"""vfab pool inspect: where a byte of a volume lies, on which members, and whether parity and checksums hold.

Knows: words on the command line, a running pool or files as the source, tables. Refuses to know: how it is found out
(storvirt.pool.inspection; stord answers with the same value).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Any

from daemons.lab import sizes
from daemons.lab.mistake import printable
from tools import storage
from tools.errors import BadInput
from tools.labs import KnownLab, choose
from tools.output import print_json, table
from tools.subverbs import Subverbs

SECTOR = 512
Value = dict[str, Any]


def add_word(verbs: Subverbs) -> None:
    word = verbs.add(
        "inspect", run,
        "where a byte of a volume is: grain, stripe, members and offsets, checksums, parity, what the log has of it",
    )  # fmt: skip
    word.add_argument("volume", metavar="VOLUME")
    word.add_argument(
        "files", metavar="FILE", nargs="*", help="the members of a pool that does not run; left out: a running lab's"
    )
    where = word.add_mutually_exclusive_group(required=True)
    where.add_argument("--lba", type=_number, metavar="N", help="sector of 512 bytes")
    where.add_argument("--offset", type=_offset, metavar="BYTES", help="such as 4096 or 1MiB")
    word.add_argument("--without", metavar="MEMBERS", help="show the reconstruction without these: numbers or files, "
                                                           "between commas")  # fmt: skip


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of a sector")
    return int(text)


def _offset(text: str) -> int:
    found = sizes.parse(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no offset; write it like 4096 or 1MiB")
    return found


def run(options: argparse.Namespace) -> int:
    offset = options.offset if options.lba is None else options.lba * SECTOR
    value = _offline(options, offset) if options.files else _live(choose(options.lab), options, offset)
    if options.json:
        print_json(value)
    else:
        print("\n\n".join(_parts(value)))
    return 0


def _live(lab: KnownLab, options: argparse.Namespace, offset: int) -> Value:
    pools = storage.pools(lab)
    named = {row["name"]: name for name, config in pools.items() for row in config["volumes"]}
    if options.volume not in named:
        raise storage.nothing_named("volumes", printable(options.volume), [{"name": name} for name in named])
    pool = named[options.volume]
    without: list[int] = []
    if options.without:
        told = storage.statuses(lab, pool)[pool]
        rows = [(row["number"], row["path"] or row["name"]) for row in told.get("pool", {}).get("members", ())]
        without = _members(options.without, rows)
    found: Value = storage.call(lab, pool, "inspect", volume=options.volume, offset=offset, without=without)
    return found


def _offline(options: argparse.Namespace, offset: int) -> Value:
    from storvirt.pool.inspection import inspect
    from storvirt.pool.looking import Looked
    from tools.offline import asking

    with asking(), Looked([storage.absolute(file) for file in options.files]) as looked:
        rows = [(number, looked.pool.member_name(number)) for number in range(len(looked.pool.rows))]
        without = frozenset(_members(options.without, rows)) if options.without else frozenset()
        return inspect(looked.pool, options.volume, offset, without, looked.members)


def _members(text: str, rows: Sequence[tuple[int, str]]) -> list[int]:
    """Numbers of the members that somebody means: by number (2 or m2), by file, or by its last part."""
    found = []
    for word in text.split(","):
        chosen = [n for n, path in rows if word in (path, os.path.basename(path))]
        chosen = chosen or [n for n, _ in rows if word in (str(n), f"m{n}")]
        if len(chosen) != 1:
            names = ", ".join(os.path.basename(path) or str(n) for n, path in rows)
            why = f"there is no member {word!r}" if not chosen else f"several members are called {word!r}"
            raise BadInput(printable(f"{why}; the members are: {names}"))
        found += chosen
    return sorted(set(found))


# --- words


def _parts(value: Value) -> list[str]:
    parts = [_head(value)]
    if value["log"] is not None and value["log"]["copies"]:
        parts.append(_log(value["log"]))
    if value["slot"] is not None:
        parts += _slot(value, value["slot"])
    rows = [(r["number"], r["condition"], r["generation"], printable(r["name"])) for r in value["members"]]
    parts.append("\n".join([table(("MEMBER", "STATE", "COMMIT", "FILE"), rows), *storage.conditions(value["members"])]))
    return parts


_NEWEST = {
    "log": "Its newest content is in the log, entry {sequence} (segment {segment}), and goes to a slot later.",
    "memory": "Its newest content is in memory only, and whoever wrote it has no answer yet.",
    "zeros": "It reads as zeros: a trim is in the log, entry {sequence}.",
    "slot": "Its newest content is in its grain's slot; the log has nothing newer.",
    "hole": "It reads as zeros: there is a hole, which takes no space.",
}


def _head(value: Value) -> str:
    where = f"byte {value['offset']} (sector {value['lba']})"
    grain = f"grain {value['grain']}, block {value['block']} of {value['grain_size'] // 4096}"
    name, pool = printable(value["volume"]), printable(value["pool"])
    first = f"Volume {name} ({value['raid']}) of pool {pool}, {where}: {grain}."
    newest = _NEWEST[value["newest"]].format(**(value["log"] or {}))
    state = f"The pool is at commit {value['commit']}."
    return f"{first}\n{newest}\n{state}"


def _log(log: Value) -> str:
    rows = [
        (f"copy {copy['column']}", copy["member"], copy["offset"], _crc(copy["computed"]),
         "right" if copy["verifies"] else "wrong", printable(copy["name"]))
        for copy in log["copies"]
    ]  # fmt: skip
    head = table(("LOG", "MEMBER", "OFFSET", "CRC", "CONTENT", "FILE"), rows)
    return f"{head}\nCRC-32C of the block, says the log: {_crc(log['crc'])}"


def _slot(value: Value, slot: Value) -> list[str]:
    holds = set(slot["holds_block"])
    rows = []
    for column in slot["columns"]:
        held = column["holds"]
        mark, of_grain = "*" if column["column"] in holds else "", f"{held[0]}-{held[1] - 1}" if held else None
        place = (column["member"], column["offset"], of_grain, column["content"], printable(column["name"]))
        rows.append((column["label"] + mark, column["role"], column["group"], *place))
    widths = f"{slot['data']} data and {slot['redundant']} redundant columns of {slot['column_size']} bytes"
    title = f"Slot {slot['slot']} of slab {slot['slab']}: {widths}, written by entry {slot['birth']}."
    header = ("COLUMN", "ROLE", "GROUP", "MEMBER", "OFFSET", "OF THE GRAIN", "CONTENT", "FILE")
    parts = [f"{title}\n\n{table(header, rows)}\n* holds the block"]
    if slot["equations"]:
        parts.append("\n".join(f"{one['text']}: {_HOLDS[one['holds']]}" for one in slot["equations"]))
    blocks = [
        (f"{row['block']}{'*' if row['block'] == value['block'] else ''}", _crc(row["stored"]), _crc(row["computed"]),
         _block(row), "newer" if row["logged"] else None)
        for row in slot["blocks"]
    ]  # fmt: skip
    parts.append(table(("BLOCK", "CRC STORED", "CRC COMPUTED", "CONTENT", "LOG"), blocks))
    if slot["rebuilding"] is not None:
        parts.append(f"Column {slot['rebuilding']} is being rebuilt elsewhere.")
    if slot["without"] is not None:
        parts.append(_without(slot, slot["without"]))
    return parts


_SAME = {True: "the same bytes as those that lie there", False: "other bytes than lie there", None: ""}
_HOLDS = {True: "holds", False: "does not hold", None: "can't be said, a column is not there"}


def _block(row: Value) -> str:
    if row["verifies"]:
        return "right"
    if row["given_up"]:
        return "lost before"
    return "wrong, the others make up for it" if row["had"] else "lost"


def _without(slot: Value, without: Value) -> str:
    names = {column["column"]: column["label"] for column in slot["columns"]}
    several = "s" if len(without["members"]) > 1 else ""
    lines = [f"Without member{several} {', '.join(map(str, without['members']))}:"]
    if not without["lost"]:
        return f"{lines[0]} no column of this grain is there, and nothing is reconstructed."
    lines.append(f"columns that are lost: {', '.join(names[i] for i in without['lost'])}")
    lines.append(f"columns that are read: {', '.join(names[i] for i in without['read']) or 'none'}")
    for one in without["equations"]:
        same = _SAME[one["same"]]
        text = one["text"] or f"{one['label']} can't be had from those that are left"
        lines.append(f"{text}{': ' if same else ''}{same}")
    good = sum(without["blocks"])
    lines.append(f"the grain has {good} of {len(without['blocks'])} blocks that verify then")
    return "\n".join(lines)


def _crc(value: int | None) -> str | None:
    return None if value is None else f"{value:08x}"
