"""The line protocol of `init`: one line of shell to a guest, and back what it printed and its exit code.

Knows: a socket and what arrives on it. Refuses to know: where the socket comes from, and which machine is behind it.
"""

from __future__ import annotations

import socket
import time
from typing import NamedTuple

BOOT_SECONDS = 60.0
COMMAND_SECONDS = 30.0


class Result(NamedTuple):
    code: int
    output: str


class ShellLine:
    """`line` is the socket while there is one."""

    def __init__(self) -> None:
        self.line: socket.socket | None = None
        self.received = b""

    def run(self, command: str, seconds: float = COMMAND_SECONDS) -> Result:
        """Runs one line of shell in the guest; the output is stdout and stderr together.

        A command that goes on in the background must redirect its output, and `cat` shows it later. Raises what
        read_to() does.
        """
        assert self.line is not None and "\n" not in command
        mark = f"@{time.monotonic_ns()}@"
        self.line.sendall(f"{mark} {command}\n".encode())
        output = self.read_to(f"\n{mark} ".encode(), seconds)
        code = self.read_to(b"\n", seconds)
        return Result(int(code), output.decode("utf-8", "replace"))

    def must(self, command: str, seconds: float = COMMAND_SECONDS) -> str:
        """The output of a command that has to succeed."""
        code, output = self.run(command, seconds)
        assert code == 0, f"{command!r} in the guest: exit code {code}\n{output}"
        return output

    def hang_up(self) -> None:
        if self.line is not None:
            self.line.close()
            self.line = None

    def read_to(self, end: bytes, seconds: float) -> bytes:
        """What arrives before `end`, which is consumed, too. Raises TimeoutError, and OSError if the guest has gone."""
        assert self.line is not None
        until = time.monotonic() + seconds
        while end not in self.received:
            self.line.settimeout(max(0.001, until - time.monotonic()))
            piece = self.line.recv(65536)
            if not piece:
                raise ConnectionResetError("the guest has ended")
            self.received += piece
        before, _, self.received = self.received.partition(end)
        return before
