"""vmd's configuration for tests, and a line to the shell of a guest that vmd has started.

Knows: the value of ARCHITECTURE.md; the line protocol of guest/init over a second serial port. Refuses to know: vmd.
"""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

from tests.support.guest.guest import BOOT_SECONDS, COMMAND_SECONDS, Result

APPEND = "console=ttyS0 quiet panic=-1"


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


class Shell:
    """Runs commands in a guest (tests/support/guest/init) over the unix socket of its second serial port."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._line: socket.socket | None = None
        self._received = b""

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
                time.sleep(0.05)
        raise AssertionError(f"no guest at {self._path} in {seconds:g} s; last: {self._received!r}")

    def run(self, command: str, seconds: float = COMMAND_SECONDS) -> Result:
        """One line of shell; the output is stdout and stderr together. Raises TimeoutError and OSError."""
        assert self._line is not None and "\n" not in command
        mark = f"@{time.monotonic_ns()}@"
        self._line.sendall(f"{mark} {command}\n".encode())
        output = self._read_to(f"\n{mark} ".encode(), seconds)
        code = self._read_to(b"\n", seconds)
        return Result(int(code), output.decode("utf-8", "replace"))

    def must(self, command: str, seconds: float = COMMAND_SECONDS) -> str:
        """The output of a command that has to succeed."""
        code, output = self.run(command, seconds)
        assert code == 0, f"{command!r} in the guest: exit code {code}\n{output}"
        return output

    def close(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None

    def _connect(self) -> None:
        self.close()
        self._received = b""
        self._line = socket.socket(socket.AF_UNIX)
        self._line.settimeout(1.0)
        self._line.connect(self._path)

    def _read_to(self, end: bytes, seconds: float) -> bytes:
        assert self._line is not None
        until = time.monotonic() + seconds
        while end not in self._received:
            self._line.settimeout(max(0.001, until - time.monotonic()))
            piece = self._line.recv(65536)
            if not piece:
                raise ConnectionResetError("the guest has ended")
            self._received += piece
        before, _, self._received = self._received.partition(end)
        return before
