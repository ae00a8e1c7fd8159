"""A real virtual machine for tests: boots QEMU, and runs commands inside it while it lives.

Knows: QEMU's command line. Refuses to know: how the guest's files are made (image.py), how one
talks to it (shell.py).

    with Guest(image(), log, "-netdev", ..., "-device", ...) as guest:
        code, output = guest.run("ping -c1 -W1 10.0.0.1")
"""

from __future__ import annotations

import functools
import socket
import subprocess
from pathlib import Path
from types import TracebackType

from daemons import kvm
from tests.support import peers
from tests.support.guest.image import Image
from tests.support.guest.shell import BOOT_SECONDS, ShellLine

TCG = ("-accel", "tcg,thread=multi", "-cpu", "qemu64")


@functools.cache
def accelerator(kernel: Path) -> tuple[str, ...]:
    """KVM where a guest really gets to user space with it, else TCG."""
    return ("-accel", "kvm", "-cpu", "host") if kvm.probe(kernel).usable else TCG


class Guest(ShellLine):
    """One QEMU process; `log` gets QEMU's words, `log`.console the kernel's. The shell's line is a socketpair."""

    def __init__(self, image: Image, log: Path, *arguments: str, memory: int = 128) -> None:
        super().__init__()
        self._image = image
        self._log = log
        self._arguments = arguments
        self._memory = memory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Guest:
        """Starts QEMU without waiting for the guest, so that several can boot at the same time."""
        qemu = peers.need(kvm.QEMU)
        ours, theirs = socket.socketpair()
        command = [qemu, *accelerator(self._image.kernel), "-M", "q35", "-m", str(self._memory), "-nodefaults"]
        command += ["-display", "none", "-no-reboot", "-kernel", str(self._image.kernel)]
        # no_timer_check: on a busy machine an emulated timer is late, and the kernel gives up at boot.
        command += ["-initrd", str(self._image.initramfs), "-append", "console=ttyS0 quiet panic=-1 no_timer_check"]
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
        self.line = ours
        return self

    def wait(self, seconds: float = BOOT_SECONDS) -> Guest:
        """Waits until the guest's shell answers."""
        self.read_to(b"ready\n", seconds)
        return self

    def stop(self) -> None:
        """Ends QEMU, by its own process."""
        self.hang_up()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def read_to(self, end: bytes, seconds: float) -> bytes:
        try:
            return super().read_to(end, seconds)
        except OSError:  # TimeoutError is one
            story = self._story()
        raise AssertionError(f"no {end!r} from the guest in {seconds:g} s, or QEMU ended:\n{story}")

    def _story(self) -> str:
        texts = [
            path.read_text(errors="replace") for path in (self._log, Path(f"{self._log}.console")) if path.exists()
        ]
        return "\n".join([*texts, self.received.decode("utf-8", "replace")])

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
