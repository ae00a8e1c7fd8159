"""All virtual machines of one lab as a process: QEMU's processes started, watched and ended; started by fabricd.

Knows: the control operations, which machines there should be, the process's beginning and end. Refuses to know: how a
machine lives (`vm_guest`), QEMU's arguments (`vm_command`), the lab around its machines.

The machines outlive a vmd that is killed, and the next one adopts them. They end with a vmd that is told to end.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from daemons.control import Reply
from daemons.daemon import About, serve
from daemons.errors import UserError
from daemons.loop import Loop, Timer
from daemons.process import Process
from daemons.vm_config import Config, parse_config
from daemons.vm_ending import Ending
from daemons.vm_guest import Guest
from daemons.vm_kvm import Kvm
from daemons.vm_logs import shorten
from daemons.vm_prepare import Ground
from daemons.vm_process import QemuProcess
from daemons.vm_record import forget, living

_LOOK_SECONDS = 1.0
# fabricd's launcher kills after 3 s (GRACE_SECONDS): what is left then is for teardown.py.
_FAREWELL_SECONDS = 2.5


class Vmd:
    """The process's one object."""

    def __init__(self, loop: Loop, name: str) -> None:
        self.loop = loop
        self.name = name
        self.config = Config("", 0, {})
        self.guests: dict[str, Guest] = {}
        self._leaving: list[Guest] = []  # they have left the lab and still run
        self._run = ""
        self._kvm = Kvm(loop)
        self._about = About(name, loop)
        self._looked = False
        self._ending = False
        self._timer: Timer | None = None
        self.handlers = {
            "configure": self.configure,
            "status": self.status,
            "power": self.power,
            "qmp": self.qmp,
            "stop": self.stop,
        }

    def settle(self, run: str) -> None:
        """The lab's run folder."""
        self._run = run

    # --- what there should be

    def configure(self, args: dict[str, Any], reply: Reply) -> None:
        """{config}: the whole value; what does not change is not disturbed."""
        config = parse_config(args.get("config"))
        if self._ending:
            raise UserError(f"{self.name} is ending")
        ending = {guest.name for guest in self._leaving} & set(config.machines)
        if ending:
            raise UserError(f"{min(ending)} is being ended; it can be started again in a moment")
        self.config = config
        self._kvm.kernels = sorted({machine.kernel for machine in config.machines.values() if machine.kernel})
        found = {} if self._looked else living(self._run)
        self._looked = True
        ground = Ground(self.loop, self._run, self._kvm)
        told: dict[str, Any] = {"started": [], "changed": {}, "removed": []}
        for name in [name for name in self.guests if name not in config.machines]:
            self._remove(self.guests.pop(name))
            told["removed"].append(name)
        for name, machine in config.machines.items():
            guest = self.guests.get(name)
            if guest is not None:
                changed = guest.become(machine)
                if changed:
                    told["changed"][name] = changed
            else:
                self.guests[name] = Guest(ground, machine)
                self.guests[name].begin(found.pop(name, None))
                told["started"].append(name)
        for name, process in found.items():
            self._end_stray(name, process)
        self._look()
        reply.done(told)

    def _remove(self, guest: Guest) -> None:
        self._leaving.append(guest)
        guest.remove(lambda: self._leaving.remove(guest))

    def _end_stray(self, name: str, process: Process) -> None:
        """A machine that left the lab while no vmd was there."""
        print(f"{name}: process {process.pid} is of no machine of this lab any more", file=sys.stderr)
        Ending(self.loop, QemuProcess(self.loop, process, lambda code: forget(self._run, name)), None, "off")

    def _look(self) -> None:
        """The logs of what runs are kept short; without machines there is nothing to look at."""
        if self._timer is not None:
            self._timer.cancel()
        running = [guest for guest in self.guests.values() if guest.state != "stopped"]
        for guest in running:
            shorten(guest.config.log)
            shorten(guest.log)
        self._timer = self.loop.call_later(_LOOK_SECONDS, self._look) if running and not self._ending else None

    # --- questions and orders

    def status(self, args: dict[str, Any], reply: Reply) -> None:
        machines = [guest.row() for guest in self.guests.values()]
        reply.done(
            {
                **self._about.row(self.config),
                "machines": machines,
                "problems": [row["problem"] for row in machines if row["problem"]],
            }
        )

    def _guest(self, args: dict[str, Any]) -> Guest:
        name = str(args.get("machine", ""))
        if name not in self.guests:
            there = ", ".join(self.guests) or "none"
            raise UserError(f"there is no virtual machine {name!r} here; there are: {there}")
        return self.guests[name]

    def power(self, args: dict[str, Any], reply: Reply) -> None:
        """{machine, what: on | off | reset | shutdown}: answers with the machine's row, when it is so.

        shutdown only presses the power button: the guest does what it likes.
        """
        guest, what = self._guest(args), args.get("what")

        def settled(problem: str) -> None:
            if problem:
                reply.fail(problem)
            else:
                reply.done(guest.row())

        if what == "on":
            guest.switch_on(settled)
            self._look()
        elif what == "off":
            guest.switch_off("off", settled)
        elif what in _BUTTONS:
            self._command(guest, _BUTTONS[what], {}, lambda value: reply.done(guest.row()), reply)
        else:
            raise UserError(f"'what' is one of on, off, reset, shutdown, not {what!r}")

    def qmp(self, args: dict[str, Any], reply: Reply) -> None:
        """{machine, command, arguments}: answers what QEMU returns."""
        command, arguments = args.get("command"), args.get("arguments", {})
        if not isinstance(command, str) or not isinstance(arguments, dict):
            raise UserError("'command' is text, and 'arguments' are an object")
        self._command(self._guest(args), command, arguments, reply.done, reply)

    def _command(self, guest: Guest, command: str, arguments: dict[str, Any], done: Any, reply: Reply) -> None:
        if guest.qmp is None:
            raise UserError(f"{guest.name} is {guest.state}; vfab vm on {guest.name} starts it")
        guest.qmp.call(command, arguments, done, lambda why: reply.fail(f"{guest.name}: {why}"))

    # --- the end

    def stop(self, args: dict[str, Any], reply: Reply) -> None:
        reply.done()
        self.end()

    def end(self) -> None:
        """All machines, then out of run()."""
        if self._ending:
            return
        self._ending = True
        self._kvm.close()
        left = [*self.guests.values(), *self._leaving]
        gone: set[int] = set()

        def ended(guest: Guest) -> None:
            gone.add(id(guest))
            if len(gone) == len(left):
                self.loop.stop()

        self.loop.call_later(_FAREWELL_SECONDS, self.loop.stop)
        for guest in left:
            guest.leave("lab", partial(ended, guest))
        if not left:
            self.loop.stop()

    def close(self) -> None:
        """All is closed by end()."""


_BUTTONS = {"reset": "system_reset", "shutdown": "system_powerdown"}


def main(argv: Sequence[str] | None = None) -> int:
    return serve("vmd", "group of virtual machines", Vmd, argv)


if __name__ == "__main__":
    sys.exit(main())
