"""vfab pool fsck: a pool that does not run is checked, and mended where that is certain.

Knows: files and pools' names on the command line, locks that refuse, tables and sentences, exit codes. Refuses to know:
what is checked (storvirt.pool.fsck).
"""

from __future__ import annotations

import argparse
import errno
import glob
import os
from collections.abc import Sequence
from typing import Any

from daemons import stord_search
from daemons.errors import UserError
from daemons.known import KnownLab, all_labs, desired
from daemons.lab.mistake import LabError, printable
from daemons.state import StateError
from storvirt.backing.errors import MemberError
from storvirt.backing.files import close_all, exists
from storvirt.backing.member import Member
from storvirt.backing.places import is_elsewhere, open_any
from storvirt.nbd.uri import Address, parse
from storvirt.pool.errors import PoolError
from storvirt.pool.fsck import Report, fsck
from storvirt.pool.heads import halves
from storvirt.pool.survey import survey
from tools import storage
from tools.errors import BadInput
from tools.output import Progress, print_json, warn
from tools.subverbs import Subverbs

_SAID = 100  # findings that are printed; --json has all


def add_word(verbs: Subverbs) -> None:
    word = verbs.add(
        "fsck", run,
        "check a pool that does not run, structure by structure; exit code 0 when it is clean, 1 when something was"
        " found",
    )  # fmt: skip
    word.add_argument(
        "what",
        metavar="FILE|POOL",
        nargs="+",
        help="all members of a pool (files, block devices, nbd://host:port/export, nbd+unix:///export?socket=PATH), or"
        " its name in a lab file here",
    )
    word.add_argument("--data", action="store_true", help="read all data, too, with every copy and parity")
    word.add_argument(
        "--repair", action="store_true", help="mend what is certain: bad copies from good ones, nothing by guessing"
    )


def run(options: argparse.Namespace) -> int:
    paths, listed = _paths(options)
    _nobody_uses(paths)
    members, absent = _opened(paths, options.repair, listed)
    progress = Progress()
    try:
        if listed:
            members += _strays(members, paths, options.repair)
        if not members:
            raise UserError("; ".join(absent) or "the pool has no files")
        report = fsck(members, options.data, options.repair, lambda done, total: _show(progress, done, total))
    except PoolError as error:
        raise UserError(printable(str(error))) from None
    finally:
        progress.clear()
        close_all(members)
    _print(options, report, absent)
    return 0 if report.clean else 1


def _show(progress: Progress, done: int, total: int) -> None:
    if done % 64 == 0:
        progress.show(f"{done} of {total} grains")


# --- which files


def _paths(options: argparse.Namespace) -> tuple[list[str], bool]:
    """(files, whether a lab file lists them: then some may be missing, and others be found beside them)."""
    if len(options.what) == 1 and "/" not in options.what[0] and not exists(storage.absolute(options.what[0])):
        return _of_lab(options.what[0], options.lab), True
    return [storage.absolute(word) for word in options.what], False


def _of_lab(name: str, wanted: str | None) -> list[str]:
    """The members of a pool as a lab has them: one that runs, else one whose file is named or here."""
    found = {**_of_files(name, wanted), **_of_running(name, wanted)}
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise BadInput(f"several labs have a pool {printable(name)}, say which one with -l: {', '.join(sorted(found))}")
    raise BadInput(
        f"there is no file {printable(name)}, and no lab with a pool of that name is up or here; name its lab file with"
        " -l, or its members"
    )


def _of_running(name: str, wanted: str | None) -> dict[str, list[str]]:
    found = {}
    for lab in all_labs():
        if wanted not in (None, lab.id, lab.name, lab.file) and os.path.realpath(wanted or "") != lab.file:
            continue
        config = _running(lab).get(name)
        if config is not None:
            found[lab.file or lab.name] = list(config["pool"]["members"])
    return found


def _running(lab: KnownLab) -> dict[str, dict[str, Any]]:
    """The configurations of a lab's pools, by name."""
    try:
        return {name: want.config for name, want in desired(lab).items() if want.kind == "stord"}
    except StateError:
        return {}


