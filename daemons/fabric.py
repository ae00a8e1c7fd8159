"""The lab as fabricd runs it: the children, the way from one desired state to the next, and what is so now.

Knows: which nodes there should be, and how they are brought there. Refuses to know: sockets, lab files, who asks.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from daemons import carriers
from daemons.channel import Failure
from daemons.lab import storage_order
from daemons.lab.actions import Action
from daemons.lab.actions import actions as difference
from daemons.process import alive
from daemons.state import Desired
from daemons.supervisor import Child, Ground
from daemons.teardown import lab_processes

Progress = Callable[[dict[str, Any]], None]

READY_SECONDS = 20.0
_LOOK_SECONDS = 0.05
_STATUS_TIMEOUT = 1.0
# Whose machines use what the others serve: a guest whose disk has gone hangs, and so does its end.
_USERS = frozenset({"vmd"})
# What is kept of a node's own answer.
_TOLD = ("ports", "hosts", "pool", "waiting", "volumes", "luns", "task", "problems", "machines")


def _in_turn(children: list[Child]) -> list[list[Child]]:
    """Who ends when: users, then pools above other pools, then all others."""
    pools = {child.name: child.desired.config for child in children if child.desired.kind == "stord"}
    *upper, _ = [set(tier) for tier in storage_order.tiers(pools)] or [set[str]()]
    users = {child.name for child in children if child.desired.kind in _USERS}
    early = set[str]().union(users, *upper)
    others = {child.name for child in children} - early
    return [[child for child in children if child.name in names] for names in (users, *upper, others) if names]


def actions(before: Mapping[str, Desired], after: Mapping[str, Desired]) -> list[Action]:
    """What must be done, in this order; the same state twice needs nothing."""
    now = {node: want.config for node, want in before.items()}
    then = {node: want.config for node, want in after.items()}
    return [action for action in difference(then, now) if action.kind != "keep"]


def told(todo: Sequence[Action]) -> list[dict[str, str]]:
    """Actions as JSON, with the line for people as `text`."""
    return [{**action._asdict(), "text": str(action)} for action in todo]


class Fabric:
    """All children of one lab."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self.desired: dict[str, Desired] = {}
        self.children: dict[str, Child] = {}
        self._leaving: list[Child] = []  # the lab is without them, and they still run
        self._ending = False

    def resume(self) -> None:
        """Go on where an earlier fabricd was killed: adopt what lives, start what does not, end what nobody wants."""
        self.desired = self._ground.store.desired()
        rows = self._ground.store.processes()
        adopted = set()
        for node, want in self.desired.items():
            child = self.children[node] = Child(self._ground, node, want)
            row = rows.get(node)
            # Without its socket (a run folder that was cleared away) a process can be neither asked nor told anything.
            if row is not None and alive(row.process) and os.path.exists(row.control):
                adopted.add(row.process)
                child.adopt(row)
                print(f"{node}: adopted process {row.process.pid}", file=sys.stderr, flush=True)
        strays = {process for process in lab_processes(self._ground.paths) if process not in adopted}
        for process in strays:
            self._ground.launcher.end(process)
        # A stray may hold the lock and the sockets of the node that is to be started: wait for its end first.
        self._after(strays, self._start_missing)

    def _after(self, strays: set[Any], then: Callable[[], None]) -> None:
        left = set(strays)
        if not left:
            then()

        def ended(process: Any) -> None:
            left.discard(process)
            if not left:
                then()

        for process in strays:
            self._ground.launcher.watch(process, partial(ended, process))

    def _start_missing(self) -> None:
        if self._ending:
            return
        missing = [child for child in self.children.values() if child.process is None and child.state == "stopped"]
        self._ground.launcher.expect(len(missing))
        for child in missing:
            child.start()

    # --- change

    def apply(self, after: dict[str, Desired], progress: Progress, done: Callable[[], None]) -> list[Action]:
        """Begin to make the lab `after`; returns what is done. `done()` is called when all steps are begun."""
        todo = actions(self.desired, after)
        self._ground.store.set_desired(after)
        self.desired = after
        stops = [self.children.pop(action.node) for action in todo if action.kind == "stop"]
        rest = [action for action in todo if action.kind != "stop"]

        def go_on() -> None:
            if self._ending:
                return
            self._ground.launcher.expect(sum(action.kind == "start" for action in rest))
            for action in rest:
                progress({"step": action.kind, "node": action.node})
                self._begin(action)
            done()

        # What a stopped node held (a TCP port, a socket's name) may be what a new one wants.
        self._stop(stops, progress, go_on)
        return todo

    def _begin(self, action: Action) -> None:
        want = self.desired[action.node]
        if action.kind == "start":
            child = self.children[action.node] = Child(self._ground, action.node, want)
            child.start()
        else:
            self.children[action.node].become(want)

    def change(self, configs: Mapping[str, dict[str, Any]], done: Callable[[dict[str, str], list[str]], None]) -> None:
        """Give some nodes another configuration, all or none: what one of them refuses, all of them forget.

        `done({node: why it is not so yet}, [nodes that refused])` follows; a node that does not run just now will be so
        when it is back. One change at a time.
        """
        before = {node: self.desired[node] for node in configs}
        after = {node: before[node]._replace(config=config) for node, config in configs.items()}
        self._remember(after)
        left = set(configs)
        problems: dict[str, str] = {}

        def settled(node: str, problem: str) -> None:
            left.discard(node)
            if problem:
                problems[node] = problem
            if not left:
                refused = [each for each in problems if each in self.children and self.children[each].refused]
                if refused:
                    self._take_back(before, after)
                done(problems, refused)

        for node, want in after.items():
            self.children[node].become(want, partial(settled, node))

    def _take_back(self, before: Mapping[str, Desired], after: Mapping[str, Desired]) -> None:
        mine = {node: want for node, want in before.items() if self.desired.get(node) is after[node]}
        self._remember(mine)
        for node, want in mine.items():
            self.children[node].become(want)

    def _remember(self, changed: Mapping[str, Desired]) -> None:
        after = {**self.desired, **changed}
        self._ground.store.set_desired(after)
        self.desired = after

    def stop_all(self, progress: Progress, done: Callable[[], None]) -> None:
        """End all children, whatever else is under way; `done()` when none is left."""
        self._ending = True
        children, self.children, self.desired = [*self.children.values(), *self._leaving], {}, {}
        self._stop(children, progress, done)

    def _stop(self, children: list[Child], progress: Progress, done: Callable[[], None]) -> None:
        """Who uses what others serve ends first; all of them are leaving from now on."""
        self._leaving += [child for child in children if child not in self._leaving]
        self._stop_in_turn(_in_turn(children), progress, done)

    def _stop_in_turn(self, groups: list[list[Child]], progress: Progress, done: Callable[[], None]) -> None:
        if groups:
            self._stop_group(groups[0], progress, lambda: self._stop_in_turn(groups[1:], progress, done))
        else:
            done()

    def _stop_group(self, children: list[Child], progress: Progress, done: Callable[[], None]) -> None:
        left = {child.name for child in children}

        def stopped(child: Child) -> None:
            left.discard(child.name)
            if child in self._leaving:
                self._leaving.remove(child)
            progress({"step": "stop", "node": child.name, "left": len(left)})
            if not left:
                done()

        for child in children:
            child.stop(partial(stopped, child))

    def let_go(self) -> None:
        """Forget the children; they live on."""
        for child in self.children.values():
            child.let_go()

    # --- what is so now

    def status(
        self,
        done: Callable[[dict[str, Any]], None],
        only: set[str] | None = None,
        without: frozenset[str] = frozenset(),
    ) -> None:
        """Ask all nodes (or `only` some) side by side; `done({node: row})` follows within a second or so.

        A row is that of `ps`, with what the node itself answers, `silent` if it does not, and `down`: its dead links;
        a link to a node of `without` is not expected.
        """
        children = [child for name, child in self.children.items() if only is None or self._asked(name, only)]
        rows: dict[str, dict[str, Any]] = {child.name: child.row() for child in children}
        values: dict[str, dict[str, Any]] = {}
        awaited = {name: want for name, want in self.desired.items() if name not in without}

        def answered(name: str, value: dict[str, Any]) -> None:
            values[name] = value
            rows[name].update({key: value[key] for key in _TOLD if key in value})
            if len(values) < len(rows):
                return
            wanted = carriers.expected(awaited, carriers.off(values.values()))
            for each, row in rows.items():
                row["down"] = carriers.down(each, wanted.get(each, set()), values[each])
            done(rows)

        def silent(name: str, failure: Failure) -> None:
            rows[name]["silent"] = failure.sentence
            answered(name, {})

        for child in children:
            name = child.name
            child.ask("status", {}, partial(answered, name), partial(silent, name), _STATUS_TIMEOUT)
        if not children:
            done(rows)

    def _asked(self, name: str, only: set[str]) -> bool:
        """Whoever runs virtual machines is always asked: the ports of one that was turned off are not down."""
        return name in only or self.children[name].desired.kind == "vmd"

    def when_ready(self, progress: Progress, done: Callable[[], None]) -> None:
        """`done()` when every node is configured and every link inside the lab is up, or nothing more will come."""
        loop = self._ground.loop
        deadline = loop.now() + int(READY_SECONDS * 1e9)
        ready: set[str] = set()

        def look() -> None:
            waiting = {name for name in self.children if name not in ready}
            refused = {name for name in waiting if self.children[name].refused}
            if not waiting - refused or loop.now() > deadline:
                done()
                return
            up = {name for name in waiting if self.children[name].state == "up"}
            if up:
                # A link to one that turned its configuration down will not come up, however long we wait.
                self.status(looked, only=up, without=frozenset(refused))
            else:
                loop.call_later(_LOOK_SECONDS, look)

        def looked(rows: dict[str, dict[str, Any]]) -> None:
            for name, row in rows.items():
                if name not in ready and row["state"] == "up" and "silent" not in row and not row["down"]:
                    ready.add(name)
                    progress({"step": "ready", "node": name, "ready": len(ready), "of": len(self.children)})
            loop.call_later(0 if len(ready) >= len(self.children) else _LOOK_SECONDS, look)

        look()
