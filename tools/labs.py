"""What is known of a lab: from its controller, or without asking anybody from its state file.

Knows: how a controller is asked, what the state file says. Refuses to know: which lab is meant (daemons.known).
"""

from __future__ import annotations

from typing import Any

from daemons.client import Client, Unreachable
from daemons.known import KnownLab as KnownLab
from daemons.known import all_labs as all_labs
from daemons.known import choose as choose
from daemons.known import desired as desired
from daemons.known import known as known
from daemons.known import store_of as store_of
from daemons.process import age, alive, memory_kib
from daemons.state import StateError


def ask(lab: KnownLab, op: str, **args: Any) -> Any:
    """An operation of the lab's fabricd. Raises Refused and Unreachable."""
    with Client(lab.paths.control("fabricd"), timeout=30) as client:
        return client.call(op, **args)


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
