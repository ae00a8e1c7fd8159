"""Two real lldpd, each behind a TAP: they see each other through ports with `reserved: {lldp: tunnel}`, and only so."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from netvirt.ports.handover import hand_over
from tests.support import peers
from tests.support.switches import Switch, port
from tests.support.taps import Stack
from tests.support.waiting import until

pytestmark = pytest.mark.peer("lldpd")
LLDP = 0x0E  # 01-80-C2-00-00-0E, the nearest bridge's
# A namespace without privilege has one user and refuses setgroups: lldpd gives up there, so both are as it wants them.
USERS = "root:x:0:0::/:/bin/sh\n_lldpd:x:0:0::/:/bin/sh\n"
GROUPS = "root:x:0:\n_lldpd:x:0:\n"
NO_GROUPS = "#include <stddef.h>\nint setgroups(size_t n, const unsigned *list) { (void)n; (void)list; return 0; }\n"
START = """
mount --bind passwd /etc/passwd && mount --bind group /etc/group && mount -t tmpfs none /run && mkdir /run/lldpd &&
LD_PRELOAD=$PWD/no_groups.so exec "$0" -d -L "" -u "$1" -I tap0 -S "$2"
"""


class Daemon:
    """An lldpd at the TAP of a stack, which says every second who it is."""

    def __init__(self, folder: Path, name: str, stack: Stack) -> None:
        self._client, self._socket = f"{folder}/lldpcli", f"{folder}/{name}.sock"
        inside = ["nsenter", "-t", str(stack.process.pid), "-U", "-n", "--preserve-credentials", "unshare", "-m"]
        argv = [*inside, "sh", "-c", START, peers.need("lldpd"), self._socket, name]
        with open(folder / f"{name}.log", "wb") as log:
            self._process = subprocess.Popen(argv, cwd=folder, stdout=log, stderr=log)
        self._log = folder / f"{name}.log"

    def ready(self) -> None:
        until(lambda: self._ask("configure", "lldp", "tx-interval", "1") is not None, what="an lldpd that answers")

    def _ask(self, *words: str) -> str | None:
        assert self._process.poll() is None, self._log.read_text()
        argv = [self._client, "-u", self._socket, "-f", "json0", *words]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
        return None if done.returncode else done.stdout

    def neighbours(self) -> set[str]:
        """What those that it hears say of themselves."""
        [answer] = json.loads(self._ask("show", "neighbors") or "{}")["lldp"]
        chassis = [each["chassis"][0] for each in answer.get("interface", [])]
        return {each["descr"][0]["value"] for each in chassis}

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        finally:
            self._process.kill()
            self._process.wait()


def provisions(folder: Path) -> None:
    (folder / "passwd").write_text(USERS)
    (folder / "group").write_text(GROUPS)
    (folder / "no_groups.c").write_text(NO_GROUPS)
    subprocess.run(
        [peers.need("cc"), "-shared", "-fPIC", "-o", "no_groups.so", "no_groups.c"], cwd=folder, timeout=60, check=True
    )
    client = peers.need("lldpcli")
    if not os.access(client, os.R_OK):
        peers.missing(f"the right to read {client} (root, or a member of its group)")
    shutil.copy(client, folder / "lldpcli")  # Debian's is set-uid _lldpd, who does not get into our folder
    (folder / "lldpcli").chmod(0o700)


@contextlib.contextmanager
def two(home: Path) -> Iterator[tuple[Switch, list[Daemon]]]:
    folder = home / "run"
    provisions(folder)
    names = ("eth1", "eth2")
    switch = Switch(folder, "s1", [port(name, kind="tap", path=f"{folder}/{name}.tap") for name in names])
    with contextlib.ExitStack() as after:
        after.callback(switch.close)
        daemons = []
        for number, name in enumerate(names, 1):
            stack = after.enter_context(Stack([f"10.9.0.{number}/24"], None))
            after.enter_context(hand_over(f"{folder}/{name}.tap", stack.tap))
            daemons.append(Daemon(folder, f"host{number}", stack))
            after.callback(daemons[-1].close)
        switch.up(*names)
        for daemon in daemons:
            daemon.ready()
        yield switch, daemons
        assert "internal error" not in switch.log.read_text()


def kept(switch: Switch) -> list[int]:
    return [switch.port(name)["drops"].get("reserved-address", 0) for name in ("eth1", "eth2")]


def sent(switch: Switch) -> list[int]:
    return [switch.port(name)["link"]["tx_frames"] for name in ("eth1", "eth2")]


def test_lldp_passes_tunnel_ports_only(home: Path) -> None:
    with two(home) as (switch, [one, other]):
        until(lambda: all(count >= 2 for count in kept(switch)), what="LLDP that ends at the switch")
        assert one.neighbours() == other.neighbours() == set()
        plain = switch.config["ports"]
        switch.configure(ports=[plain[0] | {"tunnel_addresses": [LLDP]}, plain[1]])
        before = kept(switch)[1]
        until(lambda: kept(switch)[1] >= before + 2, what="LLDP of the port that does not tunnel")
        assert one.neighbours() == set()
        switch.configure(ports=[each | {"tunnel_addresses": [LLDP]} for each in plain])
        until(lambda: one.neighbours() == {"host2"} and other.neighbours() == {"host1"}, what="two neighbours")
        ended, passed = kept(switch), sent(switch)
        until(lambda: all(now >= then + 2 for now, then in zip(sent(switch), passed, strict=True)), what="LLDP on")
        assert kept(switch) == ended
