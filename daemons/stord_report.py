"""What a pool's process says of itself, and where what is differs from what the lab file wants, in sentences.

Knows: the `status` value of ARCHITECTURE.md. Refuses to know: how anything came about.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from daemons.stord_config import Config, WantedVolume
from daemons.stord_jobs import path_of
from daemons.stord_keeper import Keeper
from daemons.stord_luns import address
from storvirt.pool import format as f
from storvirt.pool import states
from storvirt.pool.membership import unfinished
from storvirt.raid.layout import BY_NUMBER

if TYPE_CHECKING:
    from daemons.stord import Stord


def _took_place(keeper: Keeper, path: str) -> int | None:
    """The number of the member that is where the one with this file was, if that was replaced."""
    rows = keeper.pool.rows
    former = (n for n, row in enumerate(rows) if row.state == f.REMOVED and path_of(keeper, n) == path)
    number = next(former, f.NOBODY)
    for _ in rows:  # who took the place may have been replaced as well
        if number == f.NOBODY or rows[number].state != f.REMOVED:
            break
        number = rows[number].successor
    return number if number != f.NOBODY and rows[number].state == f.IN else None


def members_differ(keeper: Keeper, wanted: Config) -> list[str]:
    """Members of the pool that the configuration does not list, and the other way round."""
    pool = keeper.pool
    inside = {path: n for n, path in keeper.paths.items() if pool.rows[n].state in (f.IN, f.OUT)}
    found, told = [], {new for _, new in unfinished(pool)}  # a rebuild is said elsewhere, and not done yet
    for path in wanted.members:
        if path in inside:
            continue
        number = _took_place(keeper, path)
        place = keeper.paths.get(number) if number is not None else None
        if number is not None and place is not None and place not in wanted.members and number not in told:
            found.append(f"in the lab file write {place} in the place of {path}, which it replaced in pool {pool.name}")
            told.add(number)
        elif number is not None:
            found.append(f"{path} was replaced in pool {pool.name}, or removed; take it out of the lab file")
        elif len(wanted.members) > len(inside):
            found.append(
                f"{path} is no member of pool {pool.name}: members are not added this way;"
                f" vfab pool add {pool.name} {path} makes one more, vfab pool replace puts it in the place of another"
            )
    found += [
        f"{path} is a member of pool {pool.name} and not in the lab file; list it there"
        for path, number in inside.items()
        if path not in wanted.members and pool.rows[number].state == f.IN and number not in told
    ]
    return found


def volume_differs(row: f.VolumeRow, wanted: WantedVolume) -> list[str]:
    """What a volume can't become."""
    found = []
    if wanted.size < row.size:
        found.append(
            f"volume {row.name} has {row.size} bytes and can't shrink to {wanted.size}; it stays as it is:"
            " put its size back into the lab file, or make a smaller volume and copy"
        )
    for what, now, then in (
        ("RAID level", BY_NUMBER[row.profile].name, wanted.raid),
        ("grain", row.grain, wanted.grain),
    ):
        if now != then:
            found.append(f"volume {row.name} has {what} {now}, which can't become {then}; it stays as it is")
    return found


def status(daemon: Stord) -> dict[str, Any]:
    """The whole answer."""
    keeper = daemon.keeper
    told: dict[str, Any] = {
        "name": daemon.name,
        "epoch": daemon.config.epoch if daemon.config is not None else 0,
        "uptime_s": round(time.time() - daemon.since, 1),
        "mistakes": daemon.loop.mistakes,
    }
    if keeper is None and daemon.waiting:
        why = [daemon.waiting, *daemon.luns.problems.values()]
        return {
            **told,
            "waiting": daemon.waiting,
            "luns": _luns(daemon),
            "nbd": daemon.luns.statistics(),
            "problems": why,
        }
    if keeper is None:
        return {**told, "problems": daemon.problems or [f"pool {daemon.name} is not open"]}
    value = keeper.pool.status()
    if daemon.watch is not None:
        daemon.watch.away.see()
    members = [_member(daemon, keeper, row) for row in value.pop("members")]
    volumes = value.pop("volumes")
    wanted = daemon.config.volumes if daemon.config is not None else {}
    return {
        **told,
        "pool": {**value, "new": daemon.made, "suspended": keeper.suspended, "members": members, **_space(members)},
        "volumes": [{**row, "pool": daemon.name, "listed": row["name"] in wanted} for row in volumes],
        "luns": _luns(daemon),
        "task": keeper.task.row() if keeper.task is not None else None,
        "faults": daemon.faults.rows() if daemon.faults is not None else [],
        "nbd": daemon.luns.statistics(),
        "problems": problems(daemon, keeper, members),
    }


