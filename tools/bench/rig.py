"""What the benchmarks stand on: a real switchd in a private folder, child processes with time limits.

Knows: how to start and end them. Refuses to know: what is measured.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any, Self

from daemons.client import Client
from daemons.launcher import LocalLauncher, listen
from daemons.loop import Loop
from daemons.process import Process, alive


class Folder:
    """A short private folder for sockets and logs, gone afterwards. `where`: on which medium."""

    def __init__(self, where: str = "/tmp") -> None:
        self._where = where

    def __enter__(self) -> Self:
        self.path = tempfile.mkdtemp(prefix="vf-bench-", dir=self._where)
        return self

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


class SwitchRig:
    """One switchd with access ports eth1, eth2, ... in VLAN 10, configured and ready.

    `ready_ms`: from the start of the process to its answer to `configure`. behind: its port eth0 dials this endpoint.
    """

    def __init__(self, folder: str, ports: int = 2, name: str = "s1", behind: str = "") -> None:
        self.name = name
        self._behind = behind
        self.endpoint = f"ipc://{folder}/{name}.zmq"
        control = os.path.join(folder, f"{name}.ctl")
        argv = [sys.executable, "-P", "-m", "daemons.switchd", "--name", name, "--control-fd", "{control}"]
        argv += ["--lock", os.path.join(folder, f"{name}.lock")]
        listening = listen(control)
        begin = time.perf_counter()
        self._launcher = LocalLauncher(Loop())
        self.process: Process = self._launcher.start(argv, os.path.join(folder, f"{name}.log"), listening)
        listening.close()
        self.client = Client(control, 10.0)
        self.client.call("configure", config=self._config(ports))
        self.ready_ms = (time.perf_counter() - begin) * 1e3

    def _config(self, ports: int) -> dict[str, Any]:
        one = {"mode": "access", "pvid": 10, "allowed": "10", "kind": "listen", "peer": ""}
        listed = [{"name": f"eth{number}", **one} for number in range(1, ports + 1)]
        if self._behind:
            listed.append({"name": "eth0", **one, "kind": "dial", "endpoint": self._behind})
        return {"name": self.name, "epoch": 1, "listen": [{"endpoint": self.endpoint}], "ports": listed}

    def port(self, number: int) -> str:
        return f"{self.endpoint}#eth{number}"

    def close(self) -> None:
        self.client.call("stop")
        deadline = time.monotonic() + 5
        while alive(self.process) and time.monotonic() < deadline:
            try:
                os.waitpid(self.process.pid, os.WNOHANG)
            except ChildProcessError:
                break
            time.sleep(0.01)  # it may be no child of ours: then nothing tells of its end

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def memory_kib(pid: int) -> dict[str, int]:
    """Private and proportional memory of a process in KiB (proc(5), smaps_rollup)."""
    fields = {}
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        for text in file.readlines()[1:]:
            name, value = text.split(":")
            fields[name] = int(value.split()[0])
    return {"private": fields["Private_Clean"] + fields["Private_Dirty"], "pss": fields["Pss"]}


class Child:
    """`python -m MODULE ARGS` that prints a line of JSON when it is done; output in a file, and it has a time limit."""

    def __init__(self, folder: str, module: str, *args: str) -> None:
        number = len(os.listdir(folder))
        self._out = os.path.join(folder, f"child-{number}.out")
        with open(self._out, "wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, *args], stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def wait_for(self, word: str, seconds: float = 10.0) -> None:
        """Until the child has printed `word`."""
        deadline = time.monotonic() + seconds
        while word not in self._text():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"a benchmark's child did not start: {self._text()[-500:]}")
            time.sleep(0.005)  # a file tells nobody that it has grown

    def _text(self) -> str:
        with open(self._out, encoding="utf-8", errors="replace") as file:
            return file.read()

    def result(self, seconds: float = 60.0) -> dict[str, Any]:
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        lines = self._text().strip().splitlines()
        if not lines or not lines[-1].startswith("{"):
            raise RuntimeError(f"a benchmark's child failed: {self._text()[-500:]}")
        value: dict[str, Any] = json.loads(lines[-1])
        return value

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait(10)


def command(argv: Sequence[str], seconds: float = 120.0) -> float:
    """Run a command to its end, output into a file; returns seconds. RuntimeError with the output if it fails."""
    with tempfile.TemporaryFile() as output:
        begin = time.perf_counter()
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=seconds, check=False
        )
        spent = time.perf_counter() - begin
        output.seek(0)
        if done.returncode:
            raise RuntimeError(f"{' '.join(argv)} failed: {output.read().decode(errors='replace')[-500:]}")
    return spent
