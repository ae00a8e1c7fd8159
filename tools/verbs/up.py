"""vfab up FILE: start a lab, or bring a running one to what its file says. Returns when all of it is up."""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

from daemons.client import Client, Unreachable
from daemons.errors import UserError
from daemons.lab.lab import Lab
from daemons.lab.loader import find, load
from daemons.lab.mistake import LabError
from daemons.paths import LabPaths, PathError, lab_id
from daemons.spawn import spawn
from tools.errors import BadFile
from tools.output import Progress, print_json, warn
from tools.verbs.status import complaints, report

_SILENCE_SECONDS = 60.0
_BEGIN_SECONDS = 10.0
_FOLDER_SECONDS = 0.5
_LOOK_SECONDS = 0.05


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a lab file, or the name of an example")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")


def run(options: argparse.Namespace) -> int:
    try:
        file = os.path.realpath(find(options.file))
        loaded = load(file)
    except LabError as error:
        raise BadFile(str(error)) from None
    paths = LabPaths(lab_id(loaded.lab.name, file))
    if options.dry_run and not os.path.exists(paths.control("fabricd")):
        return _dry(paths, file, options.json)
    progress = Progress()
    began = time.monotonic()
    try:
        value = _apply(paths, file, options.dry_run, lambda event: progress.show(_told(loaded.lab, event)))
    finally:
        progress.clear()
    return _shown(value, options, time.monotonic() - began)


def _shown(value: dict[str, Any], options: argparse.Namespace, seconds: float) -> int:
    problems = [] if options.dry_run else complaints(value)
    if options.json:
        print_json({**value, "problems": problems})
        return 1 if problems else 0
    for warning in value["warnings"]:
        warn(warning)
    if options.dry_run:
        _print_actions(value["actions"])
        _print_taken_back(value, "would take back")
        return 0
    print(report(value))
    _print_taken_back(value, "took back")
    _print_new_pools(value)
    for problem in problems:
        warn(problem)
    if not value["actions"]:
        print("Nothing to do: the lab is what its file says.")
    elif not problems:
        print(f"Lab {value['name']} is up, {len(value['actions'])} steps in {seconds:.1f} s.")
    return 1 if problems else 0


def _print_actions(actions: list[dict[str, str]]) -> None:
    print("\n".join(action["text"] for action in actions) or "Nothing to do: the lab is what its file says.")


def _print_taken_back(value: dict[str, Any], verb: str) -> None:
    """Changes of the running lab that the file does not say."""
    for change in value.get("taken_back", ()):
        print(f"{verb} {change['text']}")


def _print_new_pools(value: dict[str, Any]) -> None:
    """An empty pool in the place of a full one must not go unseen: a disk may not be mounted."""
    started = {action["node"] for action in value["actions"] if action["kind"] == "start"}
    for node, row in value["nodes"].items():
        if node in started and row.get("pool", {}).get("new"):
            files = ", ".join(member["path"] for member in row["pool"]["members"])
            print(f"pool {node} is new and empty; made: {files}")


def _dry(paths: LabPaths, file: str, as_json: bool) -> int:
    """What a first `up` would do; nothing runs that could be asked."""
    from daemons.blueprint import draw
    from daemons.fabric import actions, told

    plan = draw(file, paths, None, dry=True)
    todo = told(actions({}, plan.nodes))
    if as_json:
        print_json({"actions": todo, "warnings": plan.warnings, "dry_run": True})
        return 0
    for warning in plan.warnings:
        warn(warning)
    _print_actions(todo)
    return 0


def _apply(paths: LabPaths, file: str, dry: bool, events: Any) -> dict[str, Any]:
    with _controller(paths) as client:
        value: dict[str, Any] = client.call("apply", events=events, file=file, dry_run=dry)
        return value


def _controller(paths: LabPaths) -> Client:
    """A line to the lab's fabricd, which is started if there is none."""
    began = time.monotonic()
    control = paths.control("fabricd")
    while True:
        try:
            return Client(control, _SILENCE_SECONDS)
        except Unreachable:
            pass
        try:
            spawn(paths)
        except UserError as error:
            # Somebody else may have started one in the same moment, and it does not listen yet; or one is just ending,
            # and takes its folders with it. A folder that cannot be made a moment later never can.
            patience = _FOLDER_SECONDS if isinstance(error, PathError) else _BEGIN_SECONDS
            if time.monotonic() - began > patience:
                raise
            time.sleep(_LOOK_SECONDS)


def _told(lab: Lab, event: dict[str, Any]) -> str:
    if event.get("step") == "ready":
        return f"{lab.name}: {event['ready']} of {event['of']} processes ready"
    return f"{lab.name}: {event.get('step')} {event.get('node')}"