def _member(daemon: Stord, keeper: Keeper, row: dict[str, Any]) -> dict[str, Any]:
    number = row["number"]
    away = daemon.watch.away.row(number) if daemon.watch is not None else None
    condition = states.condition(keeper.pool.rows[number], number in keeper.pool.joining, away is not None)
    return {
        **row,
        "path": keeper.paths.get(number, keeper.pool.rows[number].hint),
        "condition": condition,
        "meaning": states.MEANING.get(condition, ""),
        "away": away,
    }


def _gone(keeper: Keeper, number: int) -> str | None:
    """Why a spare can't take a place; None if it can."""
    spare = keeper.pool.spares.get(number)
    return spare.check() if spare is not None else f"{path_of(keeper, number)} was not there when the pool was opened"


def _space(members: list[dict[str, Any]]) -> dict[str, int]:
    """Bytes of all members that are in, before redundancy."""
    inside = [row for row in members if row["state"] == "in"]
    return {"size": sum(row["size"] for row in inside), "free": sum(row["free"] for row in inside)}


def _luns(daemon: Stord) -> list[dict[str, Any]]:
    return [
        {
            "name": lun.name,
            "pool": daemon.name,
            "volume": lun.volume,
            "size": daemon.luns.size(lun.name),
            "read_only": lun.read_only,
            "path": lun.path,
            "tcp": lun.tcp,
            "clients": daemon.luns.clients(lun.name),
            "listening": address(lun) in daemon.luns.servers,
        }
        for lun in daemon.luns.wanted.values()
    ]


def _out(pool: str, row: dict[str, Any]) -> str:
    """What to do about a member that is out."""
    member, away = f"member {row['path'] or row['name']} of pool {pool}", row["away"]
    replace = f"vfab pool replace {pool} {row['path'] or row['number']} NEWFILE"
    if row["condition"] == states.ENDED:
        return f"{member} is out: {row['meaning']}: {replace}"
    if away is None:
        return f"{member} is out; put a new file in its place: {replace}"
    left = away["next_s"]
    when = "when the job is over" if left is None else f"in {left:.0f} s" if left else "now"
    return f"{member} is out: {away['why']}; it comes back by itself, and is asked again {when}; or: {replace}"


def problems(daemon: Stord, keeper: Keeper, members: list[dict[str, Any]]) -> list[str]:
    """Everything that somebody should do something about."""
    found = [keeper.suspended] if keeper.suspended else []
    task = keeper.task
    replacing = task is not None and task.kind in ("replace", "remove") and task.state == "running"
    moving = {old for old, _ in unfinished(keeper.pool)} if replacing else set()
    found += [_out(daemon.name, row) for row in members if row["state"] == "out" and row["number"] not in moving]
    gone = [_gone(keeper, row["number"]) for row in members if row["state"] == "spare"]
    found += [f"spare {why}; vfab pool remove {daemon.name} takes it out" for why in gone if why is not None]
    if task is not None and task.problem:
        found.append(f"{task.kind} {task.what} failed: {task.problem}")
    if daemon.config is not None:
        said = members_differ(keeper, daemon.config)
        found += said
        # That a member's file is not there matters no more when another one has taken its place, or does.
        listed = {path for path in daemon.config.members if _took_place(keeper, path) is None}
        listed -= {path_of(keeper, number) for number in moving}
        found += [why for path, why in daemon.opening.items() if path in listed and why not in said]
    found += daemon.faults.problems() if daemon.faults is not None else []
    return [*found, *daemon.problems, *daemon.luns.problems.values()]
