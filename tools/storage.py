"""The storage of a lab as the verbs see it: its pools' processes, asked one after the other, and tables of them.

Knows: the `status` value of stord (ARCHITECTURE.md). Refuses to know: what a verb makes of it.
"""

from __future__ import annotations

import os
from typing import Any

from daemons.client import Client, Unreachable
from daemons.errors import UserError
from daemons.lab.mistake import printable
from daemons.lab.sizes import about
from storvirt.nbd.uri import UriError, is_uri, parse
from storvirt.pool import states
from tools.labs import KnownLab, desired
from tools.output import table

_SILENCE_SECONDS = 30.0
_LOOK_SECONDS = 5.0  # of one pool that is stopped: the others want to be shown, too


def pools(lab: KnownLab) -> dict[str, dict[str, Any]]:
    """The configuration of each pool of a lab, by name."""
    return {name: want.config for name, want in desired(lab).items() if want.kind == "stord"}


def pool_named(lab: KnownLab, name: str) -> dict[str, Any]:
    """Raises UserError with what there is instead."""
    found = pools(lab)
    if name not in found:
        raise UserError(f"lab {lab.name} has no pool {name!r}; its pools are: {', '.join(found) or 'none'}")
    return found[name]


def call(lab: KnownLab, pool: str, op: str, silence: float = _SILENCE_SECONDS, **args: Any) -> Any:
    """An operation of a pool's process; silence: seconds. Raises Refused and Unreachable."""
    with Client(lab.paths.control(pool), timeout=silence) as client:
        return client.call(op, **args)


def statuses(lab: KnownLab, only: str | None = None) -> dict[str, dict[str, Any]]:
    """What each pool says of itself; of one that does not answer, its name and why."""
    if only is not None:
        pool_named(lab, only)
    found: dict[str, dict[str, Any]] = {}
    for name in pools(lab):
        if only in (None, name):
            try:
                found[name] = call(lab, name, "status", _LOOK_SECONDS)
            except Unreachable as error:
                found[name] = {"name": name, "problems": [f"pool {name} does not answer: {error}"]}
    return found


def find_lun(lab: KnownLab, name: str) -> tuple[str, dict[str, Any]] | None:
    """(its pool, its configuration)."""
    for pool, config in pools(lab).items():
        for lun in config["luns"]:
            if lun["name"] == name:
                return pool, lun
    return None


