"""How a machine is ended: asked first, then told, then killed; each step has its time.

Knows: the steps and their order. Refuses to know: what comes after the end, which somebody else watches.
"""

from __future__ import annotations

import signal
from typing import Final

from daemons.loop import Loop, Timer
from daemons.vm_process import QemuProcess
from daemons.vm_qmp import Qmp

# (step, seconds until the next one). `gently`: the guest may shut down, as if its power button had been pressed.
# `off`: the cable is pulled, but QEMU brings to disk what it has. `lab`: the same in less time than a daemon has to end
# (launcher.GRACE_SECONDS): a QEMU whose LUN has gone waits for it, and must be killed.
WAYS: Final = {
    "gently": (("system_powerdown", 5.0), ("quit", 2.0), (signal.SIGTERM, 2.0), (signal.SIGKILL, 0.0)),
    "off": (("quit", 2.0), (signal.SIGTERM, 2.0), (signal.SIGKILL, 0.0)),
    "lab": (("quit", 0.8), (signal.SIGTERM, 0.8), (signal.SIGKILL, 0.0)),
}


class Ending:
    """One that is under way; cancel() when the process has ended."""

    def __init__(self, loop: Loop, process: QemuProcess, qmp: Qmp | None, way: str) -> None:
        self._loop = loop
        self._process = process
        self._qmp = qmp
        self._steps = list(WAYS[way])
        self._timer: Timer | None = None
        self._next()

    def cancel(self) -> None:
        self._steps.clear()
        self._cancel_timer()

    def _next(self) -> None:
        self._cancel_timer()
        while self._steps:
            what, seconds = self._steps.pop(0)
            if not isinstance(what, str):
                self._process.signal(what)
            elif self._qmp is None or not self._qmp.ready:
                continue  # nobody there whom one could ask
            else:
                self._qmp.call(what, {}, lambda value: None, lambda sentence: None)
            self._timer = self._loop.call_later(seconds, self._next)
            return

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
