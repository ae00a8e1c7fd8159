"""How the shell runs things: verbs in this process, programs in one of their own.

Knows: which verbs become another program and must not become it here; that Ctrl-C is for the program in front.
Refuses to know: what was typed.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from daemons.errors import UserError
from tools import vfab

BECOMES = ("exec", "console", "run")  # these end this process, or take its terminal
SERVER_PORT = "5201"


class Broken(Exception):
    """Nobody reads the output any more."""


def verb(lab: str, name: str, words: Sequence[str]) -> int:
    """A verb of vfab; its exit code. What is wrong with it, it has said itself."""
    arguments = ["-l", lab, name, *words]
    if name in BECOMES:
        return outside([sys.executable, "-P", "-m", "tools.vfab", *arguments])
    try:
        code = vfab.main(arguments)
    except SystemExit as end:  # argparse: --help, or wrong words
        code = end.code if isinstance(end.code, int) else 1
    if code == vfab.BROKEN_PIPE:
        raise Broken
    return code


def outside(command: Sequence[str]) -> int:
    """Another program; its exit code, as a shell says it. It gets the terminal, and none of a script's lines."""
    sys.stdout.flush()
    with _deaf():
        try:
            done = subprocess.Popen(command, stdin=None if sys.stdin.isatty() else subprocess.DEVNULL)
        except OSError as error:
            raise UserError(f"cannot run {command[0]}: {error.strerror}") from None
        code = done.wait()
    return code if code >= 0 else 128 - code


@contextmanager
def _deaf() -> Iterator[None]:
    """Ctrl-C reaches the program and not us. A handler, since what is ignored would be ignored by the program, too."""
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def iperf3(lab: str, source: str, target: str, address: str) -> int:
    """TCP for two seconds between two namespaces: a server in one, a client in the other."""
    inside = [sys.executable, "-P", "-m", "tools.vfab", "-l", lab, "exec"]
    server = subprocess.Popen(
        [*inside, target, "--", "iperf3", "-s", "-1", "--forceflush", "-p", SERVER_PORT],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        _wait_for_server(server, target)
        return outside([*inside, source, "--", "iperf3", "-c", address, "-t", "2", "-p", SERVER_PORT])
    finally:
        server.terminate()
        server.communicate()


def _wait_for_server(server: subprocess.Popen[str], target: str) -> None:
    """Until it says that it listens. Raises UserError when it ends before."""
    assert server.stdout is not None and server.stderr is not None
    for line in server.stdout:
        if "listening" in line.lower():
            return
    said = [line for line in server.stderr.read().splitlines() if line.strip()] or ["it said nothing"]
    why = said[-1].removeprefix("vfab: ")
    raise UserError(f"iperf3 does not run in {target}: {why}")
