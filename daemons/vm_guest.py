"""One virtual machine's life: prepared, started, watched, ended, started again when it crashed.

Knows: its states and what leads from one to the next. Refuses to know: the lab's other machines, QEMU's arguments.

state: stopped (switched off, or the guest has shut down), preparing, starting (QEMU runs and has not answered yet),
running, paused, stopping, waiting (it should run and cannot: `problem` says why; it is tried again).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from daemons.loop import Timer
from daemons.process import Process
from daemons.vm_config import MachineConfig
from daemons.vm_ending import Ending
from daemons.vm_image import overlay_path
from daemons.vm_logs import last_words
from daemons.vm_prepare import Ground, Preparation, Ready
from daemons.vm_process import QemuProcess, start
from daemons.vm_qmp import Qmp, printable
from daemons.vm_record import Record, forget, load, monitor_path, pid_path, save

# A machine that lived shorter than this is tried again more and more slowly.
SHORT_LIFE = 20.0
_FIRST_DELAY, _LAST_DELAY = 0.5, 30.0
RESTED = ("stopped", "waiting")
Settled = Callable[[str], None]


class Guest:
    """`on`: it should run. `note`: what was done with it last, for people."""

    def __init__(self, ground: Ground, config: MachineConfig) -> None:
        self._ground = ground
        self.config = config
        self.name = config.name
        self.state = "stopped"
        self.on = True
        self.problem = ""
        self.note = ""
        self.accel = self.accel_why = ""
        self.qmp: Qmp | None = None
        self._process: QemuProcess | None = None
        self._preparation: Preparation | None = None
        self._ending: Ending | None = None
        self._timer: Timer | None = None
        self._delay = 0.0
        self._began = 0
        self._record = Record(True)
        self._shutdown: dict[str, Any] | None = None
        self._again = False  # being ended only to be started anew
        self._when_settled: list[Settled] = []
        self._when_gone: Callable[[], None] | None = None

    @property
    def process(self) -> Process | None:
        return self._process.process if self._process is not None else None

    @property
    def log(self) -> str:
        """QEMU's own words; the guest's are in config.log."""
        return os.path.join(os.path.dirname(self.config.log), f"{self.name}.log")

    # --- the beginning

    def begin(self, living: Process | None) -> None:
        """Go on with what an earlier vmd has left (living: the machine's QEMU), or start afresh."""
        record = load(self._ground.run, self.name)
        if living is not None:
            self._adopt(living, record)
            return
        if record is not None:
            self._record, self.on = record, record.on
            # QEMU removes the file when it ends well, and cannot when it is killed.
            well = record.up and not os.path.exists(pid_path(self._ground.run, self.name))
            if record.on and record.process is not None and well:
                self.on, self.note = False, "the guest has shut down"
            elif record.on and record.process is not None:
                self._count_restart()
        if self.on:
            self.start()
        else:
            self._rest("stopped")

    def _adopt(self, process: Process, record: Record | None) -> None:
        self._record = record or Record(True)
        self.on, self.accel = self._record.on, self._record.accel
        print(f"{self.name}: adopted process {process.pid}", file=sys.stderr, flush=True)
        self._take(QemuProcess(self._ground.loop, process, self._ended))
        if not self.on:  # it was just being switched off
            self.switch_off("off")
            return
        raw = self._record.raw
        if raw != self.config.raw:
            self._replace(_changed(raw, self.config.raw) if raw is not None else [])

    def start(self) -> None:
        """From a state in which nothing of it runs."""
        assert self._process is None and self._preparation is None
        self._cancel_timer()
        self.state = "preparing"
        preparation = Preparation(self._ground, self.config, self._record.base, self._prepared)
        if self.state == "preparing":  # it may have ended while it was made
            self._preparation = preparation

    def _prepared(self, result: Ready | str) -> None:
        self._preparation = None
        if isinstance(result, str):
            self._wait(result)
            return
        with contextlib.suppress(OSError):
            os.unlink(pid_path(self._ground.run, self.name))
        self.accel, self.accel_why, self._shutdown = result.accel, result.accel_why, None
        log_at = os.path.getsize(self.log) if os.path.exists(self.log) else 0
        # Before it is started: whoever finds the process must know what it is.
        how = (result.accel, self.config.raw, result.base, log_at, result.sockets)
        self._save(Record(True, False, None, *how, self._record.restarts))
        try:
            process = start(self._ground.loop, result.argv, self.log, self._ended)
        except OSError as error:
            self._wait(f"{self.name}: cannot start {result.argv[0]}: {error.strerror}")
            return
        self._save(self._record._replace(process=process.process))
        self._take(process)

    def _take(self, process: QemuProcess) -> None:
        self._process = process
        self._began = self._ground.loop.now()
        self.state = "starting"
        path = monitor_path(self._ground.run, self.name)
        self.qmp = Qmp(self._ground.loop, path, self._answers, self._event)
        self.qmp.open()

    def _answers(self) -> None:
        """QEMU is there: now, or again."""
        if not self._record.up:
            self._save(self._record._replace(up=True, process=self.process))
        if self.state == "starting":
            self.state, self.problem = "running", ""
        assert self.qmp is not None
        self.qmp.call("query-status", {}, self._told, lambda sentence: None)
        self._settle()

    def _told(self, value: Any) -> None:
        if self.state in ("running", "paused") and isinstance(value, dict):
            self.state = "running" if value.get("running") else "paused"

    def _event(self, message: dict[str, Any]) -> None:
        data = message.get("data")
        event = _EVENTS.get(str(message["event"]))
        if event is not None:
            event(self, data if isinstance(data, dict) else {})

    def _heard_stop(self, data: dict[str, Any]) -> None:
        if self.state == "running":
            self.state = "paused"

    def _heard_resume(self, data: dict[str, Any]) -> None:
        if self.state == "paused":
            self.state = "running"

    def _heard_shutdown(self, data: dict[str, Any]) -> None:
        self._shutdown = data

    def _heard_reset(self, data: dict[str, Any]) -> None:
        self.note = "the guest has started itself again" if data.get("guest") else "it was reset"

    def _heard_panic(self, data: dict[str, Any]) -> None:
        self.note = "the guest's kernel has panicked"

    # --- the end

    def _ended(self, code: int | None) -> None:
        assert self.qmp is not None
        self.qmp.drain()  # its reason may still be unread
        self.qmp.close()
        self.qmp = self._process = None
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        for path in self._record.sockets:
            with contextlib.suppress(OSError):
                os.unlink(path)
        if self.state == "stopping":
            self._stopped()
        elif code == 0 or (code is None and self._shutdown is not None):
            self.on = False
            self.note = "the guest has shut down" if (self._shutdown or {}).get("guest") else "somebody has ended QEMU"
            self._rest("stopped")
        else:
            self._count_restart()
            self._wait(self._why(code))

    def _count_restart(self) -> None:
        self._record = self._record._replace(restarts=self._record.restarts + 1)

    def _why(self, code: int | None) -> str:
        if code is None:
            how = "its QEMU ended"
        elif code < 0:
            how = f"its QEMU was ended by {signal.Signals(-code).name}"
        else:
            how = f"its QEMU ended with exit code {code}"
        words = printable(last_words(self.log, self._record.log_at))
        return f"{self.name}: {how} and said: {words}" if words else f"{self.name}: {how}"

    def _stopped(self) -> None:
        if self._when_gone is not None:
            self._forget()
        elif self._again and self.on:
            self._again = False
            self.start()
        else:
            self._rest("stopped")

    def _rest(self, state: str) -> None:
        self.state = state
        self._save(self._record._replace(on=self.on, up=False, process=None))
        self._settle()

    def _wait(self, problem: str) -> None:
        """It should run and does not: again later."""
        lived = (self._ground.loop.now() - self._began) / 1e9
        if self._began and lived > SHORT_LIFE:
            self._delay = 0.0
        self._delay = min(_LAST_DELAY, self._delay * 2 or _FIRST_DELAY)
        self._began = 0
        if problem != self.problem:
            print(problem, file=sys.stderr, flush=True)
        self.problem = problem
        self._timer = self._ground.loop.call_later(self._delay, self.start)
        self._rest("waiting")

    # --- orders

    def switch_on(self, settled: Settled | None = None) -> None:
        """`settled("")` when it runs, or why it does not."""
        if settled is not None:
            self._when_settled.append(settled)
        self.on = True
        if self.state in RESTED:
            self.problem, self.note, self._delay = "", "", 0.0
            self.start()
        elif self.state == "stopping":
            self._again = True
            self._save(self._record._replace(on=True))
        else:
            self._settle()

    def switch_off(self, way: str, settled: Settled | None = None) -> None:
        """way: of vm_ending.WAYS. `settled("")` when it has ended."""
        if settled is not None:
            self._when_settled.append(settled)
        self.on = self._again = False
        self.problem, self.note = "", "switched off"
        self._save(self._record._replace(on=False))  # now: its end takes a while, and we may be killed in it
        self._end(way)

    def leave(self, way: str, gone: Callable[[], None]) -> None:
        """The lab goes: `gone()` when nothing of it runs. It should run again in a lab that comes back."""
        self._again = False
        self._when_gone = gone
        self._end(way)

    def remove(self, gone: Callable[[], None]) -> None:
        """It has left the lab: nothing stays of it but its logs and its image."""

        def tidy() -> None:
            forget(self._ground.run, self.name)
            with contextlib.suppress(OSError):
                os.unlink(overlay_path(self.config))
            gone()

        self.leave("gently", tidy)

    def _end(self, way: str) -> None:
        self._cancel_timer()
        if self._preparation is not None:
            self._preparation.cancel()
            self._preparation = None
        if self._process is None:
            self._stopped()
            return
        # A guest that does not run hears no power button.
        way = "off" if way == "gently" and self.state != "running" else way
        self.state = "stopping"
        if self._ending is not None:
            self._ending.cancel()
        self._ending = Ending(self._ground.loop, self._process, self.qmp, way)

    def _forget(self) -> None:
        gone, self._when_gone = self._when_gone, None
        self._rest("stopped")
        if gone is not None:
            gone()

    def become(self, config: MachineConfig) -> list[str]:
        """The keys that are different now; a machine that runs, or tries to, is started again for them."""
        changed = _changed(self.config.raw, config.raw)
        self.config = config
        if not changed or not self.on:
            return changed
        if self._process is not None:
            self._replace(changed)
        else:
            self._end("off")
            self.problem, self._delay = "", 0.0
            self.start()
        return changed

    def _replace(self, changed: list[str]) -> None:
        why = f"its {', '.join(changed)} changed" if changed else "nobody knew how it had been started"
        self.note = f"started again, because {why}"
        if self.state != "stopping":
            self._again = True
            self._end("gently")

    # --- the rest

    def _settle(self) -> None:
        """Tell those who wait for the end of what they have ordered."""
        if self.state in ("preparing", "starting", "stopping"):
            return
        if self.on:
            outcome = "" if self.state in ("running", "paused") else self.problem or f"{self.name} has ended"
        else:
            outcome = "" if self.state == "stopped" else f"{self.name} still runs"
        waiting, self._when_settled = self._when_settled, []
        for settled in waiting:
            settled(outcome)

    def _save(self, record: Record) -> None:
        self._record = record
        save(self._ground.run, self.name, record)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def row(self) -> dict[str, Any]:
        """What `status` says of it."""
        config = self.config
        return {
            "name": self.name,
            "pid": self.process.pid if self.process is not None else None,
            "state": self.state,
            "problem": self.problem,
            "note": self.note,
            "restarts": self._record.restarts,
            "accel": self.accel,
            "accel_why": self.accel_why,
            "memory": config.memory,
            "cpus": config.cpus,
            "console": config.console,
            "qmp": config.qmp,
            "nics": [{"name": nic.name, "mac": nic.mac} for nic in config.nics],
        }


_EVENTS: dict[str, Callable[[Guest, dict[str, Any]], None]] = {
    "STOP": Guest._heard_stop,
    "RESUME": Guest._heard_resume,
    "SHUTDOWN": Guest._heard_shutdown,
    "RESET": Guest._heard_reset,
    "GUEST_PANICKED": Guest._heard_panic,
}


def _changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [key for key in {**before, **after} if before.get(key) != after.get(key)]
