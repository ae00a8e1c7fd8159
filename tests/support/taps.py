"""Two Linux stacks, each in a namespace of its own behind a TAP, and the frames between them in the test's hands."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support import peers
from tests.support.tap_child import SECONDS

ROOT = Path(__file__).parents[2]
VNET = 12


class Stack:
    """A namespace with a TAP. offload: TUNSETOFFLOAD bits, None = a TAP without virtio-net headers. ecn: of TCP."""

    def __init__(self, addresses: list[str], offload: int | None, mtu: int = 1500, ecn: bool = False) -> None:
        unshare = peers.need("unshare")
        peers.need("ip")
        if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
            peers.missing("/dev/net/tun")
        if subprocess.run([unshare, "-Urn", "true"], capture_output=True, timeout=10, check=False).returncode:
            peers.missing("the right to make a user namespace")
        self.vnet = offload is not None
        self.control, theirs = socket.socketpair()
        self.control.settimeout(SECONDS)
        command = [unshare, "-Urn", sys.executable, "-m", "tests.support.tap_child", str(theirs.fileno())]
        self.process = subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()])
        theirs.close()
        self.ask(vnet=self.vnet, offload=offload or 0, mtu=mtu, addresses=addresses, ecn=ecn)
        line, [self.tap], _, _ = socket.recv_fds(self.control, 100, 1)
        self.takes: int = json.loads(line) if self.vnet else 0
        self.answers = self.control.makefile("r")

    def __enter__(self) -> Stack:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.answers.close()
        self.control.close()
        os.close(self.tap)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def ask(self, **request: Any) -> None:
        self.control.sendall(json.dumps(request).encode() + b"\n")

    def answer(self) -> Any:
        return json.loads(self.answers.readline())

    def do(self, **request: Any) -> Any:
        """For what needs no frames."""
        self.ask(**request)
        return self.answer()

    def read(self) -> tuple[bytes, bytes] | None:
        """(virtio-net header, frame); the header is zeros where the TAP has none."""
        try:
            data = os.read(self.tap, 1 << 17)
        except BlockingIOError:
            return None
        return (data[:VNET], data[VNET:]) if self.vnet else (bytes(VNET), data)

    def write(self, header: bytes, frame: bytes) -> None:
        """A header of b"" is that of an ordinary frame: Linux looks at its checksum."""
        assert self.vnet or not header
        os.write(self.tap, (header or bytes(VNET)) + frame if self.vnet else frame)


Between = Callable[[bytes, bytes], list[tuple[bytes, bytes]]]


def carry(a: Stack, b: Stack, there: Between, back: Between) -> tuple[Any, Any]:
    """Moves frames through `there` (from a to b) and `back` until both have answered what they were asked."""
    answers: dict[Stack, Any] = {}
    ways = {a.tap: (a, b, there), b.tap: (b, a, back)}
    poll = select.poll()
    for fd in (*ways, a.control.fileno(), b.control.fileno()):
        poll.register(fd, select.POLLIN)
    while len(answers) < 2:
        ready = poll.poll(SECONDS * 1000)
        assert ready, "nothing moves"
        for fd, _ in ready:
            if fd in ways:
                source, target, between = ways[fd]
                while (got := source.read()) is not None:
                    for header, frame in between(*got):
                        target.write(header, frame)
            else:
                who = a if fd == a.control.fileno() else b
                answers[who] = who.answer()
                poll.unregister(fd)
    return answers[a], answers[b]
