"""A real stord: a lab of one pool, one volume, one LUN, started and ended by the command in a folder of its own.

Knows: the lab file, where its socket and its process are. Refuses to know: what is measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import Any, Self

_VFAB = (sys.executable, "-P", "-m", "tools.vfab")
_NAME = "bench"


class StorLab:
    """members: how many files, of `member` bytes each (sparse); the volume has `size` bytes.

    `socket`: the LUN's; `pid`: stord's; `files`: the members.
    """

    def __init__(self, folder: str, raid: str, members: int, member: int, size: int) -> None:
        self.files = [f"{folder}/m{number}.img" for number in range(members)]
        self._lab = f"{folder}/{_NAME}.fab.yml"
        self._env = {**os.environ}
        for name, variable in (("run", "XDG_RUNTIME_DIR"), ("state", "XDG_STATE_HOME")):
            os.mkdir(f"{folder}/{name}", 0o700)
            self._env[variable] = f"{folder}/{name}"
        pool = f"{{members: [{', '.join(map(os.path.basename, self.files))}], size: {member >> 20}MiB}}"
        volume = f"{{pool: p0, raid: {raid}, size: {size >> 20}MiB}}"
        with open(self._lab, "w", encoding="utf-8") as file:
            file.write(f"name: {_NAME}\nstorage:\n  pools:\n    p0: {pool}\n  volumes:\n    v0: {volume}\n")
            file.write("  luns:\n    lun0: {volume: v0, nbd: true}\n")

    def _vfab(self, *args: str, seconds: float = 60.0) -> str:
        """Run the command; what it printed. RuntimeError with its words if it fails."""
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                [*_VFAB, *args], stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=self._env,
                timeout=seconds, check=False,
            )  # fmt: skip
            output.seek(0)
            said = output.read().decode(errors="replace")
        if done.returncode:
            raise RuntimeError(f"vfab {' '.join(args)} failed: {said[-500:]}")
        return said

    def replace(self, number: int, name: str) -> None:
        """A new file takes the place of a member; returns when it has all of it."""
        old = os.path.basename(self.files[number])
        self._vfab("-l", _NAME, "pool", "replace", "p0", old, name, seconds=300.0)
        self.files[number] = os.path.join(os.path.dirname(self._lab), name)

    def __enter__(self) -> Self:
        try:
            self._vfab("up", self._lab)
            lun: dict[str, Any] = json.loads(self._vfab("-l", _NAME, "lun", "show", "lun0", "--json"))
            nodes: dict[str, Any] = json.loads(self._vfab("-l", _NAME, "ps", "--json"))["nodes"]
            self.socket, self.pid = str(lun["path"]), int(nodes["p0"]["pid"])
        except BaseException:
            self._vfab("-l", _NAME, "down")
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._vfab("-l", _NAME, "down")
