"""vfab pool: the pools of a lab, a file in the place of a dead one, a scrub; planning one, making one without a lab,
finding, checking and looking into its files."""

from __future__ import annotations

import argparse
import time
from typing import Any

from daemons.client import Unreachable
from tools import storage
from tools.errors import BadInput
from tools.labs import KnownLab, choose
from tools.output import Progress, duration, print_json, warn
from tools.pool_fault import add_word as add_fault
from tools.pool_fsck import add_word as add_fsck
from tools.pool_import import add_word as add_import
from tools.pool_inspect import add_word as add_inspect
from tools.pool_members import add_words as add_members
from tools.pool_plan import add_word as add_plan
from tools.subverbs import Subverbs, size

_LOOK_SECONDS = 0.1  # stord tells of a job when it is asked, also one that was started anew meanwhile
_RESTART_SECONDS = 30.0  # in which fabricd brings a pool's process back
_BAR = 30
_GO_ON = ("replace", "remove", "rebalance", "scrub", "add")  # jobs that outlive the pool's process


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = Subverbs(parser, "list")
    verbs.add("list", _list, "a line for each pool")
    verbs.add("show", _show, "members, volumes and LUNs").add_argument("name", metavar="POOL", nargs="?")
    verbs.add("status", _status, "what is going on; exit code 0 when all is well").add_argument(
        "name", metavar="POOL", nargs="?"
    )
    replace = verbs.add("replace", _replace, "a new file takes the place of a member; guests notice nothing")
    replace.add_argument("name", metavar="POOL")
    replace.add_argument("member", metavar="MEMBER", help="its file (the last part will do) or its number")
    replace.add_argument("file", metavar="NEWFILE", help="is made; a name without a slash is beside the old member")
    scrub = verbs.add("scrub", _scrub, "read everything, and mend what is bad; exit code 0 when nothing is lost")
    scrub.add_argument("name", metavar="POOL")
    for job in (replace, scrub):
        job.add_argument("--no-wait", action="store_true", help="begin, and do not wait for the end")
    add_members(verbs, _follow)
    add_import(verbs)
    add_fsck(verbs)
    add_fault(verbs)
    add_inspect(verbs)
    make = verbs.add(
        "create", _create,
        "make a pool on new files, without any lab: nothing runs afterwards. In a lab write it into the lab file"
        " instead, and vfab up makes it; a lab file may also list files that were made here",
    )  # fmt: skip
    make.add_argument("name", metavar="NAME")
    make.add_argument("files", metavar="FILE", nargs="+", help="a member; must not be there yet")
    make.add_argument("--size", type=size, required=True, metavar="SIZE", help="of each file, such as 1GiB (sparse)")
    add_plan(verbs)


def run(options: argparse.Namespace) -> int:
    code: int = options.subverb(options)
    return code


def _list(options: argparse.Namespace) -> int:
    told = storage.statuses(choose(options.lab))
    if options.json:
        print_json(told)
    elif told:
        print(storage.pool_table(told))
    else:
        print("This lab has no pools.")
    return 0


def _show(options: argparse.Namespace) -> int:
    told = storage.statuses(choose(options.lab), options.name)
    if options.json:
        print_json(told[options.name] if options.name else told)
        return 0
    print("\n\n".join(_pool(name, value) for name, value in told.items()) or "This lab has no pools.")
    return 0


def _pool(name: str, value: dict[str, Any]) -> str:
    parts = [storage.pool_table({name: value})]
    if "pool" in value:
        parts.append(storage.member_table(value))
        parts += [storage.volume_table(value["volumes"])] if value["volumes"] else []
        parts += [storage.lun_table(value["luns"])] if value["luns"] else []
    return "\n\n".join(parts)


def _status(options: argparse.Namespace) -> int:
    told = storage.statuses(choose(options.lab), options.name)
    problems = storage.problems(told)
    if options.json:
        print_json({"pools": told, "problems": problems})
        return 1 if problems else 0
    print(storage.pool_table(told) if told else "This lab has no pools.")
    for value in told.values():
        task = value.get("task")
        if task is not None:
            print(_bar(task) if task["state"] == "running" else _ended(task))
            if task["state"] == "running" and task.get("sentence"):
                print(task["sentence"])
    for problem in problems:
        warn(problem)
    return 1 if problems else 0


# --- jobs


def _replace(options: argparse.Namespace) -> int:
    lab = choose(options.lab)
    members = storage.pool_named(lab, options.name)["pool"]["members"]
    file = storage.absolute(options.file) if "/" in options.file else options.file
    begun = storage.call(lab, options.name, "replace", member=options.member, path=file)
    if options.no_wait:
        return _begun(options, "replace")
    task = _wait(lab, options.name, begun)
    if options.json:
        print_json(task)
    else:
        print(_ended(task))
        if task["state"] == "done" and task["path"] not in members:
            print(f"Now write {task['path']} into the lab file, in the place of the old member ({lab.file}).")
    return 0 if task["state"] == "done" else 1


