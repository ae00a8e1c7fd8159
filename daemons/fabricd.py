"""fabricd, the controller of one lab: it answers `vfab` and supervises the lab's processes.

Knows: its operations, one change at a time, its own beginning and end. Refuses to know: how a child is kept alive
(`supervisor`), what must be done (`fabric`), what a lab file means (`blueprint`).
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from daemons import supervisor
from daemons.control import ControlServer, Reply
from daemons.deposits import SOCKET, Deposits
from daemons.errors import UserError
from daemons.fabric import Fabric, actions, told
from daemons.filed import Filed, filed, wanted
from daemons.lab.actions import Action
from daemons.launcher import LocalLauncher, listen, raise_file_limit, raise_orphans
from daemons.leavings import left_behind
from daemons.locks import Lock
from daemons.loop import Loop
from daemons.paths import LabPaths
from daemons.process import Process, age, identify, memory_kib
from daemons.reaching import check_loops
from daemons.state import DamagedState, SqliteStore, set_aside
from daemons.supervisor import Ground
from daemons.teardown import FABRICD, remove_folders

BUSY = "another 'up' or 'down' of this lab is under way; wait for its end"
ENDED = "the lab was taken down meanwhile"
_RESTART_SECONDS = 20.0
_LOOK_SECONDS = 0.05
_UNUSED_SECONDS = 60.0


class Fabricd:
    """The operations of the control socket."""

    def __init__(self, loop: Loop, paths: LabPaths, store: SqliteStore, argv: Mapping[str, tuple[str, ...]]) -> None:
        self._loop = loop
        self._paths = paths
        self._store = store
        self._launcher = LocalLauncher(loop)
        self.fabric = Fabric(Ground(loop, self._launcher, store, paths, argv))
        self.filed = Filed(store)
        self.deposits = Deposits(loop, paths.socket(SOCKET), self._tap_path)
        self._busy = False
        self._ending = False
        self._changing = False
        self._held = False
        self._later: list[tuple[dict[str, Any], Reply]] = []  # changes that wait for the one before
        self.handlers = {
            "apply": self.apply,
            "change": self.change,
            "status": self.status,
            "ps": self.ps,
            "restart": self.restart,
            "hold": self.hold,
            "down": self.down,
        }

    def begin(self) -> None:
        """Go on where an earlier fabricd was killed. One that nobody tells anything, because whoever started it was
        killed first, does not stay.
        """
        self.fabric.resume()
        self.deposits.open()
        if not self.fabric.desired:
            self._loop.call_later(_UNUSED_SECONDS, self._end_if_unused)

    def _end_if_unused(self) -> None:
        if not (self._busy or self._held or self._ending):
            self._end_if_empty()

    def reap(self) -> None:
        self._launcher.reap_strays()

    # --- change

    def apply(self, args: dict[str, Any], reply: Reply) -> None:
        """`{file, dry_run}` -> `{actions, warnings, nodes, ...}`; events tell of the progress."""
        # The lab file's model and graph are heavy; a fabricd that has only adopted its children does without.
        from daemons.blueprint import draw

        if self._busy:
            raise UserError(BUSY)
        try:
            plan = draw(str(args.get("file", "")), self._paths, self._store, bool(args.get("dry_run")))
        except UserError as error:
            reply.fail(str(error))
            self._end_if_empty()
            return
        warnings = [*plan.warnings, *left_behind(self.fabric.desired, plan.nodes)]
        back = self.filed.taken_back(self.fabric.desired, plan.nodes)
        if args.get("dry_run"):
            todo = actions(self.fabric.desired, plan.nodes)
            reply.done({"actions": told(todo), "warnings": warnings, "taken_back": back, "dry_run": True})
            self._end_if_empty()
            return
        self._busy = True
        self._store.set_lab(plan.lab)  # with it all changes since the last file are forgotten
        begun: list[Action] = []

        def begun_all() -> None:
            self.fabric.when_ready(reply.event, ready)

        def ready() -> None:
            if self._ending:
                reply.fail(ENDED)
                return
            self._busy = False
            self.deposits.settle()
            extra = {"actions": told(begun), "warnings": warnings, "taken_back": back}
            self.fabric.status(lambda rows: reply.done({**self._lab(), **extra, "nodes": rows}))

        begun += self.fabric.apply(plan.nodes, reply.event, begun_all)

    def change(self, args: dict[str, Any], reply: Reply) -> None:
        """`{switches: {name: wish}, pools: {name: wish}, dry_run}` -> `{changes, waiting}`; all or nothing. A wish is
        that of `changes` and of `pool_changes`."""
        if self._busy:
            raise UserError(BUSY)
        if self._changing:
            self._later.append((args, reply))
            return
        configs, made = wanted(self.fabric.desired, args.get("switches"), args.get("pools"))
        switches = {name: want.config for name, want in self.fabric.desired.items() if want.kind == "switchd"}
        others = {name: config for name, config in configs.items() if name in switches}
        if others:
            lab = self._store.lab()
            check_loops(lab.get("file", ""), {**switches, **others}, {**switches, **filed(lab)})
        if args.get("dry_run") or not made:
            reply.done({"changes": made, "waiting": {}, "dry_run": bool(args.get("dry_run"))})
            return
        self._changing = True
        self.filed.note(self.fabric.desired, configs)

        def done(problems: dict[str, str], refused: list[str]) -> None:
            self._changing = False
            self.deposits.settle()
            if refused:
                reply.fail(f"{refused[0]}: {problems[refused[0]]}; nothing was changed")
            else:
                reply.done({"changes": made, "waiting": problems, "dry_run": False})
            self._next_change()

        self.fabric.change(configs, done)

    def _next_change(self) -> None:
        while self._later and not self._changing:
            args, reply = self._later.pop(0)
            try:
                self.change(args, reply)
            except UserError as error:
                reply.fail(str(error))

    def _end_if_empty(self) -> None:
        """A controller whose first lab file was no good has nothing to control."""
        if not self.fabric.desired and not self._store.desired():
            self._leave(lambda problem: None)

    def restart(self, args: dict[str, Any], reply: Reply) -> None:
        """`{node}`: end its process and start it again; answers when it is configured."""
        node = str(args.get("node", ""))
        child = self.fabric.children.get(node)
        if child is None:
            raise UserError(f"there is no process {node!r} here; there are: {', '.join(self.fabric.children)}")
        epoch = child.epoch
        deadline = self._loop.now() + int(_RESTART_SECONDS * 1e9)

        def look() -> None:
            if child.epoch > epoch and child.state == "up":
                reply.done({node: child.row()})
            elif self._loop.now() > deadline:
                reply.fail(f"{node} is not up again after {_RESTART_SECONDS:g} s: {child.problem or child.state}")
            else:
                self._loop.call_later(_LOOK_SECONDS, look)

        child.restart()
        look()

    def down(self, args: dict[str, Any], reply: Reply) -> None:
        """End everything, an `apply` that is under way too, then fabricd itself. Data stays."""
        if self._ending:
            raise UserError(BUSY)
        self._busy = self._ending = True
        nodes = list(self.fabric.children)

        def left(problem: str) -> None:
            if problem:
                reply.fail(problem)
            else:
                reply.done({"ended": nodes})

        self.fabric.stop_all(reply.event, lambda: self._leave(left))

    def hold(self, args: dict[str, Any], reply: Reply) -> None:
        """The lab is the caller's: it goes down when he hangs up, whichever way he ended. There is no other answer.

        Raises UserError for a lab that is somebody's already.
        """
        if self._held or self._busy or self.fabric.desired:
            raise UserError(f"lab {self._paths.id} is up already; end it with vfab down, or use --fresh for a copy")
        self._held = True
        reply.on_gone = self._let_fall
        reply.event({"held": True})

    def _let_fall(self) -> None:
        if not self._ending:
            self._busy = self._ending = True
            self.fabric.stop_all(lambda event: None, lambda: self._leave(lambda problem: None))

    def _leave(self, then: Callable[[str], None]) -> None:
        """`then("")`, or why something is left behind; we end in either case, because our store is closed."""
        self._launcher.close()
        self._store.close()
        problem = ""
        try:
            remove_folders(self._paths)
        except UserError as error:
            problem = str(error)
            print(problem, file=sys.stderr, flush=True)
        then(problem)
        self._loop.stop()

    # --- questions

    def _tap_path(self, where: str) -> str | None:
        """Where a port takes a TAP; only those that came while the lab runs are for TAPs that are left here."""
        switch, _, name = where.partition(":")
        ports = self.fabric.desired[switch].config.get("ports", ()) if switch in self.fabric.desired else ()
        found: dict[str, Any] = next((port for port in ports if port["name"] == name), {})
        return found.get("path") if found.get("kind") == "tap" and "attachment" in found else None

    def _lab(self) -> dict[str, Any]:
        lab = self._store.lab()
        own = identify(os.getpid())
        return {
            "lab": self._paths.id,
            "name": lab.get("name", ""),
            "file": lab.get("file", ""),
            "busy": self._busy,
            "fabricd": _own_row(own) if own else {},
        }

    def status(self, args: dict[str, Any], reply: Reply) -> None:
        """Every node with what it says of itself, and what was changed since the lab file was read."""
        changed = self.filed.changed(self.fabric.desired)
        self.fabric.status(lambda rows: reply.done({**self._lab(), "changed": changed, "nodes": rows}))

    def ps(self, args: dict[str, Any], reply: Reply) -> None:
        """Every process, without asking it anything."""
        reply.done({**self._lab(), "nodes": {name: child.row() for name, child in self.fabric.children.items()}})


def _own_row(own: Process) -> dict[str, Any]:
    return {"pid": own.pid, "uptime_s": round(age(own), 1), "memory_kib": memory_kib(own)}


def open_store(path: str) -> SqliteStore:
    """The lab's memory; a damaged one is set aside (its processes are found without it, and are ended)."""
    try:
        return SqliteStore(path)
    except DamagedState as error:
        aside = set_aside(path)
        print(f"{error}; it is now {aside}, and the lab starts afresh", file=sys.stderr, flush=True)
        return SqliteStore(path)


