"""vmd's configuration for tests, and a line to the shell of a guest that vmd has started.

Knows: the value of ARCHITECTURE.md; the second serial port. Refuses to know: vmd, what is said there (guest/shell.py).
"""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

from tests.support.guest.shell import BOOT_SECONDS, ShellLine

APPEND = "console=ttyS0 quiet panic=-1 no_timer_check"  # see guest.py


def machine(folder: Path, name: str, **more: Any) -> dict[str, Any]:
    """One without cards and disks, with its sockets in `folder`."""
    return {
        "name": name,
        "memory": 128 << 20,
        "cpus": 1,
        "accel": "tcg",
        "image": None,
        "image_format": None,
        "writable": False,
        "kernel": None,
        "initrd": None,
        "append": "",
        "args": [],
        "qemu": "qemu-system-x86_64",
        "machine": "q35",
        "nics": [],
        "disks": [],
        "console": f"{folder}/{name}.console",
        "qmp": f"{folder}/{name}.qmp",
        "log": f"{folder}/logs/{name}.console.log",
        **more,
    }


def nic(folder: Path, machine: str, name: str, mac: str, **more: Any) -> dict[str, Any]:
    path = f"{folder}/{machine}-{name}.qemu"
    return {"name": name, "mac": mac, "model": "virtio-net-pci", "path": path, "mtu": 1500, **more}


def shell_arguments(path: str) -> list[str]:
    """A second serial port, for Shell."""
    return ["-chardev", f"socket,id=shell,path={path},server=on,wait=off", "-serial", "chardev:shell"]


class Shell(ShellLine):
    """Runs commands in a guest (tests/support/guest/init) over the unix socket of its second serial port."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def wait(self, seconds: float = BOOT_SECONDS) -> Shell:
        """Until the guest's shell answers. What it said before we came is lost, so it is asked again and again."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                self._connect()
                if self.run("true", 0.5).code == 0:
                    return self
            except (OSError, TimeoutError):
                self.close()
                time.sleep(0.05)  # nothing tells of a socket that is not there yet, nor of a guest that still boots
        raise AssertionError(f"no guest at {self._path} in {seconds:g} s; last: {self.received!r}")

    def close(self) -> None:
        self.hang_up()

    def _connect(self) -> None:
        self.close()
        self.received = b""
        self.line = socket.socket(socket.AF_UNIX)
        self.line.settimeout(1.0)
        self.line.connect(self._path)
