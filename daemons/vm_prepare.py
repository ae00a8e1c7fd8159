"""From a machine's configuration to a QEMU command line that can be run: its files looked at, KVM, its overlay.

Knows: the order of these steps, and that each may say no in a sentence. Refuses to know: QEMU's process.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import NamedTuple

from daemons.errors import UserError
from daemons.loop import Loop
from daemons.vm_command import Places, command, sockets
from daemons.vm_config import MachineConfig
from daemons.vm_image import Identity, check_files, identity, image_format, overlay_command, overlay_path
from daemons.vm_kvm import Kvm, Verdict
from daemons.vm_logs import complaint
from daemons.vm_qmp import printable
from daemons.vm_record import monitor_path, pid_path
from daemons.vm_step import Step
from netvirt.ports.errors import PortError
from netvirt.ports.unixpath import check_path

_IMG_SECONDS = 30.0


class Ground(NamedTuple):
    """What all machines of a lab stand on. run: the lab's run folder."""

    loop: Loop
    run: str
    kvm: Kvm


class Ready(NamedTuple):
    """accel_why: what decided between kvm and tcg; "" if the file did."""

    argv: list[str]
    accel: str
    accel_why: str
    base: Identity | None
    sockets: tuple[str, ...]


Done = Callable[[Ready | str], None]


class Preparation:
    """`done(Ready, or why not)` follows, perhaps at once, unless cancel() comes first. base: see vm_record."""

    def __init__(self, ground: Ground, machine: MachineConfig, base: Identity | None, done: Done) -> None:
        self._ground = ground
        self._machine = machine
        self._base = base
        self._done: Done | None = done
        self._step: Step | None = None
        self._qemu = ""
        self._accel, self._accel_why = "tcg", ""
        self._try(self._look)

    def cancel(self) -> None:
        self._done = None
        if self._step is not None:
            self._step.cancel()

    def _try(self, part: Callable[[], None]) -> None:
        try:
            part()
        except UserError as error:
            self._finish(str(error))
        except OSError as error:
            self._finish(f"{self._machine.name}: {error.filename or 'its files'}: {error.strerror}")

    def _finish(self, result: Ready | str) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(result)

    # --- one step after the other

    def _look(self) -> None:
        machine = self._machine
        qemu = shutil.which(machine.qemu)
        if qemu is None:
            raise UserError(f"{machine.name}: {machine.qemu} is not installed here; install QEMU 7.2 or newer")
        self._qemu = qemu
        for path in sockets(machine, self._places()):
            try:
                check_path(path)
            except PortError as error:
                raise UserError(f"{machine.name}: {error}") from None
        check_files(machine)
        if machine.accel == "tcg":
            self._make_overlay()
        else:
            self._ground.kvm.ask(machine.qemu, self._heard)

    def _heard(self, verdict: Verdict) -> None:
        if self._done is None:
            return
        demanded = self._machine.accel == "kvm"
        if demanded and not verdict.usable and verdict.tried:
            self._finish(f"{self._machine.name}: accel is kvm, but: {verdict.why}; write accel: auto or tcg")
            return
        # Where nobody knows, who asks for KVM gets it, and `auto` is what certainly runs.
        self._accel = "kvm" if demanded or verdict.usable else "tcg"
        self._accel_why = "" if demanded else verdict.why
        self._try(self._make_overlay)

    def _make_overlay(self) -> None:
        machine = self._machine
        wanted = identity(machine)
        path = overlay_path(machine)
        if wanted is None or (wanted == self._base and os.path.exists(path)):
            self._ready()
            return
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        self._base = wanted
        self._step = Step(self._ground.loop, overlay_command(machine), _IMG_SECONDS, self._made)

    def _made(self, code: int, text: str) -> None:
        self._step = None
        if code == 0:
            self._ready()
        else:
            why = printable(complaint(text)) or f"exit code {code}"
            self._finish(f"{self._machine.name}: no overlay of its image can be made: {why}")

    def _places(self) -> Places:
        machine, run = self._machine, self._ground.run
        image = machine.image if machine.image is None or machine.writable else overlay_path(machine)
        kind = image_format(machine) if machine.writable else "qcow2"
        return Places(pid_path(run, machine.name), monitor_path(run, machine.name), image, kind)

    def _ready(self) -> None:
        places = self._places()
        argv = command(self._qemu, self._machine, self._accel, places)
        base = None if self._machine.image is None or self._machine.writable else self._base
        self._finish(Ready(argv, self._accel, self._accel_why, base, tuple(sockets(self._machine, places))))
