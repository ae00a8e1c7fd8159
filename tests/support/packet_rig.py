"""A packet port on an interface whose other side is in our hands: a TAP. Run in a network namespace of its own.

    unshare -Urn python -m tests.support.packet_rig

The kernel behind a packet socket never stands still; an interface that is slow (tbf) takes the part of such a peer.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

from netvirt.dataplane.queue import Queue
from netvirt.ports.loop import Loop
from netvirt.ports.packet import PacketPort
from tests.support.contracts import check_port
from tests.support.links import End
from tests.support.tap_child import IFF_NO_PI, IFF_TAP, TUNSETIFF

NAME = "rig0"
SLOW = f"tc qdisc add dev {NAME} root tbf rate 100mbit burst 64k limit 100m"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, timeout=20)


def open_tap() -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", NAME.encode(), IFF_TAP | IFF_NO_PI))
    return fd


class PacketRig:
    def __init__(self) -> None:
        self.loop = Loop()
        self.end = End(self.loop, 1 << 20)
        self.queue: Queue = self.end.queue
        self.received, self.carriers = self.end.frames, self.end.carriers
        self.port = PacketPort(self.loop, self.queue, self.end.receive, self.end.carrier_changed, name=NAME)
        self.peer = -1
        self.got: list[bytes] = []

    def peer_comes(self) -> None:
        self.got = []
        self.peer = open_tap()
        ip("link", "set", NAME, "txqueuelen", "20000")  # what the slow interface lets go must not be lost behind it
        subprocess.run(SLOW.split(), check=True, timeout=20)
        ip("link", "set", NAME, "up")

    def peer_sends(self, frames: Sequence[bytes]) -> None:
        for number, data in enumerate(frames):
            os.write(self.peer, data)
            if number % 50 == 0:
                self.loop.run_once(0)

    def peer_got(self) -> list[bytes]:
        with contextlib.suppress(BlockingIOError):
            while self.peer >= 0:
                self.got.append(os.read(self.peer, 1 << 17))
        return self.got

    def peer_goes(self) -> None:
        if self.peer >= 0:
            os.close(self.peer)
            self.peer = -1

    def close(self) -> None:
        self.port.close()
        self.peer_goes()
        self.loop.close()


def main() -> None:
    for which in ("all", "default"):  # or the kernel speaks of itself on every interface that comes up
        Path(f"/proc/sys/net/ipv6/conf/{which}/disable_ipv6").write_text("1")
    check_port(PacketRig)
    print("kept")


if __name__ == "__main__":
    main()
