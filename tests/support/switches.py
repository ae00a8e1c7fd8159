"""Real switchd processes for tests: started as fabricd starts them, configured over their control sockets.

Knows: LocalLauncher, the control client. Refuses to know: labs.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from daemons import process as processes
from daemons.client import Client
from daemons.launcher import LocalLauncher, listen
from daemons.loop import Loop
from netvirt.nic import Nic
from tests.support.links import run_until
from tests.support.waiting import until

ARGV = (sys.executable, "-P", "-m", "daemons.switchd", "--control-fd", "{control}")


def port(name: str, **more: Any) -> dict[str, Any]:
    """An access port in VLAN 10 that waits for somebody, or what `more` says."""
    value = {"name": name, "mode": "access", "pvid": 10, "allowed": "10", "kind": "listen", **more}
    if value["mode"] == "access":
        value["allowed"] = str(value["pvid"])
    return value


class Switch:
    """One switchd, and a connection to it."""

    def __init__(
        self, folder: Path, name: str, ports: list[dict[str, Any]], epoch: int = 1, inside: tuple[str, ...] = ()
    ) -> None:
        self.name = name
        self.inside = inside  # a command that runs another one, such as nsenter
        self.folder = folder
        self.url = f"ipc://{folder}/{name}.zmq"
        self.lock = f"{folder}/{name}.lock"
        self.log = folder / f"{name}.log"
        self.loop = Loop()
        self.launcher = LocalLauncher(self.loop)
        self.config: dict[str, Any] = {"name": name, "epoch": epoch, "listen": [{"endpoint": self.url}], "ports": ports}
        self.start()
        self.configure()

    def start(self) -> None:
        path = f"{self.folder}/{self.name}.ctl"
        with listen(path) as control:
            argv = (*self.inside, *ARGV, "--name", self.name, "--lock", self.lock)
            self.process = self.launcher.start(argv, str(self.log), control)
        self.ended = False
        self.launcher.watch(self.process, self._ended)
        self.client = Client(path, timeout=20)

    def _ended(self) -> None:
        self.ended = True

    def configure(self, **more: Any) -> None:
        self.client.call("configure", config={**self.config, **more})
        self.config.update(more)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client.call("status")
        return found

    def port(self, name: str) -> dict[str, Any]:
        return next(port for port in self.status()["ports"] if port["name"] == name)

    def up(self, *names: str) -> None:
        until(lambda: all(self.port(name)["carrier"] for name in names), what=f"carrier of {names}")

    def nic(self, port: str, **options: Any) -> Nic:
        return Nic.connect(f"{self.url}#{port}", **{"name": f"nic-{port}", **options})

    def signal(self, signum: int) -> None:
        fd = processes.open_pidfd(self.process)
        assert fd is not None, f"{self.name} has ended: {self.log.read_text()}"
        signal.pidfd_send_signal(fd, signum)
        os.close(fd)

    def wait_for_end(self) -> None:
        run_until(lambda: self.ended, self.loop, what=f"the end of {self.name}")

    def close(self) -> None:
        self.client.close()
        if not self.ended:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            self.wait_for_end()
        self.loop.close()


Make = Callable[..., Switch]
