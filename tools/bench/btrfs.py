"""btrfs over loop devices, in a folder. Knows: making and taking down. Refuses to know: what is measured."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import ExitStack
from typing import Self

from tools.bench.rig import command

_TOOLS = ("losetup", "mkfs.btrfs", "mount", "umount", "sync")


def problem() -> str:
    """Why there is no btrfs to measure against; "" if there is."""
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        return f"{missing[0]} is missing"
    return "" if os.geteuid() == 0 else "loop devices and mounts need root"


class Btrfs:
    """These profiles, defaults otherwise (so with CRC32C), on `count` sparse files of `size` bytes.

    `file`: where a file on it may be; `files`: the backing files. RuntimeError if the kernel does not do it.
    """

    def __init__(self, folder: str, count: int, size: int, data: str = "raid5", metadata: str = "raid1") -> None:
        self._mount = f"{folder}/btrfs"
        self.file = f"{self._mount}/file"
        self.files = [f"{folder}/loop{number}.img" for number in range(count)]
        self._size = size
        self._profiles = ("-d", data, "-m", metadata)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            devices = [self._attach(stack, path) for path in self.files]
            command(["mkfs.btrfs", "-q", "-f", *self._profiles, *devices])
            os.mkdir(self._mount)
            # Every device is named, so that nothing needs to scan for them.
            options = ",".join(f"device={device}" for device in devices)
            command(["mount", "-t", "btrfs", "-o", options, devices[0], self._mount])
            stack.callback(command, ["umount", self._mount])
            self._stack = stack.pop_all()
        return self

    def _attach(self, stack: ExitStack, path: str) -> str:
        with open(path, "wb") as file:
            file.truncate(self._size)
        try:
            done = subprocess.run(
                ["losetup", "--find", "--show", path],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=30,
                check=True,
            )
        except subprocess.CalledProcessError as error:
            raise RuntimeError(error.stderr.decode(errors="replace").strip()) from None
        device = done.stdout.decode().strip()
        stack.callback(command, ["losetup", "-d", device])
        return device

    def settle(self) -> None:
        """What it has in memory is on the loop devices."""
        command(["sync", "-f", self._mount])

    def __exit__(self, *error: object) -> None:
        self._stack.close()
