"""The world outside of an uplink under test: a network namespace with an address, a default route, TCP servers and a
resolver of our own; and a program in it, as root or as nobody.

    python -m tests.support.uplink_world COMMAND ...   -> the servers' ports, then what COMMAND prints; ends with it

Ports: [alone, together]. A caller says how much it has to say (8 bytes) and says it; both send that back and hang up,
the second one only when two callers have said all.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support import peers
from tests.support.installed import ALONE, NOBODY

ROOT = Path(__file__).parents[2]
SECONDS = 60.0
OUTSIDE = "198.51.100.1"
RESOLVER = "127.0.0.53"
ANSWER = "203.0.113.7"

# The first resolver is out of reach, the second one not there. A user without privileges may open /dev/net/tun on most
# machines; here he may in any case.
SCRIPT = f"""set -e
ip link set lo up
ip link add out0 type veth peer name out1
ip link set out1 up
ip address add {OUTSIDE}/24 dev out0
ip link set out0 up
ip route add default via 198.51.100.254 dev out0
for server in 2001:db8::53 127.0.0.54 {RESOLVER}; do echo "nameserver $server"; done > "$1/resolv.conf"
mount --bind "$1/resolv.conf" /etc/resolv.conf
if [ "$2" = nobody ]; then
  mount -t tmpfs dev /dev/net
  mknod -m 666 /dev/net/tun c 10 200
fi
shift 2
exec "$@"
"""


def prefix(folder: Path, who: str, *, inner: tuple[str, ...] = ()) -> list[str]:
    """What is put before a command so that it runs in such a world. who: "root" or "nobody", who owns `folder` then."""
    for program in ("ip", "unshare", "pasta", "nft", "busybox", "setpriv"):
        peers.need(program)
    if os.geteuid() != 0:
        peers.missing("root, for a world outside,")
    if who == "nobody":
        os.chown(folder, NOBODY, NOBODY)
        inner = ("setpriv", *ALONE, *inner)
    world = [sys.executable, "-m", "tests.support.uplink_world"]
    return ["unshare", "-nm", "sh", "-c", SCRIPT, "sh", str(folder), who, *world, *inner]


class World:
    """`ask(op, ...)` is a request to an uplink_rig in there; more keys are the uplink's."""

    def __init__(self, folder: Path, who: str = "root", **keys: Any) -> None:
        words = [f"{key}={json.dumps(value)}" for key, value in keys.items()]
        command = [*prefix(folder, who), sys.executable, "-m", "tests.support.uplink_rig", str(folder), *words]
        self.rig = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.alone, self.together = map(str, json.loads(self._line()))

    def _line(self) -> str:
        assert self.rig.stdout is not None
        line = self.rig.stdout.readline()
        assert line, "the rig has ended; what it said is above"
        return line

    def ask(self, op: str, **arguments: Any) -> Any:
        assert self.rig.stdin is not None
        self.rig.stdin.write(json.dumps({"op": op, **arguments}) + "\n")
        self.rig.stdin.flush()
        return json.loads(self._line())

    def __enter__(self) -> World:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.rig.communicate(timeout=10)
        if self.rig.poll() is None:
            self.rig.kill()
            self.rig.communicate()


# --- the servers


def listen() -> socket.socket:
    return socket.create_server(("0.0.0.0", 0), backlog=16)


def echo(listener: socket.socket, pairs: threading.Barrier | None) -> None:
    while True:
        stream, _ = listener.accept()
        threading.Thread(target=_back, args=(stream, pairs), daemon=True).start()


def _back(stream: socket.socket, pairs: threading.Barrier | None) -> None:
    with stream, contextlib.suppress(OSError, threading.BrokenBarrierError):
        stream.settimeout(SECONDS)
        file = stream.makefile("rb")
        heard = file.read(int.from_bytes(file.read(8), "big"))
        if pairs is not None:
            pairs.wait(SECONDS)
        stream.sendall(heard)


def resolve(made: socket.socket) -> None:
    """Every question has the same answer."""
    while True:
        question, who = made.recvfrom(512)
        head = question[:2] + bytes.fromhex("8180 0001 0001 0000 0000")
        record = bytes.fromhex("c00c 0001 0001 0000003c 0004") + socket.inet_aton(ANSWER)
        made.sendto(head + question[12:] + record, who)


def main() -> int:
    alone, together = listen(), listen()
    resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    resolver.bind((RESOLVER, 53))
    jobs: list[tuple[Any, ...]] = [(echo, alone, None), (echo, together, threading.Barrier(2)), (resolve, resolver)]
    for job, *arguments in jobs:
        threading.Thread(target=job, args=arguments, daemon=True).start()
    print(json.dumps([alone.getsockname()[1], together.getsockname()[1]]), flush=True)
    return subprocess.run(sys.argv[1:], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
