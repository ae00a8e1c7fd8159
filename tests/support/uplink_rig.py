"""An uplink with clients on one wire, in one process: namespaces, TAPs, a hub between them, udhcpc in the clients.

    python -m tests.support.uplink_rig FOLDER [KEY=VALUE ...]

Runs in a network namespace that stands for the world outside (tests/support/uplink_world.py makes it). It reads
requests, a line of JSON each with `op`, and answers each with a line. More keys go into the uplink's configuration.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from daemons.loop import Loop
from daemons.netns_config import parse_config
from daemons.netns_items import difference, items
from daemons.netns_stack import Namespace
from daemons.netns_users import become_able
from daemons.uplink import Uplink
from netvirt.ports.tuntap import set_carrier

ROOT = Path(__file__).parents[2]
SECONDS = 30.0
PYTHON = "/usr/bin/python3"  # one that nobody may run, too: a client needs the standard library only
# What udhcpc calls (busybox's examples/udhcp): it is the one that sets the interface up.
SCRIPT = """#!/bin/sh
env > "$LEASE.new"
case "$1" in
  bound) ip address flush dev "$interface"
         ip address add "$ip/$mask" dev "$interface" && ip route replace default via "$router" ;;
esac
echo "event=$1" >> "$LEASE.new"
mv "$LEASE.new" "$LEASE.$1"
"""
KEPT = ("ip", "mask", "router", "dns", "lease", "serverid", "mtu", "event")


def nic(name: str, number: int, addresses: list[str], folder: Path) -> dict[str, Any]:
    interface = {"name": "eth0", "vlan": 0, "priority": 0, "addresses": addresses, "gateway": None}
    return {
        "name": "eth0", "mac": f"02:00:00:00:00:{number:02x}", "mtu": 1500, "path": str(folder / f"{name}.tap"),
        "interfaces": [interface],
    }  # fmt: skip


class Rig:
    def __init__(self, folder: Path, keys: dict[str, Any]) -> None:
        self.folder = folder
        self.users = become_able()
        self.loop = Loop()
        self.script = folder / "udhcpc.sh"
        self.script.write_text(SCRIPT)
        self.script.chmod(0o700)
        uplink = {
            "name": "out", "lease_s": 3600, "dns": True, "ipv4_range": ["10.0.2.100", "10.0.2.120"], **keys,
            "nics": [nic("out", 1, ["10.0.2.1/24"], folder)],
        }  # fmt: skip
        clients = [{"name": f"c{n}", "nics": [nic(f"c{n}", 16 + n, [], folder)]} for n in (1, 2, 3)]
        self.config = parse_config({"lab": "rig", "epoch": 1, "hosts": clients, "uplinks": [uplink]})
        self.uplink_config = uplink
        self.spaces = {name: self._space(name) for name in self.config.hosts}
        self.uplink = Uplink(self.loop, self._value(), self.spaces["out"])

    def _value(self) -> dict[str, Any]:
        """As netnsd hands it over."""
        return {
            **self.uplink_config,
            "nics": [
                {**each, "interfaces": [{"mtu": 0, **one} for one in each["interfaces"]]}
                for each in self.uplink_config["nics"]
            ],
        }

    def _space(self, name: str) -> Namespace:
        space = Namespace(self.users)
        space.change(difference([], items(self.config.hosts[name])))
        assert not space.problems, space.problems
        tap = space.taps["eth0"]
        set_carrier(tap, True)
        self.loop.reader(tap, lambda: self._repeat(tap))
        return space

    def _repeat(self, tap: int) -> None:
        """A hub: what comes out of one wire goes into all others."""
        try:
            frame = os.read(tap, 1 << 17)
        except BlockingIOError:
            return
        for space in self.spaces.values():
            if space.taps["eth0"] != tap:
                with contextlib.suppress(OSError):  # its queue is full, as a hub's may be
                    os.write(space.taps["eth0"], frame)

    # --- requests

    def client(self, name: str, command: list[str], **more: str) -> subprocess.Popen[str]:
        """Starts a program in a client's namespace."""
        environment = {**os.environ, "LEASE": str(self.folder / f"{name}.lease"), **more}
        return self.spaces[name].inside(
            lambda: subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        )

    def dhcp(self, names: list[str], options: list[str]) -> dict[str, dict[str, str]]:
        """Runs udhcpc in clients, at the same time, each until it has a lease; what it was told."""
        command = ["busybox", "udhcpc", "-f", "-q", "-n", "-i", "eth0", "-t", "20", "-T", "1", "-O", "mtu"]
        files = {name: self.folder / f"{name}.lease.bound" for name in names}
        for file in files.values():
            file.unlink(missing_ok=True)
        self._finish([self.client(name, [*command, "-s", str(self.script), *options]) for name in names])
        told = {}
        for name, file in files.items():
            rows = dict(line.split("=", 1) for line in file.read_text().splitlines() if "=" in line)
            told[name] = {key: rows[key] for key in KEPT if key in rows}
        return told

    def talk(self, calls: dict[str, list[str]]) -> dict[str, Any]:
        """tests.support.uplink_client in each of these clients at the same time; what each one said."""
        running = {
            name: self.client(name, [PYTHON, "-m", "tests.support.uplink_client", *arguments])
            for name, arguments in calls.items()
        }
        said = self._finish(list(running.values()))
        return {name: json.loads(text) for name, text in zip(running, said, strict=True)}

    def _finish(self, running: list[subprocess.Popen[str]]) -> list[str]:
        """Their outputs, when all have ended."""
        deadline = self.loop.now() + int(SECONDS * 1e9)
        while any(process.poll() is None for process in running):
            self.loop.run_once(0.02)
            if self.loop.now() > deadline:
                for process in running:
                    process.kill()
        said = []
        for process in running:
            out, _ = process.communicate()
            assert process.returncode == 0, (process.args, process.returncode, out)
            said.append(out)
        return said

    def connected(self) -> dict[str, Any]:
        """The uplink's status, once pasta has made its interface."""
        return self._until(lambda: self.uplink.status()["connected"])

    def _until(self, condition: Callable[[], Any]) -> dict[str, Any]:
        deadline = self.loop.now() + int(SECONDS * 1e9)
        while not condition():
            self.loop.run_once(0.02)
            assert self.loop.now() < deadline, (self.uplink.status(), self.uplink.problems)
        return self.status()

    def again(self, pid: int) -> dict[str, Any]:
        """The status, once a pasta other than `pid` has made its interface."""
        return self._until(lambda: self.uplink.status()["connected"] and self.uplink.status()["pid"] not in (None, pid))

    def status(self) -> dict[str, Any]:
        return {**self.uplink.status(), "problems": self.uplink.problems, "mistakes": self.loop.mistakes}

    def problem(self) -> dict[str, Any]:
        """The status, once there is something to complain of."""
        return self._until(lambda: self.uplink.problems)

    def restart(self, **keys: Any) -> dict[str, Any]:
        """The uplink ends and another one begins, as with netnsd."""
        self.uplink.close()
        assert not (self.folder / "out.way").exists()
        self.uplink_config |= keys
        self.uplink = Uplink(self.loop, self._value(), self.spaces["out"])
        return self.connected()

    def change(self, **keys: Any) -> dict[str, Any]:
        self.uplink_config |= keys
        self.uplink.configure(self._value())
        return self.connected()

    def lost(self) -> int:
        """Packets to clients that found no room in the queue of the uplink's NIC."""
        rows = self.spaces["out"].inside(lambda: Path("/proc/thread-self/net/dev").read_text()).splitlines()
        (words,) = (row.split() for row in rows if row.strip().startswith("eth0:"))
        return int(words[12])

    def pid(self) -> int:
        return os.getpid()

    def readdress(self, name: str, address: str, gateway: str) -> str:
        """Another address for a client, which reaches its gateway all the same."""
        text = f"ip address flush dev eth0; ip address add {address} dev eth0; ip route add {gateway} dev eth0; "
        return self._finish([self.client(name, ["sh", "-ec", f"{text} ip route add default via {gateway}"])])[0]

    def without_programs(self) -> list[str]:
        """The uplink is changed where neither nft nor pasta is installed; then they are there again."""
        self.uplink_config |= {"host_loopback": True}
        with mock.patch("shutil.which", return_value=None):
            self.uplink.configure(self._value())
        problems = self.uplink.problems
        self.uplink.configure(self._value())
        return problems


def main() -> None:
    keys = dict(word.split("=", 1) for word in sys.argv[2:])
    rig = Rig(Path(sys.argv[1]), {key: json.loads(value) for key, value in keys.items()})
    try:
        for line in sys.stdin:
            request = json.loads(line)
            answer = getattr(rig, request.pop("op"))(**request)
            print(json.dumps(answer), flush=True)
    finally:
        rig.uplink.close()


if __name__ == "__main__":
    main()
