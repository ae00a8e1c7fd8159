"""Which lab is meant, of those that this user has up: its name, its id or its file.

Knows: the labs of this user, running or left behind, by their state files. Refuses to know: how they are started and
ended, what is asked of them.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from daemons.errors import UserError
from daemons.paths import LabPaths, known_labs
from daemons.state import Desired, SqliteStore, StateError


class KnownLab(NamedTuple):
    """A lab with a state folder. Of one whose state file is damaged only the id is known."""

    id: str
    name: str
    file: str
    paths: LabPaths

    def __str__(self) -> str:
        return f"{self.name} ({self.file})" if self.file else self.id


def all_labs() -> list[KnownLab]:
    """Every lab of this user that was brought up and not down again."""
    return [known(identity) for identity in known_labs()]


def known(identity: str) -> KnownLab:
    paths = LabPaths(identity)
    try:
        store = SqliteStore(paths.database, create=False)
    except StateError:
        return KnownLab(identity, identity.rpartition("-")[0], "", paths)
    try:
        lab = store.lab()
    except StateError:
        lab = {}
    finally:
        store.close()
    return KnownLab(identity, lab.get("name", identity.rpartition("-")[0]), lab.get("file", ""), paths)


def choose(wanted: str | None) -> KnownLab:
    """The lab that `-l` or $VFAB_LAB names, else that of the working folder, else the only one. Raises UserError."""
    labs = all_labs()
    wanted = wanted or os.environ.get("VFAB_LAB")
    if wanted:
        return _named(wanted, labs)
    if not labs:
        raise UserError("no lab runs; start one with: vfab up FILE (or an example: vfab up two-switches)")
    here = [lab for lab in labs if lab.file and os.path.dirname(lab.file) == os.path.realpath(os.curdir)]
    for candidates in (here, labs):
        if len(candidates) == 1:
            return candidates[0]
    raise UserError(f"several labs run, say which one with -l: {_listed(here or labs)}")


def _named(wanted: str, labs: list[KnownLab]) -> KnownLab:
    real = os.path.realpath(wanted)
    tests = (
        lambda lab: lab.id == wanted,
        lambda lab: lab.name == wanted,
        lambda lab: bool(lab.file) and lab.file == real,
        lambda lab: os.path.basename(lab.file) in (wanted, f"{wanted}.fab.yml"),
    )
    for test in tests:
        found = [lab for lab in labs if test(lab)]
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(f"{lab.id} ({lab.file})" for lab in found)
            raise UserError(f"several labs are called {wanted}, give the id of one: {ids}")
    raise UserError(f"no lab {wanted!r} runs; {f'these do: {_listed(labs)}' if labs else 'none does'}")


def _listed(labs: list[KnownLab]) -> str:
    names = [lab.name for lab in labs]
    return ", ".join(lab.name if names.count(lab.name) == 1 else lab.id for lab in labs)


def store_of(lab: KnownLab) -> SqliteStore:
    return SqliteStore(lab.paths.database, create=False)


def desired(lab: KnownLab) -> dict[str, Desired]:
    """What each process of the lab should be."""
    store = store_of(lab)
    try:
        return store.desired()
    finally:
        store.close()
