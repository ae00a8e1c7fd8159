"""Switches that join two interfaces, one in each of two namespaces: ours, the bare loop, and those of others.

Knows: how each is started, given its two interfaces (tpa and tpb), and ended. Refuses to know: what is measured.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tools.bench.rig import Folder, SwitchRig

SPACES = ("vf-bench-a", "vf-bench-b")
ADDRESSES = ("10.8.0.1", "10.8.0.2")
NAMES = ("tpa", "tpb")
OVS_SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"


def run(*words: str, seconds: float = 30) -> str:
    """A command to its end; its output. RuntimeError if it fails."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} failed: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout


def inside(space: str, *words: str, seconds: float = 30) -> str:
    return run("ip", "netns", "exec", space, *words, seconds=seconds)


@contextlib.contextmanager
def spaces() -> Iterator[None]:
    """The two namespaces, empty."""
    made: list[str] = []
    try:
        for space in SPACES:
            run("ip", "netns", "add", space)
            made.append(space)
            inside(space, "ip", "link", "set", "lo", "up")
        yield
    finally:
        for space in made:
            run("ip", "netns", "delete", space)


@contextlib.contextmanager
def process(folder: str, *argv: str, ready: str = "", when: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Runs until the block is left; begins when it has printed `ready` and `when()` is true."""
    log = Path(folder, f"process-{len(os.listdir(folder))}.log")
    with open(log, "wb") as output:
        # A standard input that is open and silent: vde_switch ends with it.
        started = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 10
        while ready not in log.read_text(errors="replace") or not when():
            if started.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{argv[0]} did not start: {log.read_text(errors='replace')[-300:]}")
            time.sleep(0.01)  # other people's programs do not tell when they are ready
        yield
    finally:
        assert started.stdin is not None
        started.stdin.close()
        started.terminate()
        try:
            started.wait(5)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def settle(offload: bool = True) -> None:
    """Each interface into its namespace, with its address, up; without offload: as if its card had none."""
    for name, space, address in zip(NAMES, SPACES, ADDRESSES, strict=True):
        run("ip", "link", "set", name, "netns", space)
        inside(space, "ip", "address", "add", f"{address}/24", "dev", name)
        inside(space, "ip", "link", "set", name, "up")
        if not offload:
            inside(space, "ethtool", "-K", name, "tso", "off", "gso", "off", "gro", "off")


@contextlib.contextmanager
def ours(folder: str, tools: str, offload: bool) -> Iterator[None]:
    one = {"mode": "access", "pvid": 10, "allowed": "10", "kind": "tap", "create": True, "offload": offload}
    ports = [{**one, "name": f"eth{n}", "device": name} for n, name in enumerate(NAMES)]
    with Folder() as own, SwitchRig(own.path, ports=0) as rig:
        rig.client.call("configure", config={"name": rig.name, "epoch": 1, "listen": [], "ports": ports})
        settle()
        yield


@contextlib.contextmanager
def bare_loop(folder: str, tools: str, offload: bool) -> Iterator[None]:
    with process(folder, tools, "loop", str(int(offload)), *NAMES, ready="ready"):
        settle()
        yield


@contextlib.contextmanager
def kernel_bridge(folder: str, tools: str, offload: bool) -> Iterator[None]:
    run("ip", "link", "add", "vfbr", "type", "bridge")
    try:
        for name in NAMES:
            run("ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}-br")
            run("ip", "link", "set", f"{name}-br", "master", "vfbr", "up")
        run("ip", "link", "set", "vfbr", "up")
        settle(offload)
        yield
    finally:
        run("ip", "link", "delete", "vfbr")
        for space, name in zip(SPACES, NAMES, strict=True):
            with contextlib.suppress(RuntimeError):
                inside(space, "ip", "link", "delete", name)


@contextlib.contextmanager
def vde_switch(folder: str, tools: str, offload: bool) -> Iterator[None]:
    there = os.path.join(folder, "vde")
    with contextlib.ExitStack() as stack:
        served = process(folder, "vde_switch", "-s", there, "-x", when=lambda: os.path.exists(f"{there}/ctl"))
        stack.enter_context(served)
        for name in NAMES:
            made = os.path.join("/sys/class/net", name)
            stack.enter_context(process(folder, "vde_plug2tap", "-s", there, name, when=partial(os.path.exists, made)))
        settle(offload)
        yield


@contextlib.contextmanager
def open_vswitch(folder: str, tools: str, offload: bool) -> Iterator[None]:
    """In user space (datapath_type=netdev), with its own kind of TAPs."""
    base, database, socket = (
        f"{folder}/ovs-{offload}",
        f"{folder}/ovs-{offload}/conf.db",
        f"unix:{folder}/ovs-{offload}/db.sock",
    )
    os.makedirs(base, exist_ok=True)
    environment = [f"OVS_{word}={base}" for word in ("RUNDIR", "LOGDIR", "DBDIR", "SYSCONFDIR")]
    with contextlib.suppress(FileNotFoundError):
        os.unlink(database)
    run("ovsdb-tool", "create", database, OVS_SCHEMA)
    with contextlib.ExitStack() as stack:
        served = ("env", *environment, "ovsdb-server", database, f"--remote=p{socket}")
        stack.enter_context(process(folder, *served, when=lambda: os.path.exists(f"{base}/db.sock")))
        set_up = ("ovs-vsctl", "-t", "10", f"--db={socket}")
        run(*set_up, "--no-wait", "init")
        stack.enter_context(process(folder, "env", *environment, "ovs-vswitchd", socket))
        run(*set_up, "--may-exist", "add-br", "vfbr0", "--", "set", "bridge", "vfbr0", "datapath_type=netdev")
        for name in NAMES:
            run(*set_up, "--may-exist", "add-port", "vfbr0", name, "--", "set", "interface", name, "type=internal")
        settle(offload)
        try:
            yield
        finally:
            run(*set_up, "del-br", "vfbr0")


Switch = Callable[[str, str, bool], contextlib.AbstractContextManager[None]]
# Name: how it is started, and the program that must be there for it.
SWITCHES: dict[str, tuple[Switch, str]] = {
    "ours": (ours, "ip"),
    "bare loop": (bare_loop, "cc"),
    "kernel bridge": (kernel_bridge, "ethtool"),
    "vde_switch": (vde_switch, "vde_plug2tap"),
    "Open vSwitch netdev": (open_vswitch, "ovs-vswitchd"),
}


def missing(name: str) -> str:
    """The program that a switch needs and that is not here, or ""."""
    needed = SWITCHES[name][1]
    return "" if shutil.which(needed, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") else needed
