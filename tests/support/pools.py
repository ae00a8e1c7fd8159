"""Real stord processes for tests: started as fabricd starts them, configured over their control sockets.

Knows: LocalLauncher, the control client. Refuses to know: labs.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from daemons import process as processes
from daemons.client import Client
from daemons.launcher import LocalLauncher, listen
from daemons.loop import Loop
from tests.support.links import run_until
from tests.support.waiting import until

ARGV = (sys.executable, "-P", "-m", "daemons.stord", "--control-fd", "{control}")
MIB = 1 << 20


class Stord:
    """One stord with a volume v0 behind LUN lun0, and a connection to it."""

    def __init__(
        self, folder: Path, members: int = 3, size: int = 64 * MIB, raid: str = "raid5", volume: int = 100 * MIB,
        where: Path | None = None,
    ) -> None:  # fmt: skip
        self.folder = folder
        self.members = [f"{where or folder}/{name}.img" for name in "abcdefgh"[:members]]
        self.socket = f"{folder}/p0-lun0.nbd"
        self.lock = f"{folder}/p0.lock"
        self.log = folder / "p0.log"
        self.loop = Loop()
        self.launcher = LocalLauncher(self.loop)
        self.config: dict[str, Any] = {
            "name": "p0", "lab": "t", "epoch": 1,
            "pool": {"name": "p0", "members": self.members, "size": size},
            "volumes": [{"name": "v0", "size": volume, "raid": raid, "grain": 32768}],
            "luns": [{"name": "lun0", "volume": "v0", "path": self.socket, "read_only": False}],
        }  # fmt: skip
        self.ended = True

    def up(self) -> Stord:
        self.start()
        self.configure()
        return self

    def start(self) -> None:
        path = f"{self.folder}/p0.ctl"
        with listen(path) as control:
            argv = (*ARGV, "--name", "p0", "--lock", self.lock)
            self.process = self.launcher.start(argv, str(self.log), control)
        self.ended = False
        self.launcher.watch(self.process, self._ended)
        self.client = Client(path, timeout=60)

    def _ended(self) -> None:
        self.ended = True

    def configure(self, **more: Any) -> None:
        self.client.call("configure", config={**self.config, **more})
        self.config.update(more)

    def call(self, op: str, **args: Any) -> Any:
        return self.client.call(op, **args)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client.call("status")
        return found

    def uri(self, lun: str = "lun0") -> str:
        return f"nbd+unix:///{lun}?socket={self.socket}"

    def signal(self, signum: int) -> None:
        fd = processes.open_pidfd(self.process)
        assert fd is not None, f"stord has ended: {self.log.read_text()}"
        signal.pidfd_send_signal(fd, signum)
        os.close(fd)

    def kill(self) -> None:
        """As if by kill -9: nothing is said, nothing is written any more."""
        self.client.close()
        self.signal(signal.SIGKILL)
        self.wait_for_end()

    def stop(self) -> None:
        """Goodbye with a checkpoint; the log holds no traceback."""
        self.client.close()
        self.signal(signal.SIGTERM)
        self.wait_for_end()
        assert "Traceback" not in self.log.read_text(), self.log.read_text()

    def wait_for_end(self) -> None:
        run_until(lambda: self.ended, self.loop, what="the end of stord")

    def close(self) -> None:
        if not self.ended:
            self.signal(signal.SIGCONT)
            self.stop()
        self.loop.close()


def members(stord: Stord) -> dict[str, str]:
    """Member -> state."""
    return {Path(row["path"]).name: row["state"] for row in stord.status()["pool"]["members"]}


def ended(stord: Stord, seconds: float = 60) -> dict[str, Any]:
    """The job that ran, when it does not any more."""

    def look() -> dict[str, Any]:
        task: dict[str, Any] = stord.status().get("task") or {}
        return task if task and task["state"] != "running" else {}

    return until(look, seconds, "the job's end")


def scrubbed(stord: Stord) -> tuple[int, int]:
    """Mended, lost."""
    stord.call("scrub")
    task = ended(stord)
    assert task["state"] == "done", task
    return task["healed"], task["lost"]


def held_to(stord: Stord, rate: int) -> None:
    """rate: bytes/s, as fabricd tells it; also to one that is not running."""
    if stord.ended:
        stord.start()
    stord.configure(pool={**stord.config["pool"], "repair_rate": rate})
