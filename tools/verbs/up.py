"""vfab up FILE: start a lab, or bring a running one to what its file says. Returns when all of it is up."""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

from daemons.lab.lab import Lab
from daemons.lab.loader import find, load
from daemons.lab.mistake import LabError
from daemons.paths import LabPaths, lab_id
from tools import shapes
from tools.controller import apply
from tools.errors import BadFile, BadInput
from tools.labs import all_labs
from tools.output import Progress, count, print_json, warn
from tools.verbs.status import complaints, port_problems, report
from tools.verbs.topo import add_hosts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", nargs="?", help="a lab file, or the name of an example")
    parser.add_argument(
        "--topo", metavar="SHAPE", help="a lab without a file: single,4 or linear,4; see vfab topo --help"
    )
    add_hosts(parser)
    parser.add_argument("--save", metavar="FILE", help="with --topo: keep the lab file there")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")


def run(options: argparse.Namespace) -> int:
    if options.topo is None:
        if options.file is None:
            raise BadInput("what is to be started? Name a lab file or an example, or a shape: vfab up --topo single,4")
        if options.save:
            raise BadInput("--save goes with --topo; a lab file of yours is kept already")
        return _up(options, options.file)
    if options.file is not None:
        raise BadInput(f"--topo {options.topo} makes a lab of its own; leave out {options.file}, or --topo")
    topo = shapes.read(options.topo, options.hosts)
    if options.dry_run:
        with shapes.on_trial(topo) as trial:
            return _up(options, trial)
    file = os.path.realpath(shapes.keep(topo, options.save) if options.save else shapes.lay(topo))
    try:
        code = _up(options, file)
    finally:
        if all(lab.file != file for lab in all_labs()):  # nothing was started
            shapes.forget(file)
    if not options.json:
        print(f"The lab file is {file}.")
    return code


def _up(options: argparse.Namespace, name: str) -> int:
    try:
        file = os.path.realpath(find(name))
        loaded = load(file)
    except LabError as error:
        raise BadFile(str(error)) from None
    paths = LabPaths(lab_id(loaded.lab.name, file))
    if options.dry_run and not os.path.exists(paths.control("fabricd")):
        return _dry(paths, file, options.json)
    progress = Progress()
    began = time.monotonic()
    try:
        value = apply(paths, file, options.dry_run, lambda event: progress.show(_told(loaded.lab, event)))
    finally:
        progress.clear()
    return _shown(value, options, time.monotonic() - began)


def _shown(value: dict[str, Any], options: argparse.Namespace, seconds: float) -> int:
    problems = [] if options.dry_run else complaints(value)
    if not options.dry_run:
        value["warnings"] += port_problems(value)
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
        print(f"Lab {value['name']} is up, {count(len(value['actions']), 'step')} in {seconds:.1f} s.")
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


def _told(lab: Lab, event: dict[str, Any]) -> str:
    if event.get("step") == "ready":
        return f"{lab.name}: {event['ready']} of {event['of']} processes ready"
    return f"{lab.name}: {event.get('step')} {event.get('node')}"
