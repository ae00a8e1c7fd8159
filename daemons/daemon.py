"""How every process that fabricd starts begins and ends: its arguments, its lock, its control socket, its signals.

Knows: `--name`, `--control-fd`, `--lock` (teardown.py finds processes by them).
Refuses to know: what the process is for.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from daemons.control import ControlServer, Handler
from daemons.launcher import raise_file_limit
from daemons.locks import Lock
from daemons.loop import Loop

FAREWELL_NS = 600_000_000  # for all goodbyes together


class Daemon(Protocol):
    @property
    def handlers(self) -> Mapping[str, Handler]:
        """The control operations by name."""
        ...

    def end(self) -> None:
        """Begin to end: say goodbye, then stop the loop."""
        ...

    def close(self) -> None:
        """The loop has stopped: release what is left."""
        ...


class LabConfig(Protocol):
    """What every daemon's configuration says, whatever it is the configuration of."""

    @property
    def lab(self) -> str: ...

    @property
    def epoch(self) -> int: ...


class About:
    """How a daemon's status begins: who it is, of which lab, since when."""

    def __init__(self, name: str, loop: Loop) -> None:
        self._name = name
        self._loop = loop
        self._since = time.time()

    def row(self, config: LabConfig) -> dict[str, Any]:
        """mistakes: our own, in the loop's callbacks; the log has them."""
        return {
            "name": self._name,
            "lab": config.lab,
            "epoch": config.epoch,
            "uptime_s": round(time.time() - self._since, 1),
            "mistakes": self._loop.mistakes,
        }


def farewell(loop: Loop, leaving: Sequence[object]) -> None:
    """Stop the loop when all these drivers have `closed`, or when they had time enough for their goodbyes."""
    patience = loop.now() + FAREWELL_NS

    def wait() -> None:
        if all(getattr(driver, "closed", True) for driver in leaving) or loop.now() > patience:
            loop.stop()
        else:
            loop.call_later(0.005, wait)

    wait()


def serve(prog: str, what: str, make: Callable[[Loop, str], Daemon], argv: Sequence[str] | None) -> int:
    """Run one daemon to its end; returns its exit code. what: "switch", "pool", ..., for people."""
    parser = argparse.ArgumentParser(prog=prog, description=f"One {what} of a lab; started by fabricd.")
    parser.add_argument("--name", required=True)
    parser.add_argument("--control-fd", type=int, required=True, help="a listening unix socket")
    parser.add_argument("--lock", required=True, help="held as long as this process lives")
    options = parser.parse_args(argv)
    os.umask(0o077)
    lock = Lock(options.lock)
    if not lock.take():
        print(f"{what} {options.name} runs already (pid {lock.holder()} holds {options.lock})", file=sys.stderr)
        return 1
    raise_file_limit()
    loop = Loop()
    daemon = make(loop, options.name)
    settle = getattr(daemon, "settle", None)  # only who has files beside its lock wants to know where that is
    if settle is not None:
        settle(os.path.dirname(options.lock))
    server = ControlServer(loop, socket.socket(fileno=options.control_fd), daemon.handlers)
    loop.on_signal(signal.SIGTERM, daemon.end)
    loop.on_signal(signal.SIGINT, daemon.end)
    loop.run()
    server.close()
    daemon.close()
    loop.close()
    lock.release()
    return 0
