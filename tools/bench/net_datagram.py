"""UDP and unix datagram ports: through one switchd, beside a bare loop of recvmmsg and sendmmsg. Rows net/datagram/*.

Knows: the three processes of a run. Refuses to know: what a row is (rows), how switchd is started (rig).
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.bench.rig import Folder, SwitchRig
from tools.bench.rows import Row, make_row

RUNS = 3
SECONDS = "3"
SOURCE = Path(__file__).with_name("datagram_tools.c")
# Addresses of a run: the sender's, the switch's first port, the switch's second port, the receiver's.
Places = tuple[str, str, str, str]


def _free() -> str:
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def _places(kind: str, folder: str) -> Places:
    if kind == "udp":
        return _free(), _free(), _free(), _free()
    return f"{folder}/a", f"{folder}/b", f"{folder}/c", f"{folder}/d"


class _Relay:
    """The bare loop."""

    def __init__(self, folder: str, tool: str, kind: str, places: Places) -> None:
        there, here, ours, theirs = places
        self._argv = [tool, "relay", kind, here, there, ours, theirs]

    def __enter__(self) -> None:
        self._process = _started(*self._argv)

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()


class _Switch:
    """One switchd with two access ports of VLAN 10."""

    def __init__(self, folder: str, tool: str, kind: str, places: Places) -> None:
        self._folder, self._kind, self._places = folder, kind, places

    def _port(self, name: str, here: str, there: str) -> dict[str, Any]:
        one = {"name": name, "mode": "access", "pvid": 10, "allowed": "10", "peer": ""}
        if self._kind == "udp":
            return {**one, "kind": "udp", "listen": f"127.0.0.1:{here}", "connect": f"127.0.0.1:{there}"}
        return {**one, "kind": "dgram", "path": here, "peer_path": there}

    def __enter__(self) -> None:
        there, here, ours, theirs = self._places
        self._rig = SwitchRig(self._folder, ports=0)
        ports = [self._port("eth1", here, there), self._port("eth2", ours, theirs)]
        config = {"name": "s1", "epoch": 1, "listen": [{"endpoint": self._rig.endpoint}], "ports": ports}
        self._rig.client.call("configure", config=config)

    def __exit__(self, *error: object) -> None:
        self._rig.close()


def _started(*argv: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    if process.stdout.readline() != b"ready\n":
        raise RuntimeError(f"{argv[0]} {argv[1]} did not start")
    return process


def _rate(tool: str, kind: str, size: int, between: type[_Relay] | type[_Switch]) -> float:
    """Thousands of frames a second that arrive."""
    with Folder() as folder:
        places = _places(kind, folder.path)
        receiver = _started(tool, "receive", kind, places[3])
        sender = _started(tool, "send", kind, places[0], places[1], str(size), SECONDS)
        try:
            with between(folder.path, tool, kind, places):
                sender.communicate(b"go\n", timeout=30)
                got = json.loads(receiver.communicate(timeout=30)[0])
        finally:
            for process in (receiver, sender):
                process.kill()
                process.communicate()
    return float(got["received"]) / float(got["seconds"]) / 1e3


def rows() -> Iterator[Row]:
    compiler = shutil.which("cc")
    with Folder() as folder:
        tool = f"{folder.path}/datagram-tools"
        if compiler is None:
            raise RuntimeError("net/datagram needs cc; tools/install-peers installs it")
        subprocess.run([compiler, "-O2", "-o", tool, str(SOURCE)], timeout=60, check=True)
        for kind, name in (("udp", "udp"), ("unix", "dgram")):
            for size in (64, 1514):
                ours, bare = [], []
                for _ in range(RUNS):
                    bare.append(_rate(tool, kind, size, _Relay))
                    ours.append(_rate(tool, kind, size, _Switch))
                settings = "sender, one switchd or the bare loop, receiver; frames that arrived"
                yield make_row(
                    f"net/datagram/{name}/{size}B/vs-bare-loop",
                    "kframes/s",
                    ours,
                    bare,
                    "recvmmsg+sendmmsg in C",
                    settings,
                )