def _of_files(name: str, wanted: str | None) -> dict[str, list[str]]:
    """By lab file. One that is named must be right; those that are merely here are passed over if they are not."""
    from daemons.lab.loader import find, load  # most of what `vfab pool` loads, and few ask for it

    found = {}
    for word in [wanted] if wanted is not None else glob.glob("*.fab.yml"):
        try:
            loaded = load(find(word), check=False)
        except LabError as error:
            if wanted is None or any(wanted in (lab.id, lab.name) for lab in all_labs()):
                continue
            raise BadInput(str(error).splitlines()[0]) from None
        pool = loaded.lab.storage.pools.get(name)
        if pool is not None and loaded.path is not None:
            folder = os.path.dirname(loaded.path)
            found[str(loaded.path)] = [storage.absolute(member, folder) for member in pool.members]
    return found


def _opened(paths: Sequence[str], writing: bool, listed: bool) -> tuple[list[Member], list[str]]:
    """(files, what is said of those that are not there). Raises UserError when somebody has one of them open."""
    members: list[Member] = []
    absent = []
    try:
        for path in dict.fromkeys(paths):
            try:
                members.append(open_any(path, not writing))
            except MemberError as error:
                if error.errno == errno.EBUSY:
                    raise UserError(
                        f"{error}: a pool that runs is checked by vfab pool scrub, and by fsck after vfab down"
                    ) from None
                if not listed or (error.errno != errno.ENOENT and not is_elsewhere(path)):
                    raise UserError(printable(str(error))) from None
                absent.append(str(error) if is_elsewhere(path) else f"member {path} is not there")
    except BaseException:
        close_all(members)
        raise
    return members, absent


def _nobody_uses(paths: Sequence[str]) -> None:
    """An export has no lock, as a file has: of those that a lab of this user has in use it is known. Raises
    UserError."""
    exports = {_export(path): path for path in paths if is_elsewhere(path)}
    for lab in all_labs() if exports else ():
        for pool, config in _running(lab).items():
            for member in (*config["pool"]["members"], *config["pool"].get("spares", ())):
                if is_elsewhere(member) and _export(member) in exports:
                    raise UserError(
                        f"{exports[_export(member)]} is in use: pool {pool} of lab {lab.name} runs on it; a pool that"
                        " runs is checked by vfab pool scrub, and by fsck after vfab down"
                    )


def _export(path: str) -> Address:
    """The same for the same export, however patient somebody is with it."""
    return parse(path)._replace(patience=0.0)


def _strays(members: Sequence[Member], paths: Sequence[str], writing: bool) -> list[Member]:
    """Members that took a place and are not in the lab file yet: where the member table says, or beside the others."""
    found: list[Member] = []
    for half in halves(survey(member) for member in members)[:1]:
        wanted = {half.commit.members[number].member for number in half.missing}
        hints = [half.commit.members[number].hint for number in half.missing]
        for path in dict.fromkeys([*hints, *stord_search.neighbours(paths)] if wanted else ()):
            if path in paths:
                continue
            identity = stord_search.identity_elsewhere if is_elsewhere(path) else stord_search.identity
            ident = identity(path, half.super_.pool)
            if ident in wanted:
                wanted.discard(ident)
                found += _opened([path], writing, False)[0]
    return found


# --- words


def _print(options: argparse.Namespace, report: Report, absent: Sequence[str]) -> None:
    if options.json:
        value = {**report._asdict(), "clean": report.clean, "findings": [one._asdict() for one in report.findings]}
        print_json({**value, "notes": [*absent, *report.notes]})
        return
    for one in report.findings[:_SAID]:
        print(printable(one.sentence) + (" (mended)" if one.mended else ""))
    left = len(report.findings) + report.more - _SAID
    if left > 0:
        print(f"... and {left} more findings; --json has {'all' if not report.more else 'most'} of them")
    for note in [*absent, *report.notes][:_SAID]:
        warn(printable(note))
    print(_summary(report, options.data))


def _summary(report: Report, data: bool) -> str:
    count = report.counts.get
    looked = f"{count('pages', 0)} pages, {count('grains', 0)} grains, {count('log records', 0)} records of the log"
    read = "all data read" if data else "data not read: --data does that"
    if report.clean:
        end = "clean"
    else:
        mended = sum(one.mended for one in report.findings)
        number = len(report.findings) + report.more
        end = f"{number} finding{'s' if number > 1 else ''}" + (f", {mended} mended" if mended else "")
    return f"Pool {printable(report.pool)}, commit {report.commit}: {looked}; {read}: {end}."