def rows(told: dict[str, dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """The volumes or LUNs of all pools."""
    return [row for value in told.values() for row in value.get(key, ())]


def health(told: dict[str, dict[str, Any]], key: str, name: str | None) -> tuple[list[dict[str, Any]], list[str]]:
    """The volumes or LUNs of that name (None: of any), and what is wrong with the pools that they are in. Of a pool
    that is not open nobody knows what is in it: it is among them. Raises UserError."""
    found = rows(told, key)
    chosen = [row for row in found if name in (None, row["name"])]
    there = {row["pool"] for row in chosen} | {pool for pool, value in told.items() if key not in value}
    wrong = problems({pool: value for pool, value in told.items() if pool in there})
    if name is not None and not chosen and not wrong:
        raise nothing_named(key, name, found)
    return chosen, wrong


def nothing_named(key: str, name: str, found: list[dict[str, Any]]) -> UserError:
    """For a volume or a LUN that is not there."""
    word = {"volumes": "volume", "luns": "LUN"}[key]
    return UserError(f"there is no {word} {name!r}; there are: {', '.join(row['name'] for row in found) or 'none'}")


def problems(told: dict[str, dict[str, Any]]) -> list[str]:
    return [problem for value in told.values() for problem in value["problems"]]


# --- words


def summary(row: dict[str, Any]) -> str:
    """A pool in one cell: members, LUNs, what is going on."""
    if "pool" not in row:
        return "waits to be opened" if row.get("waiting") else ""
    luns = ", ".join(lun["name"] for lun in row.get("luns", ()))
    parts = [f"{inside(row['pool'])} members", f"LUNs {luns}" if luns else "", progress(row.get("task"))]
    return "; ".join(part for part in parts if part)


def inside(pool: dict[str, Any]) -> str:
    """How many members are in, of how many: `5/5`, and `5/5+1` with a spare."""
    states_of = [member["state"] for member in pool["members"] if member["state"] != states.REMOVED]
    spares = states_of.count(states.SPARE)
    return f"{states_of.count(states.IN)}/{len(states_of) - spares}" + (f"+{spares}" if spares else "")


def progress(task: dict[str, Any] | None) -> str:
    """What a job is at; "" when none runs."""
    if task is None or task["state"] != "running":
        return ""
    return f"{task['kind']} {percent(task)}"


def percent(task: dict[str, Any]) -> str:
    return f"{100 * task['done'] // task['total'] if task['total'] else 100} %"


def pool_table(told: dict[str, dict[str, Any]]) -> str:
    header = ("POOL", "STATE", "MEMBERS", "SIZE", "FREE", "VOLUMES", "LUNS")
    lines: list[tuple[object, ...]] = []
    for name, value in told.items():
        pool = value.get("pool")
        if pool is None:
            lines.append((name, state(value), "", "", "", "", len(value.get("luns", ())) or ""))
            continue
        counts = (len(value["volumes"]), len(value["luns"]))
        lines.append((name, state(value), inside(pool), about(pool["size"]), about(pool["free"]), *counts))
    return table(header, lines)


_AT = {"replace": "rebuilding", "rejoin": "rebuilding", "strengthen": "rebuilding", "scrub": "scrubbing",
       "add": "growing", "rebalance": "rebalancing", "remove": "shrinking"}  # fmt: skip


def state(value: dict[str, Any]) -> str:
    """One word for a pool."""
    if "pool" not in value:
        return "waiting" if value.get("waiting") else "down"
    if value["pool"]["suspended"]:
        return "waiting"
    task = value.get("task")
    if task is not None and task["state"] == "running":
        return _AT.get(task["kind"], str(task["kind"]))
    return "degraded" if any(row["state"] == "out" for row in value["pool"]["members"]) else "up"


def member_table(value: dict[str, Any]) -> str:
    header = ("MEMBER", "STATE", "SIZE", "FREE", "HEALED", "FILE")
    shown = [row for row in value["pool"]["members"] if row["state"] != "removed"]
    lines = [
        (r["number"], r["condition"], about(r["size"]), about(r["free"]), r["healed"] or "-", r["path"] or r["name"])
        for r in shown
    ]
    return "\n".join([table(header, lines), *conditions(shown)])


def conditions(members: list[dict[str, Any]]) -> list[str]:
    """A sentence about each member of which there is more to say than that it is in."""
    extra = [row for row in members if row["condition"] not in states.ORDINARY]
    return [printable(states.said(row.get("path") or row["name"], row["condition"])) for row in extra]


def volume_table(found: list[dict[str, Any]]) -> str:
    header = ("VOLUME", "POOL", "RAID", "SIZE", "GRAIN", "IN THE FILE")
    return table(header, [(r["name"], r["pool"], r["raid"], about(r["size"]), about(r["grain"]),
                           "yes" if r["listed"] else "no") for r in found])  # fmt: skip


def lun_table(found: list[dict[str, Any]]) -> str:
    header = ("LUN", "VOLUME", "POOL", "SIZE", "MODE", "CLIENTS", "AT")
    return table(header, [(r["name"], r["volume"], r["pool"], about(r["size"]), "ro" if r["read_only"] else "rw",
                           r["clients"], place(r)) for r in found])  # fmt: skip


def place(lun: dict[str, Any]) -> str:
    where = f"tcp {lun['tcp']}" if lun.get("tcp") else str(lun["path"])
    return where if lun["listening"] else f"{where} (nobody listens yet)"


def absolute(path: str, folder: str = "") -> str:
    """As the user means it, from where he stands, or from a folder; links are followed by whoever opens it. An NBD URI
    stays one."""
    folder = folder or os.getcwd()
    if is_uri(path):
        try:
            return parse(path, folder).text
        except UriError as error:
            raise UserError(str(error)) from None
    return os.path.normpath(os.path.join(folder, path))
