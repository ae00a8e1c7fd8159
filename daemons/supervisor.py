"""One child of fabricd: its process, its line, its configuration; started again whenever it ends.

Knows: how a node is started, adopted, configured, watched and ended.
Refuses to know: the lab, and what is in a `config` (but for the sockets that it may leave behind).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from daemons.calls import Done
from daemons.channel import Channel, Failed, Failure
from daemons.errors import UserError
from daemons.launcher import Launcher, Watch, listen
from daemons.loop import Loop, Timer
from daemons.paths import LabPaths
from daemons.process import Process, age, memory_kib
from daemons.state import Desired, ProcessRow, StateStore
from daemons.vm_image import overlay_at
from daemons.vm_record import monitor_path, pid_path, record_path

# A child that lived shorter than this is started again more and more slowly; any other one at once.
SHORT_LIFE = 2.0
_FIRST_DELAY, _LAST_DELAY = 0.1, 5.0
_CONFIGURE_TIMEOUT = 10.0
_WITNESS_TIMEOUT = 60.0  # stord answers within half of it
# Kinds that have something to be remembered by others, for the day when they come back with less than they had.
_WITNESSED = frozenset({"stord"})
_LOG_TAIL = 4096

ARGV: dict[str, tuple[str, ...]] = {
    kind: (
        sys.executable,
        "-P",
        "-m",
        f"daemons.{kind}",
        "--name",
        "{node}",
        "--control-fd",
        "{control}",
        "--lock",
        "{lock}",
    )
    for kind in ("switchd", "hostd", "stord", "netnsd", "vmd")
}


class Ground(NamedTuple):
    """What all children of a lab stand on."""

    loop: Loop
    launcher: Launcher
    store: StateStore
    paths: LabPaths
    argv: Mapping[str, tuple[str, ...]] = ARGV


class Child:
    """A node that should live. `state` is one of starting, up, waiting (to be started again), stopping, stopped."""

    def __init__(self, ground: Ground, name: str, desired: Desired) -> None:
        self._ground = ground
        self.name = name
        self.desired = desired
        self.state = "stopped"
        self.process: Process | None = None
        self.epoch = 0
        self.restarts = 0
        self.problem = ""
        self.refused = False  # the child itself turned its configuration down: waiting longer will not help
        self._control = ground.paths.control(name)
        self._channel = Channel(ground.loop, self._control)
        self._watch: Watch | None = None
        self._timer: Timer | None = None
        self._began = 0
        self._delay = 0.0
        self._retry = 0.0
        self._again = False
        self._hearing: Process | None = None  # who has been asked for what is to be remembered
        self._when_stopped: list[Callable[[], None]] = []
        self._when_settled: list[Callable[[str], None]] = []

    # --- life

    def start(self) -> None:
        """Start the process; a failure is a `problem`, and is tried again."""
        self._timer = None
        ground = self._ground
        self.epoch = ground.store.next_epoch(self.name)
        words = {"{node}": self.name, "{lock}": ground.paths.lock(self.name)}
        argv = [words.get(word, word) for word in ground.argv[self.desired.kind]]
        try:
            with listen(self._control) as listening:
                process = ground.launcher.start(argv, ground.paths.log(self.name), listening)
        except UserError as error:
            self.problem = str(error)
            self._start_later(quick=True)
            return
        ground.store.put_process(ProcessRow(self.name, self.desired.kind, process, self.epoch, self._control))
        self._began = ground.loop.now()
        self._take(process)

    def adopt(self, row: ProcessRow) -> None:
        """Go on with a process that an earlier fabricd has started."""
        self.epoch = row.epoch
        self._began = self._ground.loop.now() - int(age(row.process) * 1e9)
        self._take(row.process)

    def _take(self, process: Process) -> None:
        self.process = process
        self.state = "starting"
        self._channel = Channel(self._ground.loop, self._control)
        self._watch = self._ground.launcher.watch(process, self._ended)
        self._configure()

    def _ended(self) -> None:
        self._watch = self.process = None
        self._channel.close()
        self._cancel_timer()
        if self.state == "stopping":
            self._stopped()
            return
        self.restarts += 1
        self._settle(f"{self.name} ended; it is started again")
        if self._again:
            self._again = False
            self._delay = 0.0
            self.start()
            return
        lived = (self._ground.loop.now() - self._began) / 1e9
        self.problem = f"ended after {lived:.1f} s" + self._last_words()
        print(f"{self.name} {self.problem}; starting it again", file=sys.stderr, flush=True)
        self._start_later(quick=lived < SHORT_LIFE)

    def _start_later(self, quick: bool) -> None:
        if not quick:
            self._delay = 0.0
            self.start()
            return
        self._delay = min(_LAST_DELAY, self._delay * 2 or _FIRST_DELAY)
        self.state = "waiting"
        self._timer = self._ground.loop.call_later(self._delay, self.start)

    def _last_words(self) -> str:
        try:
            with open(self._ground.paths.log(self.name), "rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(0, size - _LOG_TAIL))
                lines = log.read().decode(errors="replace").split("\n")
        except OSError:
            return ""
        words = [line.strip() for line in lines if line.strip()]
        return f"; its log ends with: {words[-1][:300]}" if words else ""

    def restart(self) -> None:
        """End the process and start it again at once."""
        if self.process is None:
            self._cancel_timer()
            self._delay = 0.0
            self.start()
        else:
            self._again = True
            self._ground.launcher.end(self.process)

    def stop(self, done: Callable[[], None]) -> None:
        """End the process for good; `done()` is called, perhaps at once, when it is gone."""
        self._when_stopped.append(done)
        if self.state == "stopping":
            return
        self.state = "stopping"
        self._cancel_timer()
        self._settle(f"{self.name} is being stopped")
        if self.process is None:
            self._stopped()
        else:
            self._ground.launcher.end(self.process)

    def _stopped(self) -> None:
        self.state = "stopped"
        self._ground.store.drop_process(self.name)
        if self.desired.kind in _WITNESSED:  # another one of this name may come one day
            self._ground.store.set_witness(self.name, None)
        for path in self._files():
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass
        waiting, self._when_stopped = self._when_stopped, []
        for done in waiting:
            done()

    def _files(self) -> list[str]:
        """What the process may have left in the run folder, whichever way it ended."""
        paths = self._ground.paths
        files = [self._control, paths.zmq(self.name), paths.lock(self.name), paths.counters(self.name)]
        ports = self.desired.config.get("ports", ())
        listening = [port["path"] for port in ports if port.get("kind") == "qemu" and port.get("role") == "listen"]
        listening += [port["path"] for port in ports if port.get("kind") == "tap" and "path" in port]
        listening += [lun["path"] for lun in self.desired.config.get("luns", ()) if lun.get("path")]
        for machine in self.desired.config.get("machines", ()):
            listening += [machine["console"], machine["qmp"]]
            listening += [nic[key] for nic in machine["nics"] for key in ("path", "qmp") if nic.get(key)]
            # With its daemon a machine leaves the lab: one of its name that comes later begins afresh.
            files += [make(paths.run, machine["name"]) for make in (record_path, pid_path, monitor_path)]
            files.append(overlay_at(machine["name"], machine["log"]))
        return files + [path for path in listening if os.path.dirname(path) == paths.run]

    def let_go(self) -> None:
        """Forget the process without ending it: fabricd ends, its children live on."""
        self._cancel_timer()
        self._channel.close()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- configuration

    def become(self, desired: Desired, settled: Callable[[str], None] | None = None) -> None:
        """From now on the node should be `desired` (of the same kind).

        `settled` is called once, perhaps at once: "" when the node is so, else why it is not yet.
        """
        assert desired.kind == self.desired.kind
        self.desired = desired
        self._retry = 0.0
        if settled is not None:
            self._when_settled.append(settled)
        if self.process is not None and self.state in ("starting", "up"):
            self._configure()
        else:
            self._settle(self.problem or f"{self.name} does not run")

    def _settle(self, problem: str) -> None:
        waiting, self._when_settled = self._when_settled, []
        for settled in waiting:
            settled(problem)

    def _configure(self) -> None:
        self._cancel_timer()
        self.state = "starting"
        self.refused = False
        desired, process = self.desired, self.process
        args = {"config": {**desired.config, "epoch": self.epoch}}
        if desired.kind in _WITNESSED:
            args["config"]["witness"] = self._ground.store.witness(self.name)

        def done(value: Any) -> None:
            if self.process == process and self.desired is desired and self.state == "starting":
                self.state, self.problem, self._retry = "up", "", 0.0
                self._settle("")
                if desired.kind in _WITNESSED and self._hearing != process:
                    self._hear()

        def failed(failure: Failure) -> None:
            if self.process == process and self.desired is desired and self.state == "starting":
                self.problem, self.refused = failure.sentence, failure.answered
                self._retry = min(_LAST_DELAY, self._retry * 2 or _FIRST_DELAY)
                self._timer = self._ground.loop.call_later(self._retry, self._configure)
                self._settle(failure.sentence)

        self._channel.call("configure", args, done, failed, _CONFIGURE_TIMEOUT)

    def _hear(self) -> None:
        """Ask what is to be remembered; it is answered when there is something else than what we know."""
        store, process = self._ground.store, self.process
        self._hearing = process

        def done(value: Any) -> None:
            if self.process == process:
                if value is not None and value != store.witness(self.name):
                    store.set_witness(self.name, value)
                self._hear()

        def failed(failure: Failure) -> None:
            if self.process == process and not failure.answered:
                self._ground.loop.call_later(1.0, lambda: self._hear() if self.process == process else None)

        known = {"after": store.witness(self.name)}
        self._channel.call("witness", known, done, failed, _WITNESS_TIMEOUT)

    # --- questions

    def ask(self, op: str, args: dict[str, Any], done: Done, failed: Failed, timeout: float) -> None:
        """Call an operation of the node; exactly one of `done` and `failed` follows, later."""
        if self.process is None:
            problem = Failure(self.problem or f"{self.name} does not run", False)
            self._ground.loop.call_later(0, lambda: failed(problem))
        else:
            self._channel.call(op, args, done, failed, timeout)

    def row(self) -> dict[str, Any]:
        """What `ps` shows of it."""
        process = self.process
        return {
            "kind": self.desired.kind,
            "pid": process.pid if process else None,
            "state": self.state,
            "epoch": self.epoch,
            "restarts": self.restarts,
            "uptime_s": round(age(process), 1) if process else None,
            "memory_kib": memory_kib(process) if process else None,
            "problem": self.problem,
        }
