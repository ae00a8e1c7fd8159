"""A real netnsd for tests: started as fabricd starts it, told what to hold, and programs in its namespaces.

Knows: LocalLauncher, the control client, nsenter. Refuses to know: labs, `vfab exec`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from daemons import process as processes
from daemons.client import Client
from daemons.launcher import LocalLauncher, listen
from daemons.loop import Loop
from tests.support.links import run_until
from tests.support.waiting import until

ARGV = (sys.executable, "-P", "-m", "daemons.netnsd", "--control-fd", "{control}")
SECONDS = 30.0
# Root's files stay ours, and no right to namespaces is left, so this daemon has to make a user namespace. Root's own
# uid can be mapped into it only by somebody with CAP_SETFCAP (Linux 5.12); an ordinary user needs nothing.
POWERLESS = ("setpriv", "--bounding-set=-all,+setfcap", "--inh-caps=-all", "--no-new-privs")


def interface(name: str, *addresses: str, vlan: int = 0, gateway: str | None = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "vlan": vlan, "priority": 0, "addresses": list(addresses), "gateway": gateway, **more}


def nic(path: str, number: int, *interfaces: dict[str, Any], name: str = "eth0", **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "mac": f"02:00:00:00:01:{number:02x}",
        "mtu": 1500,
        "path": path,
        "interfaces": list(interfaces),
        **more,
    }


def host(name: str, *nics: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "sysctls": {}, "routes": [], "nics": list(nics), **more}


class Program:
    """Lines in and out of a running program."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def running(self) -> bool:
        return self._process.poll() is None

    def wait(self) -> int:
        """Its exit code, when it has ended."""
        return self._process.wait(SECONDS)

    def ask(self, line: str) -> str:
        """What it says to one line."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self.read()


class Netnsd:
    """One netnsd, and a connection to it. inside: a command that runs another one."""

    def __init__(self, folder: Path, *, inside: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.inside = inside
        self.log = folder / "netnsd.log"
        self.loop = Loop()
        self.launcher = LocalLauncher(self.loop)
        self.start()

    def start(self) -> None:
        path = f"{self.folder}/netnsd.ctl"
        with listen(path) as control:
            argv = (*self.inside, *ARGV, "--name", "netnsd", "--lock", f"{self.folder}/netnsd.lock")
            self.process = self.launcher.start(argv, str(self.log), control)
        self.ended = False
        self.launcher.watch(self.process, self._ended)
        self.client = Client(path, timeout=SECONDS)

    def _ended(self) -> None:
        self.ended = True

    def path(self, port: str) -> str:
        """Where that port of a switch of ours listens for a TAP."""
        return f"{self.folder}/{port}.tap"

    def configure(self, *hosts: dict[str, Any], **more: Any) -> dict[str, list[str]]:
        config = {"lab": "lab", "epoch": 1, "hosts": list(hosts), "uplinks": [], **more}
        done: dict[str, list[str]] = self.client.call("configure", config=config)
        return done

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client.call("status")
        return found

    def host(self, name: str) -> dict[str, Any]:
        status = self.status()
        rows: dict[str, dict[str, Any]] = {row["name"]: row for row in status["hosts"]}
        assert name in rows, status
        return rows[name]

    def plugged(self, *names: str) -> None:
        """Waits until all NICs of these hosts are in their ports."""
        until(lambda: all(nic["carrier"] for name in names for nic in self.host(name)["nics"]), what=f"{names} plugged")

    def enter(self, name: str) -> list[str]:
        """The words before a command that is to run in there."""
        row = self.host(name)
        user = [f"--user=/proc/{row['pid']}/fd/{row['userns']}", "--preserve-credentials"] if row["userns"] else []
        return ["nsenter", *user, f"--net=/proc/{row['pid']}/fd/{row['netns']}"]

    def run(self, name: str, *words: str) -> str:
        done = subprocess.run([*self.enter(name), *words], capture_output=True, text=True, timeout=SECONDS, check=False)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    @contextlib.contextmanager
    def program(self, name: str, *words: str) -> Iterator[Program]:
        """One that goes on, until it is left."""
        command = [*self.enter(name), *words]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            yield Program(process)
        finally:
            process.kill()
            process.communicate()

    def identity(self, name: str) -> str:
        """Which namespace it is."""
        row = self.host(name)
        return os.readlink(f"/proc/{row['pid']}/fd/{row['netns']}")

    def reaches(self, source: str, address: str, timeout_ms: int = 3000) -> bool:
        answer = self.client.call("pingall", pairs=[[source, address]], timeout_ms=timeout_ms)
        return bool(answer[0]["ok"])

    def signal(self, signum: int) -> None:
        fd = processes.open_pidfd(self.process)
        assert fd is not None, f"netnsd has ended: {self.log.read_text()}"
        signal.pidfd_send_signal(fd, signum)
        os.close(fd)

    def wait_for_end(self) -> None:
        run_until(lambda: self.ended, self.loop, what="the end of netnsd")

    def kill_and_start(self) -> None:
        self.client.close()
        self.signal(signal.SIGKILL)
        self.wait_for_end()
        self.start()

    def close(self) -> None:
        self.client.close()
        if not self.ended:
            self.signal(signal.SIGTERM)
            self.wait_for_end()
        self.loop.close()
