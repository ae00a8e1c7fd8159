"""A real virtual machine for tests: boots QEMU, and runs commands inside it while it lives.

Knows: QEMU's command line and the line protocol of `init`. Refuses to know: how the guest's files are made (image.py).

    with Guest(image(), log, "-netdev", ..., "-device", ...) as guest:
        code, output = guest.run("ping -c1 -W1 10.0.0.1")
"""

from __future__ import annotations

import functools
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from daemons import kvm
from tests.support import peers
from tests.support.guest.image import Image

BOOT_SECONDS = 60.0
COMMAND_SECONDS = 30.0
TCG = ("-accel", "tcg,thread=multi", "-cpu", "qemu64")


class Result(NamedTuple):
    code: int
    output: str


@functools.cache
def accelerator(kernel: Path) -> tuple[str, ...]:
    """KVM where a guest really gets to user space with it, else TCG."""
    return ("-accel", "kvm", "-cpu", "host") if kvm.probe(kernel).usable else TCG


class Guest:
    """One QEMU process; `log` gets QEMU's words, `log`.console the kernel's. The shell's line is a socketpair."""

    def __init__(self, image: Image, log: Path, *arguments: str, memory: int = 128) -> None:
        self._image = image
        self._log = log
        self._arguments = arguments
        self._memory = memory
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._received = b""
        self._count = 0

    def start(self) -> Guest:
        """Starts QEMU without waiting for the guest, so that several can boot at the same time."""
        qemu = peers.need(kvm.QEMU)
        ours, theirs = socket.socketpair()
        command = [qemu, *accelerator(self._image.kernel), "-M", "q35", "-m", str(self._memory), "-nodefaults"]
        command += ["-display", "none", "-no-reboot", "-kernel", str(self._image.kernel)]
        command += ["-initrd", str(self._image.initramfs), "-append", "console=ttyS0 quiet panic=-1"]
        command += ["-serial", f"file:{self._log}.console"]
        command += ["-chardev", f"socket,id=shell,fd={theirs.fileno()}", "-serial", "chardev:shell"]
        with theirs, open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [*command, *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno()],
            )
        self._line = ours
        return self

    def wait(self, seconds: float = BOOT_SECONDS) -> Guest:
        """Waits until the guest's shell answers."""
        self._read_to(b"ready\n", seconds)
        return self

    def run(self, command: str, seconds: float = COMMAND_SECONDS) -> Result:
        """Runs one line of shell in the guest; the output is stdout and stderr together.

        A command that goes on in the background must redirect its output, and `cat` shows it later.
        """
        assert self._line is not None and "\n" not in command
        self._count += 1
        mark = f"@{self._count}@"
        self._line.sendall(f"{mark} {command}\n".encode())
        output = self._read_to(f"\n{mark} ".encode(), seconds)
        code = self._read_to(b"\n", seconds)
        return Result(int(code), output.decode("utf-8", "replace"))

    def must(self, command: str, seconds: float = COMMAND_SECONDS) -> str:
        """The output of a command that has to succeed."""
        code, output = self.run(command, seconds)
        assert code == 0, f"{command!r} in the guest: exit code {code}\n{output}"
        return output

    def stop(self) -> None:
        """Ends QEMU, by its own process."""
        if self._line is not None:
            self._line.close()
            self._line = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _read_to(self, end: bytes, seconds: float) -> bytes:
        """What arrives before `end`; `end` is consumed too."""
        assert self._line is not None
        until = time.monotonic() + seconds
        while end not in self._received:
            self._line.settimeout(max(0.001, until - time.monotonic()))
            try:
                piece = self._line.recv(65536)
            except TimeoutError:
                piece = b""
            assert piece, f"no {end!r} from the guest in {seconds:g} s, or QEMU ended:\n{self._story()}"
            self._received += piece
        before, _, self._received = self._received.partition(end)
        return before

    def _story(self) -> str:
        texts = [
            path.read_text(errors="replace") for path in (self._log, Path(f"{self._log}.console")) if path.exists()
        ]
        return "\n".join([*texts, self._received.decode("utf-8", "replace")])

    def __enter__(self) -> Guest:
        try:
            return self.start().wait()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()