def _scrub(options: argparse.Namespace) -> int:
    lab = choose(options.lab)
    storage.pool_named(lab, options.name)
    begun = storage.call(lab, options.name, "scrub")
    if options.no_wait:
        return _begun(options, "scrub")
    task = _wait(lab, options.name, begun)
    if options.json:
        print_json(task)
    else:
        print(_ended(task))
    return 0 if task["state"] == "done" and not task["lost"] else 1


def _follow(options: argparse.Namespace, begun: dict[str, Any]) -> int:
    if options.no_wait:
        return _begun(options, begun["kind"])
    task = _wait(choose(options.lab), options.name, begun)
    if options.json:
        print_json(task)
    else:
        print(_ended(task))
    return 0 if task["state"] == "done" else 1


def _begun(options: argparse.Namespace, kind: str) -> int:
    if options.json:
        print_json({"kind": kind, "state": "running"})
    else:
        print(f"It has begun; vfab pool status {options.name} tells how far it is.")
    return 0


def _wait(lab: KnownLab, pool: str, begun: dict[str, Any]) -> dict[str, Any]:
    """The job as it ended; it goes on when we are interrupted here. A rebuild outlives its process: so does this."""
    progress, began, heard, said = Progress(), time.monotonic(), time.monotonic(), ""
    try:
        while True:
            try:
                told = storage.call(lab, pool, "status")
                heard = time.monotonic()
            except Unreachable:
                if begun["kind"] not in _GO_ON or time.monotonic() - heard > _RESTART_SECONDS:
                    raise
                told = {}
            task = told.get("task")
            if task is None and "pool" in told:
                return _ended_with_its_process(begun, told)
            if task is not None and task["state"] != "running":
                return dict(task)
            said = _why_it_waits(told, said, progress)
            if task is not None:
                progress.show(f"{_bar(task)} {duration(time.monotonic() - began)}")
            time.sleep(_LOOK_SECONDS)
    finally:
        progress.clear()


def _why_it_waits(told: dict[str, Any], said: str, progress: Progress) -> str:
    """A job in a pool that waits for room does not move: each reason is told once. Returns the reason."""
    why = told.get("waiting") or told.get("pool", {}).get("suspended") or ""
    if why and why != said:
        progress.clear()
        warn(why)
    return str(why)


def _ended_with_its_process(begun: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    """What became of a job of which the pool's new process knows nothing."""
    states = {member["path"]: member["state"] for member in told["pool"]["members"]}
    if begun["kind"] == "rebalance":  # or there would be one that goes on
        return {**begun, "state": "done", "done": begun["total"]}
    if begun["kind"] == "remove" and states.get(begun["what"]) == "removed":
        return {**begun, "state": "done", "done": begun["total"]}
    if begun["kind"] == "add" and states.get(begun["path"]) == "in":
        return {**begun, "state": "done"}
    if begun["kind"] == "replace" and (states.get(begun["old"]), states.get(begun["path"])) == ("removed", "in"):
        return {**begun, "state": "done", "done": begun["total"]}
    return {**begun, "state": "failed", "problem": "the pool's process began anew; ask for it again"}


def _bar(task: dict[str, Any]) -> str:
    filled = _BAR * task["done"] // task["total"] if task["total"] else _BAR
    return f"{task['kind']} {task['what']}  {'█' * filled}{'░' * (_BAR - filled)} {storage.percent(task)}"


def _ended(task: dict[str, Any]) -> str:
    if task["state"] == "failed":
        return f"{task['kind']} {task['what']} failed: {task['problem']}"
    if task["state"] == "cancelled":
        return f"{task['kind']} {task['what']} was called off"
    if task["kind"] == "scrub":
        return f"scrub {task['what']}: {task['healed']} mended, {task['lost']} lost"
    return f"{task['kind']} {task['what']}: done, {task['total']} slots"


# --- without a lab


def _create(options: argparse.Namespace) -> int:
    from tools.offline import Pool, asking

    if len(options.name.encode()) > 64 or not options.name.isprintable():
        raise BadInput(f"a pool's name has 1 to 64 printable characters, {options.name[:80]!r} has not")
    files = [storage.absolute(file) for file in options.files]
    with asking(), Pool.create(files, options.size, options.name) as pool:
        value = pool.status()
    if options.json:
        print_json(value)
    else:
        print(
            f"Pool {options.name} is made on {len(files)} files. Next: vfab volume create NAME {options.files[0]} ..."
        )
    return 0
