"""vfab pool import: which pools the files in some folders are, whatever they are called now, and what can be done with
them.

Knows: folders and names on the command line, who has a file open, tables and sentences. Refuses to know: what makes a
pool of files (storvirt.pool.importing). Takes no lock and writes nothing, so it may look at a pool that runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NamedTuple

from daemons.lab.mistake import printable
from daemons.lab.sizes import about
from daemons.lab.yamltext import scalar
from storvirt.backing.errors import MemberError
from storvirt.backing.files import exists
from storvirt.backing.member import Member
from storvirt.backing.peek import Peeked, distinct, in_folder, is_folder
from storvirt.backing.places import is_elsewhere, open_any
from storvirt.pool.importing import History, Importable, Strange, importable
from storvirt.pool.survey import Survey, survey
from tools import storage
from tools.errors import BadInput
from tools.labs import choose
from tools.output import print_json, table, warn
from tools.subverbs import Subverbs

_MOST_FOREIGN = 20  # files that are no members, of which a sentence is printed; --json has all


def add_word(verbs: Subverbs) -> None:
    take = verbs.add(
        "import", run,
        "find the pools in folders or among files, under any name and in any order, and say which can be opened;"
        " nothing is written",
    )  # fmt: skip
    take.add_argument(
        "where", metavar="DIR|FILE", nargs="+",
        help="where to look: folders, files, block devices, NBD exports; with --degraded: the pool of a lab",
    )  # fmt: skip
    take.add_argument(
        "--degraded", action="store_true",
        help="open a pool of a lab that was refused, without the members that are missing, and with what may be older"
        " than what was written last",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    return _open_degraded(options) if options.degraded else _find(options)


def _open_degraded(options: argparse.Namespace) -> int:
    if len(options.where) != 1:
        raise BadInput("--degraded opens one pool of a lab; name that one")
    (name,) = options.where
    lab = choose(options.lab)
    storage.pool_named(lab, name)
    told = storage.call(lab, name, "open", degraded=True)
    if options.json:
        print_json(told)
    else:
        print(storage.pool_table({name: told}))
        for problem in told["problems"]:
            warn(problem)
    return 0


def _find(options: argparse.Namespace) -> int:
    found = _look(_paths(options.where))
    pools, foreign = importable(found.surveys)
    strange = [*found.unreadable, *foreign]
    if options.json:
        values = [_value(pool, found.holders) for pool in pools]
        print_json({"pools": values, "strange": [one._asdict() for one in strange]})
    else:
        parts = [_text(pool, history, found.holders) for pool in pools for history in pool.histories or (None,)]
        print("\n\n".join(parts) or "There is no member of any pool.")
        for pool in pools:
            for sentence in _warnings(pool):
                warn(printable(sentence))
        for one in strange[:_MOST_FOREIGN]:
            warn(printable(one.sentence))
        if len(strange) > _MOST_FOREIGN:
            warn(f"{len(strange) - _MOST_FOREIGN} more files are no members; --json names them")
    whole = [len(pool.histories) == 1 and pool.histories[0].opens != "no" for pool in pools]
    return 0 if whole and all(whole) else 1


class _Found(NamedTuple):
    """holders: the process that has a file open, by path."""

    surveys: list[Survey]
    holders: dict[str, int]
    unreadable: list[Strange]


def _paths(where: Sequence[str]) -> list[str]:
    """Every file once. Raises BadInput for what is not there."""
    paths: list[str] = []
    try:
        for word in where:
            path = storage.absolute(word)
            if is_elsewhere(path):
                paths.append(path)
                continue
            if not exists(path):
                raise BadInput(
                    f"there is no folder or file {printable(path)}; a pool of a lab is opened by: vfab pool import POOL"
                    " --degraded"
                )
            paths += in_folder(path) if is_folder(path) else [path]
    except MemberError as error:
        raise BadInput(printable(str(error))) from None
    return distinct(paths)


def _look(paths: Sequence[str]) -> _Found:
    """One after the other: there may be more files in a folder than a process may have open."""
    found = _Found([], {}, [])
    for path in paths:
        try:
            member, holder = _peeked(path)
        except MemberError as error:
            found.unreadable.append(Strange(path, "unreadable", str(error)))
            continue
        found.surveys.append(survey(member))
        if holder is not None:
            found.holders[path] = holder
        member.close()
    return found


def _peeked(path: str) -> tuple[Member, int | None]:
    """(what is there, who has it open); of an export nobody can say that. Raises MemberError."""
    if is_elsewhere(path):
        return open_any(path, read_only=True), None
    file = Peeked(path)
    return file.member, file.holder


# --- words


def _value(pool: Importable, holders: dict[str, int]) -> dict[str, Any]:
    return {
        "name": pool.name,
        "id": pool.ident,
        "newest": pool.newest,
        "split_brain": len(pool.histories) > 1,
        "histories": [_history(one, holders) for one in pool.histories],
        "strange": [one._asdict() for one in pool.strange],
    }


def _history(one: History, holders: dict[str, int]) -> dict[str, Any]:
    volumes = [{"name": name, "raid": raid, "size": size} for name, raid, size in one.volumes]
    members = [{**row._asdict(), "process": holders.get(row.path)} for row in one.members]
    return {**one._asdict(), "members": members, "volumes": volumes, "paths": one.paths}


def _text(pool: Importable, history: History | None, holders: dict[str, int]) -> str:
    if history is None:
        return f"Pool {printable(pool.name)} ({pool.ident[:12]}): none of its files holds a whole commit record."
    header = f"Pool {printable(pool.name)} ({pool.ident[:12]}), commit {history.commit} ({history.digest[:12]})"
    rows = []
    for row in history.members:
        state = row.state if row.path or row.state == "out" else "missing"
        last = printable(row.last) if row.last else "nobody knows where it was"
        where = printable(row.path) if row.path else f"(last seen: {last})"
        rows.append((row.number, state, row.newest if row.newest >= 0 else None, about(row.size), where))
    lines = [header, f"{printable(history.sentence)}.", *_in_use(history, holders)]
    if history.volumes:
        lines.append("Volumes: " + ", ".join(f"{printable(n)} ({raid}, {about(s)})" for n, raid, s in history.volumes))
    parts = ["\n".join(lines), table(("MEMBER", "STATE", "COMMIT", "SIZE", "FILE"), rows)]
    return "\n\n".join([*parts, _line(history.paths)] if history.paths else parts)


def _line(paths: Sequence[str]) -> str:
    """What to write into a lab file."""
    try:
        return f"For the lab file:\nmembers: [{', '.join(map(scalar, paths))}]"
    except TypeError:
        return "A lab file can't hold these names; rename the files that have bytes in them which are no UTF-8."


def _in_use(history: History, holders: dict[str, int]) -> list[str]:
    by = sorted({holders[path] for path in history.paths if path in holders})
    return [f"It is in use: its files are open in process {', '.join(map(str, by))}."] if by else []


def _warnings(pool: Importable) -> list[str]:
    found = [one.sentence for one in pool.strange]
    for other in pool.histories[1:]:
        since = f"after commit {other.apart}" if other.apart is not None and other.apart >= 0 else "long ago"
        first = pool.histories[0]
        found.append(
            f"pool {pool.name} has two histories, which went apart {since}: commit {first.commit} of "
            f"{', '.join(first.paths)}, and commit {other.commit} of {', '.join(other.paths)}; they are never joined:"
            " give the files of the one that is wanted to the lab"
        )
    return found
