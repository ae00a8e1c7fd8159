"""A network namespace with hosts in namespaces of their own behind it, made without privilege (unshare -Urn).

Knows: veth pairs, who is where. Refuses to know: switches; what a host does (tap_child's operations).
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support import peers
from tests.support.tap_child import SECONDS

ROOT = Path(__file__).parents[2]
_WAIT = "import sys; print('ready', flush=True); sys.stdin.read()"


def need_namespaces(tun: bool = False) -> str:
    """The path of unshare, where it may make user namespaces (tun: and TAPs in them). Else skips the test."""
    unshare = peers.need("unshare")
    for tool in ("ip", "nsenter"):
        peers.need(tool)
    if subprocess.run([unshare, "-Urn", "true"], capture_output=True, timeout=10, check=False).returncode:
        peers.missing("the right to make a user namespace")
    if tun and not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        peers.missing("/dev/net/tun")
    return unshare


class Room:
    """The namespace where a switch runs; `inside` is the command that runs another one there."""

    def __init__(self) -> None:
        unshare = need_namespaces()
        self._process = subprocess.Popen(
            [unshare, "-Urn", sys.executable, "-c", _WAIT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None and self._process.stdout.readline() == b"ready\n"
        self.inside = ("nsenter", "-t", str(self._process.pid), "-U", "-n", "--preserve-credentials")
        self.hosts: list[Host] = []

    def run(self, *words: str, check: bool = True) -> str:
        done = subprocess.run(
            [*self.inside, *words], capture_output=True, text=True, timeout=SECONDS, check=False, cwd=ROOT
        )
        assert not check or done.returncode == 0, (words, done.stderr)
        return done.stdout

    def host(self, interface: str, address: str, mtu: int = 1500) -> Host:
        """A host with the address on its eth0, whose other end is `interface` here."""
        self.hosts.append(Host(self, interface, address, mtu))
        return self.hosts[-1]

    def __enter__(self) -> Room:
        return self

    def __exit__(self, *error: object) -> None:
        for host in self.hosts:
            host.close()
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(SECONDS)


class Host:
    """A namespace of its own, and a process in it that does what it is asked (the operations of tap_child)."""

    def __init__(self, room: Room, interface: str, address: str, mtu: int) -> None:
        self.room, self.interface, self.address, self.mtu = room, interface, address, mtu
        self._control, theirs = socket.socketpair()
        self._control.settimeout(SECONDS)
        command = [
            *room.inside,
            "unshare",
            "-n",
            sys.executable,
            "-m",
            "tests.support.room_child",
            str(theirs.fileno()),
        ]
        self._process = subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()])
        theirs.close()
        self._answers = self._control.makefile("r")
        self.answer()
        self.plug()

    def plug(self) -> None:
        """The cable: made when the host is, and again after the room's end of it was deleted."""
        ip = ("ip", "link", "add", self.interface, "mtu", str(self.mtu), "type", "veth", "peer", "name", "eth0")
        self.room.run(*ip, "mtu", str(self.mtu), "netns", str(self._process.pid))
        self.do(op="ip", words=["address", "add", f"{self.address}/24", "dev", "eth0"])
        for name in ("lo", "eth0"):
            self.do(op="ip", words=["link", "set", name, "up"])
        self.room.run("ip", "link", "set", self.interface, "up")

    def ask(self, **request: Any) -> None:
        self._control.sendall(json.dumps(request).encode() + b"\n")

    def answer(self) -> Any:
        return json.loads(self._answers.readline())

    def do(self, **request: Any) -> Any:
        self.ask(**request)
        return self.answer()

    def close(self) -> None:
        self._answers.close()
        self._control.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