def serve(identity: str, ready: Any, argv: Mapping[str, tuple[str, ...]]) -> None:
    """Be the fabricd of lab `identity` until `down` or SIGTERM; `ready("")` when the control socket answers."""
    paths = LabPaths(identity)
    paths.create()
    lock = Lock(paths.lock(FABRICD))
    if not lock.take():
        raise UserError(f"lab {identity} has a controller already (process {lock.holder()})")
    raise_file_limit()
    raise_orphans()
    store = open_store(paths.database)
    loop = Loop()
    fabricd = Fabricd(loop, paths, store, argv)
    with listen(paths.control(FABRICD)) as listening:
        server = ControlServer(loop, listening, fabricd.handlers)
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.on_signal(signum, loop.stop)
        loop.on_signal(signal.SIGCHLD, fabricd.reap)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        fabricd.begin()
        ready("")
        loop.run()
        fabricd.deposits.close()
        fabricd.fabric.let_go()
        server.close()


def _detach() -> None:
    """Leave the caller's session and process group; the caller's child ends, so that nobody must wait for us."""
    if os.fork():
        os._exit(0)
    os.setsid()


def main(argv: Sequence[str] | None = None, table: Mapping[str, tuple[str, ...]] = supervisor.ARGV) -> int:
    parser = argparse.ArgumentParser(prog="fabricd", description="The controller of one lab; vfab up starts it.")
    parser.add_argument("--lab", required=True, metavar="ID", help="the lab's id")
    parser.add_argument("--lock", metavar="PATH", help="its lock file: how `down` recognises the lab's processes")
    parser.add_argument(
        "--ready-fd", type=int, default=-1, metavar="N", help="say there when the control socket answers"
    )
    parser.add_argument("--detach", action="store_true", help="run in the background")
    options = parser.parse_args(argv)
    os.umask(0o077)
    if options.detach:
        _detach()

    def ready(problem: str) -> None:
        if options.ready_fd >= 0:
            os.write(options.ready_fd, (problem or "ok").encode())
            os.close(options.ready_fd)

    try:
        serve(options.lab, ready, table)
    except UserError as error:
        print(error, file=sys.stderr, flush=True)
        ready(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
