"""A real Open vSwitch in user space as a judge: frames go in and come out exactly, in order, without kernel or clock.

Knows: how its two daemons are started and ended, its control sockets (JSON-RPC over unix sockets), its dummy datapath
(`--enable-dummy`: ports take frames from `netdev-dummy/receive` and write what leaves to a capture file each).
Refuses to know: what is configured (ovs_config.py), what is compared.

Every frame takes the slow path (`revalidator/purge` after each one), so what one teaches holds for the next one.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.peers import need
from tests.support.waiting import until

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
END_S = 10.0


class Ovs:
    """One Open vSwitch with one bridge, living in `folder`; `close()` ends it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, **{f"OVS_{name}DIR": str(folder) for name in ("RUN", "LOG", "DB", "SYSCONF")}}
        self.processes: list[subprocess.Popen[bytes]] = []
        self.bridge = "none"
        self.bridges = 0
        self.received = 0
        self.captures: dict[str, Path] = {}
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        database = self.folder / "conf.db"
        self._run(need("ovsdb-tool"), "create", str(database), str(SCHEMA))
        self._daemon("ovsdb-server", str(database), f"--remote=punix:{self.folder}/db.sock")
        self._connected(self.folder / "db.sock").close()
        self.vsctl("--no-wait", "init")
        self.vsctl("--no-wait", "set", "Open_vSwitch", ".", "other_config:vlan-limit=2")  # to see inner tags; usually 1
        control = self.folder / "control.sock"
        self._daemon(
            "ovs-vswitchd", f"unix:{self.folder}/db.sock", "--enable-dummy=override", "--disable-system",
            f"--unixctl={control}",
        )  # fmt: skip
        self.control = self._connected(control)

    def _connected(self, path: Path) -> socket.socket:
        """A connection to a daemon that may just be starting."""
        found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        found.settimeout(END_S)
        until(lambda: found.connect_ex(str(path)) == 0, what=f"a daemon of Open vSwitch at {path.name}")
        return found

    def _run(self, *command: str) -> str:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _daemon(self, name: str, *arguments: str) -> None:
        with open(self.folder / f"{name}.log", "wb") as log:
            command = [need(name), *arguments, "-vconsole:warn", "--no-chdir"]
            self.processes.append(subprocess.Popen(command, env=self.environment, stdout=log, stderr=log))

    def close(self) -> None:
        if hasattr(self, "control"):
            self.control.close()
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    # Words for it.

    def vsctl(self, *arguments: str) -> str:
        """One transaction; returns when ovs-vswitchd has done it."""
        return self._run(need("ovs-vsctl"), "-t", "10", f"--db=unix:{self.folder}/db.sock", *arguments)

    def call(self, method: str, *arguments: str) -> str:
        """One command of ovs-appctl."""
        self.control.sendall(json.dumps({"method": method, "params": arguments, "id": 0}).encode())
        decoder, text = json.JSONDecoder(), ""
        while True:
            piece = self.control.recv(1 << 16)
            assert piece, "ovs-vswitchd has gone"
            text += piece.decode()
            try:
                answer: dict[str, Any] = decoder.raw_decode(text)[0]
                break
            except json.JSONDecodeError:
                continue
        assert answer["error"] is None, answer["error"]
        return str(answer["result"])

    def configure(self, ports: dict[str, list[str]], more: Callable[[str], list[str]]) -> None:
        """A new bridge in place of the old one. ports: columns of its Port record; more: from the bridge's name to
        further words for ovs-vsctl.
        """
        before, self.bridge = self.bridge, self._next_bridge()
        words = ["--if-exists", "del-br", before, "--", "add-br", self.bridge]
        words += ["--", "set", "bridge", self.bridge, "datapath_type=dummy", "fail_mode=standalone"]
        self.captures = {name: self.folder / f"{self.bridge}-{name}.pcap" for name in ports}
        for name, columns in ports.items():
            words += ["--", "add-port", self.bridge, name, *columns, "--", "set", "interface", name, "type=dummy"]
            words += [f"options:tx_pcap={self.captures[name]}", "mtu_request=9000"]
        self.vsctl(*words, *more(self.bridge))
        self.taken = dict.fromkeys(ports, 24)  # a capture file begins with 24 bytes about itself
        self.received = self._received()

    def _next_bridge(self) -> str:
        """Another name each time: a bridge that keeps its name keeps its MAC table."""
        self.bridges += 1
        return f"br{self.bridges}"

    # Frames.

    def send(self, port: str, frame: bytes) -> dict[str, list[bytes]]:
        """One frame in; the frames that leave, by port."""
        self.call("netdev-dummy/receive", port, frame.hex())
        self.received += 1
        until(lambda: self._received() >= self.received, what="Open vSwitch's main thread to have seen the frame")
        self.call("revalidator/purge")
        found = {name: self._leaving(name) for name in self.captures}
        return {name: frames for name, frames in found.items() if frames}

    def _received(self) -> int:
        """Its main thread answers between frames, so a frame that is counted here has been dealt with."""
        found = re.findall(r"packets received: (\d+)", self.call("dpif-netdev/pmd-stats-show"))
        return sum(map(int, found))

    def _leaving(self, name: str) -> list[bytes]:
        data = self.captures[name].read_bytes()
        frames = []
        while self.taken[name] < len(data):
            at = self.taken[name] + 16
            length = int.from_bytes(data[at - 8 : at - 4], "little")
            frames.append(data[at : at + length])
            self.taken[name] = at + length
        return frames

    # The MAC table.

    def add_station(self, vid: int, mac: str, port: str) -> None:
        self.call("fdb/add", self.bridge, port, str(vid), mac)

    def stations(self) -> set[tuple[int, str]]:
        """(VID, MAC) of the MAC table."""
        rows = re.findall(r"^\s*\S+\s+(\d+)\s+([0-9a-f:]{17})\s", self.call("fdb/show", self.bridge), re.MULTILINE)
        return {(int(vid), mac) for vid, mac in rows}
