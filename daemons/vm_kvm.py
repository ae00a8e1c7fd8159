"""KVM or TCG for a machine: vmd's way to the answer of kvm_memory, which may take as long as a guest's start.

Knows: that one trial at a time is enough for all. Refuses to know: how KVM is tried, and machines.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import NamedTuple

from daemons.kvm import QEMU, SECONDS
from daemons.loop import Loop
from daemons.vm_step import Step

_COMMAND = (sys.executable, "-P", "-m", "daemons.kvm_memory")
# Beside the guest's own time: Python, QEMU's version, a busy host.
_PATIENCE = SECONDS + 15.0
# Names under which distributions have the x86-64 QEMU that uses KVM.
_OURS = (QEMU, "qemu-kvm", "kvm", "qemu")


class Verdict(NamedTuple):
    """tried: False where it is only not known."""

    usable: bool
    why: str
    tried: bool = True


Heard = Callable[[Verdict], None]


class Kvm:
    """kernels: Linux images of the machines, to try with where /boot has none."""

    def __init__(self, loop: Loop) -> None:
        self.kernels: list[str] = []
        self._loop = loop
        self._step: Step | None = None
        self._waiting: list[Heard] = []

    def ask(self, qemu: str, heard: Heard) -> None:
        """`heard(verdict)`, perhaps at once."""
        if os.path.basename(qemu) not in _OURS:
            heard(Verdict(False, f"KVM is tried with {QEMU} only, not with {os.path.basename(qemu)}"))
        else:
            self._waiting.append(heard)
            if self._step is None:
                self._step = Step(self._loop, (*_COMMAND, *self.kernels), _PATIENCE, self._told)

    def _told(self, code: int, text: str) -> None:
        self._step = None
        try:
            value = json.loads(text)
            verdict = Verdict(bool(value["usable"]), str(value["why"]), bool(value["tried"]))
        except (ValueError, TypeError, KeyError):
            last = (text.strip().splitlines() or [f"exit code {code}"])[-1]
            verdict = Verdict(False, f"the trial of KVM failed: {last[:200]}")
        waiting, self._waiting = self._waiting, []
        for heard in waiting:
            heard(verdict)

    def close(self) -> None:
        self._waiting.clear()
        if self._step is not None:
            self._step.cancel()
            self._step = None
