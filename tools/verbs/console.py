"""vfab console VM: the first serial port of a virtual machine, here in the terminal. Ctrl-] ends it."""

from __future__ import annotations

import argparse
import os
import select
import signal
import socket
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from daemons.errors import UserError
from daemons.known import KnownLab
from tools import machines
from tools.arguments import seconds
from tools.errors import BadInput
from tools.labs import choose

ESCAPE = b"\x1d"  # Ctrl-], as telnet and virsh have it
_AT_ONCE = 1 << 16
_LOOK_SECONDS = 0.2
_SILENCE = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "The first serial port of a virtual machine, here in the terminal; Ctrl-] ends it. When the machine is started"
        " again the console goes on. What was said before is in vfab logs VM.console."
    )
    parser.add_argument("name", metavar="VM")
    parser.add_argument(
        "-w", "--wait", type=seconds(0, 86400), default=_SILENCE, metavar="S",
        help="where the input is no terminal: at its end, go on until the machine was silent for so long (1)",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    if options.json:
        raise BadInput("a console has nothing to print as JSON; vfab vm list --json tells of the machines")
    lab = choose(options.lab)
    console = _Console(lab, options.name, options.wait)
    line = console.connect(first=True)
    console.say(f"console of {options.name}; Ctrl-] ends it")
    with _raw(sys.stdin.fileno()):
        return console.talk(line)


class _Console:
    """The terminal (or pipe) on one side, the machine on the other, which may end and come back."""

    def __init__(self, lab: KnownLab, name: str, wait: float) -> None:
        self._lab = lab
        self._name = name
        self._wait = wait
        self._input: int | None = sys.stdin.fileno()
        self._typed = b""  # not yet taken by the machine
        self._terminal = os.isatty(sys.stdin.fileno())

    def say(self, sentence: str) -> None:
        """To people only, and beside what the machine says. A raw terminal needs its \\r."""
        if self._terminal or sys.stderr.isatty():
            sys.stderr.write(f"\r\n[{sentence}]\r\n")
            sys.stderr.flush()

    def connect(self, first: bool = False) -> socket.socket | None:
        """The line; None when it cannot be had just now. Raises UserError where there is no sense in waiting for it."""
        row = machines.row(self._lab, self._name)
        if row["state"] not in ("running", "paused"):
            if first:
                why = row["problem"] or f"it is {row['state']}; vfab vm on {self._name} starts it"
                raise UserError(f"{self._name} has no console now: {why}")
            return None
        if first:
            self._must_be_free(row["console"])
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            line.connect(row["console"])
        except OSError as error:
            line.close()
            if first:
                raise UserError(f"nobody answers at {row['console']}: {error.strerror}") from None
            return None
        line.setblocking(False)
        return line

    def _must_be_free(self, path: str) -> None:
        """QEMU serves one client at a time, and lets the others wait without a word."""
        found: list[dict[str, Any]] = machines.ask(
            self._lab, "qmp", machine=self._name, command="query-chardev", arguments={}
        )
        for device in found:
            if device.get("label") == "console" and not str(device.get("filename")).startswith("disconnected:"):
                raise UserError(f"somebody has the console of {self._name} open already ({path}); Ctrl-] there ends it")

    # --- to and fro

    def talk(self, line: socket.socket | None) -> int:
        """Until Ctrl-], or the end of the input and of what the machine says to it; returns the exit code."""
        while True:
            line = line or self._again()
            if line is None:
                return 0
            with line:
                if self._serve(line):
                    return 0
            self.say(f"{self._name} has ended; waiting until it is back, Ctrl-] gives up")
            line = None

    def _again(self) -> socket.socket | None:
        """Wait for the machine; None when the user gives up. Raises UserError when the lab is gone."""
        while self._input is not None:  # else nobody is there who would wait
            if select.select([self._input], [], [], _LOOK_SECONDS)[0]:
                self._read()
                if self._over():
                    return None
                self._typed = b""  # nobody heard it
            line = self._back()
            if line is not None:
                self.say(f"{self._name} is back")
                return line
        return None

    def _back(self) -> socket.socket | None:
        try:
            return self.connect()
        except UserError:  # vmd itself may be on its way back
            if os.path.exists(self._lab.paths.run):
                return None
            raise UserError(f"{self._name} has ended, and its lab with it") from None

    def _over(self) -> bool:
        return self._terminal and ESCAPE in self._typed

    def _serve(self, line: socket.socket) -> bool:
        """True: it was ended here; False: the machine hung up."""
        quiet_since = time.monotonic()
        while True:
            # What was typed goes out before more is read: a machine that does not listen holds up the pipe.
            wanted: list[socket.socket | int] = [line]
            if self._input is not None and not self._typed:
                wanted.append(self._input)
            patience = None if self._input is not None else max(0.0, quiet_since + self._wait - time.monotonic())
            readable, writable, _ = select.select(wanted, [line] if self._typed else [], [], patience)
            if not readable and not writable:
                return True
            if self._input in readable:
                self._read()
                quiet_since = time.monotonic()
                if self._over():
                    self._typed = self._typed.partition(ESCAPE)[0]
                    self._send(line)
                    return True
            if self._typed and not self._send(line):
                return False
            if line in readable:
                quiet_since = time.monotonic()
                if not self._show(line):
                    return False

    def _read(self) -> None:
        assert self._input is not None
        self._typed += os.read(self._input, _AT_ONCE)
        if not self._typed:
            self._input = None

    def _send(self, line: socket.socket) -> bool:
        try:
            self._typed = self._typed[line.send(self._typed) :]
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True

    @staticmethod
    def _show(line: socket.socket) -> bool:
        try:
            data = line.recv(_AT_ONCE)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        while data:
            data = data[os.write(sys.stdout.fileno(), data) :]
            if not data:
                return True
        return False


@contextmanager
def _raw(fd: int) -> Iterator[None]:
    """A terminal in raw mode, and as it was afterwards, however this ends; anything else is left alone."""
    if not os.isatty(fd):
        yield
        return

    def end(signum: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + signum)

    before = termios.tcgetattr(fd)
    handlers = {signum: signal.signal(signum, end) for signum in (signal.SIGTERM, signal.SIGHUP)}
    try:
        tty.setraw(fd)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSAFLUSH, before)
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
