"""Which lab is meant, and what is known of it without asking anybody: its state file and its sockets.

Knows: the labs of this user, running or left behind. Refuses to know: how they are started and ended.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from daemons.client import Client, Unreachable
from daemons.errors import UserError
from daemons.paths import LabPaths, known_labs
from daemons.process import age, alive, memory_kib
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
    """The lab that `-l` names, else that of the working folder, else the only one. Raises UserError."""
    labs = all_labs()
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


def ask(lab: KnownLab, op: str, **args: Any) -> Any:
    """An operation of the lab's fabricd. Raises Refused and Unreachable."""
    with Client(lab.paths.control("fabricd"), timeout=30) as client:
        return client.call(op, **args)


def store_of(lab: KnownLab) -> SqliteStore:
    return SqliteStore(lab.paths.database, create=False)


def desired(lab: KnownLab) -> dict[str, Desired]:
    """What each process of the lab should be."""
    store = store_of(lab)
    try:
        return store.desired()
    finally:
        store.close()


def reach(lab: KnownLab) -> str:
    """Who must reach whom, as JSON: [[from, to, [addresses]], ...]."""
    store = store_of(lab)
    try:
        return store.lab().get("reach", "[]")
    finally:
        store.close()


def overview(lab: KnownLab, op: str) -> dict[str, Any]:
    """What `status` or `ps` says; without a controller what the state file and /proc tell."""
    try:
        value: dict[str, Any] = ask(lab, op)
        return value
    except Unreachable as error:
        return {
            "lab": lab.id,
            "name": lab.name,
            "file": lab.file,
            "busy": False,
            "fabricd": None,
            "problem": f"the controller does not answer ({error}); vfab up {lab.file or lab.name} brings it back",
            "nodes": _remembered(lab),
        }


def _remembered(lab: KnownLab) -> dict[str, dict[str, Any]]:
    """The nodes as the state file knows them; none when it is damaged."""
    try:
        store = store_of(lab)
    except StateError:
        return {}
    try:
        wanted, rows = store.desired(), store.processes()
    except StateError:
        return {}
    finally:
        store.close()
    nodes: dict[str, dict[str, Any]] = {}
    for name, want in wanted.items():
        row = rows.get(name)
        process = row.process if row is not None and alive(row.process) else None
        nodes[name] = {
            "kind": want.kind,
            "pid": process.pid if process else None,
            "state": "alone" if process else "dead",
            "epoch": row.epoch if row else None,
            "restarts": None,
            "uptime_s": round(age(process), 1) if process else None,
            "memory_kib": memory_kib(process) if process else None,
            "problem": "",
        }
    return nodes
