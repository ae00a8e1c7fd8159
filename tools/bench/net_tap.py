"""TAP to TAP in two namespaces through one switchd, beside other switches and the bare loop. Rows net/tap/*.

Knows: how each switch gets two interfaces, one in each namespace, and what is sent between them.
Refuses to know: what a row is (rows), how switchd is started (rig).

Needs CAP_NET_ADMIN, ip, cc, iperf3 and ping; a switch that is not installed is left out and said so.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tools.bench.rig import Folder, SwitchRig
from tools.bench.rows import Row, make_row

RUNS = 3
SECONDS = 3
PINGS = 300
TOOLS = Path(__file__).parent / "tap_tools.c"
A, B = "vfbenchA", "vfbenchB"
FIRST, SECOND = "10.8.0.1", "10.8.0.2"
ROWS = ("tcp-offload", "tcp-plain", "frames", "ping")
_OVS_SETUP = ("-- set bridge br0 datapath_type=netdev",)


def _run(*words: str, seconds: float = 30, check: bool = True) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=seconds, check=False)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(words)} failed: {done.stderr.strip()[-300:]}")
    return done.stdout


def _inside(space: str, *words: str, seconds: float = 30, check: bool = True) -> str:
    return _run("ip", "netns", "exec", space, *words, seconds=seconds, check=check)


class Server:
    """A process that runs until the block is left, its output in a file."""

    def __init__(self, folder: str, *argv: str, ready: str = "") -> None:
        self._log = os.path.join(folder, f"server-{len(os.listdir(folder))}.log")
        with open(self._log, "wb") as output:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        deadline = time.monotonic() + 10
        while ready and ready not in Path(self._log).read_text(errors="replace"):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{argv[0]} did not start: {Path(self._log).read_text(errors='replace')[-300:]}")
            time.sleep(0.01)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


# Each switch: a context in which two interfaces (tpa, tpb) are there, one in each namespace, with frames between them.


def _settle(first: str = "tpa", second: str = "tpb") -> None:
    """Each interface into its namespace, with its address, up."""
    for name, space, address in ((first, A, FIRST), (second, B, SECOND)):
        _run("ip", "link", "set", name, "netns", space)
        _inside(space, "ip", "address", "add", f"{address}/24", "dev", name)
        _inside(space, "ip", "link", "set", name, "up")
        _inside(space, "ip", "link", "set", "lo", "up")


@contextlib.contextmanager
def ours(folder: str, tools: str, offload: bool) -> Iterator[None]:
    """switchd with two TAP ports."""
    ports = [
        {"name": f"eth{n}", "mode": "access", "pvid": 10, "allowed": "10", "kind": "tap", "device": name,
         "create": True, "offload": offload}
        for n, name in ((1, "tpa"), (2, "tpb"))
    ]  # fmt: skip
    with Folder() as own, SwitchRig(own, listed=ports):
        _settle()
        yield


@contextlib.contextmanager
def bare(folder: str, tools: str, offload: bool) -> Iterator[None]:
    with Server(folder, tools, "loop", str(int(offload)), "tpa", "tpb", ready="ready"):
        _settle()
        yield
