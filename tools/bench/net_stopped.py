"""Two ports while a third's peer is stopped with frames on their way to it, beside nobody stopped. Rows net/stopped/*.

Knows: who is stopped, and when. Refuses to know: what the processes do (nic_child, stopped_child).
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tools.bench.rig import Child, Folder, SwitchRig
from tools.bench.rows import Row, make_row

RUNS = 3
SECONDS = 2.0
ASKED = 3000
LOAD_SECONDS = "4"
NIC, STOPPED = "tools.bench.nic_child", "tools.bench.stopped_child"


@contextmanager
def _peer(folder: str, rig: SwitchRig, stop: bool) -> Iterator[None]:
    """At eth3, on a stream as QEMU has it; while the block runs it is stopped, or it is not."""
    path = f"{folder}/eth3.qemu"
    one = {"mode": "access", "pvid": 10, "allowed": "10"}
    ports = [{**one, "name": f"eth{n}", "kind": "listen", "peer": ""} for n in (1, 2, 4)]
    ports.append({**one, "name": "eth3", "kind": "qemu", "role": "listen", "path": path})
    config = {"name": rig.name, "epoch": 1, "listen": [{"endpoint": rig.endpoint}], "ports": ports}
    rig.client.call("configure", config=config)
    argv = [sys.executable, "-P", "-m", STOPPED, "peer", path]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        if stop:
            os.kill(process.pid, signal.SIGSTOP)
        yield
    finally:
        process.kill()
        process.communicate()


@contextmanager
def _loaded(stop: bool) -> Iterator[tuple[str, SwitchRig]]:
    """A switch whose eth3 has more to take than it does, from now on."""
    with Folder() as folder, SwitchRig(folder.path, ports=4) as rig, _peer(folder.path, rig, stop):
        load = Child(folder.path, STOPPED, "load", rig.port(4), LOAD_SECONDS)
        try:
            load.wait_for("ready")
            if stop:
                _until_drops(rig)
            yield folder.path, rig
        finally:
            load.end()


def _until_drops(rig: SwitchRig) -> None:
    deadline = time.monotonic() + 10
    while True:
        ports = rig.client.call("status")["ports"]
        if next(port for port in ports if port["name"] == "eth3")["drops"].get("queue-full"):
            return
        if time.monotonic() > deadline:
            raise RuntimeError("net/stopped: the stopped peer costs no drops")
        time.sleep(0.01)  # a switch tells of its drops when it is asked


def _throughput(stop: bool) -> float:
    """Thousands of frames a second that arrive at eth2 from eth1."""
    with _loaded(stop) as (folder, rig):
        receiver = Child(folder, NIC, "receive", rig.port(2))
        receiver.wait_for("ready")
        Child(folder, NIC, "send", rig.port(1), "64", "1514", str(SECONDS)).result()
        got = receiver.result()
    return float(got["received"]) / float(got["seconds"]) / 1e3


def _p99(stop: bool) -> float:
    """Microseconds of a round trip from eth1 to eth2."""
    with _loaded(stop) as (folder, rig):
        echo = Child(folder, NIC, "echo", rig.port(2))
        try:
            echo.wait_for("ready")
            return float(Child(folder, NIC, "ask", rig.port(1), str(ASKED)).result()["p99"])
        finally:
            echo.end()


def rows() -> Iterator[Row]:
    load = "a fourth port sends 32 frames of 1514 bytes every 2 ms to the third, a QEMU stream"
    for name, unit, measure, what in (
        ("throughput-1514B", "kframes/s", _throughput, "port to port over zmq; more is better"),
        ("p99-60B", "us", _p99, "round trips port to port over zmq; less is better"),
    ):
        found: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(RUNS):
            for stop, runs in found.items():
                runs.append(measure(stop))
        settings = f"{what}; {load}, whose peer is stopped (SIGSTOP); spread {_spread(found[True])}"
        yield make_row(f"net/stopped/{name}/vs-nobody-stopped", unit, found[True], found[False], "it reads", settings)


def _spread(runs: list[float]) -> str:
    return f"{(max(runs) - min(runs)) / statistics.median(runs):.0%}"
