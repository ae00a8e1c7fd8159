"""A VXLAN port and its remotes, which are plain sockets at other addresses of the loopback network.

Knows: RFC 7348's header, byte by byte. Refuses to know: what the port should do.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Sequence
from typing import Any

from netvirt.ports.loop import Loop
from netvirt.ports.vxlan import VxlanPort
from tests.support.links import End, run_until

VNI = {10: 1010, 20: 0xABCDEF}


def wrapped(data: bytes, vni: int = 1010, flags: int = 8) -> bytes:
    return bytes([flags, 0, 0, 0]) + vni.to_bytes(3, "big") + b"\0" + data


def tagged(data: bytes, vid: int = 10, tpid: bytes = b"\x81\0") -> bytes:
    return data[:12] + tpid + vid.to_bytes(2, "big") + data[12:]


def between(source: int, target: int, body: bytes = bytes(46)) -> bytes:
    """A frame from station `source` to station `target`; 0 is everybody."""
    address = b"\xff" * 6 if target == 0 else bytes([2, 0, 0, 0, 0, target])
    return address + bytes([2, 0, 0, 0, 0, source]) + b"\x88\xb5" + body


class Rig:
    """A port at 127.0.0.1 or ::1, and remotes at other addresses of the loopback network."""

    untag = True

    def __init__(self, remotes: int = 1, family: socket.AddressFamily = socket.AF_INET, **options: Any) -> None:
        self.loop = Loop()
        self.end = End(self.loop, limit=1 << 20)
        self.queue, self.received, self.carriers = self.end.queue, self.end.frames, self.end.carriers
        self.wires = (self.end.queue, self.end.receive, self.end.carrier_changed)
        self.here = "127.0.0.1"
        self.number = self._free()
        self.hosts = [f"127.0.0.{n + 2}" for n in range(remotes)]
        self.port = VxlanPort(
            self.loop, f"{self.here}:{self.number}", [f"{host}:{self.number}" for host in self.hosts],
            options.pop("vnis", VNI), *self.wires, **options,
        )  # fmt: skip
        self.end.driver = self.port
        self.peers: list[socket.socket] = []
        self.got: list[bytes] = []

    def _free(self) -> int:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((self.here, 0))
            return int(probe.getsockname()[1])

    def peer_comes(self) -> None:
        self.got = []
        for host in self.hosts:
            peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            peer.bind((host, self.number))
            self.peers.append(peer)

    def says(self, data: bytes, who: int = 0) -> None:
        while True:
            with contextlib.suppress(BlockingIOError):
                self.peers[who].sendto(data, (self.here, self.number))
                return
            self.loop.run_once(0)

    def peer_goes(self) -> None:
        for peer in self.peers:
            peer.close()
        self.peers = []

    def hears(self, who: int = 0) -> list[tuple[int, bytes]]:
        """(VNI, inner frame) of all that a remote was sent until now."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                data, (host, number, *_) = self.peers[who].recvfrom(1 << 16)
                assert (host, number >= 49152) == (self.here, True)
                assert (data[:4], data[7]) == (b"\x08\0\0\0", 0)
                found.append((int.from_bytes(data[4:7], "big"), data[8:]))
        return found

    def until(self, condition: Callable[[], object], what: str = "the condition") -> None:
        run_until(condition, self.loop, what=what)

    def count(self, name: str) -> int:
        return int(self.port.statistics()[name])

    def close(self) -> None:
        self.port.close()
        self.peer_goes()
        self.loop.close()


class ContractRig(Rig):
    """Frames without a tag are a VNI of their own: as check_port() sends them."""

    def __init__(self) -> None:
        super().__init__(vnis={0: 77})

    def peer_sends(self, frames: Sequence[bytes]) -> None:
        for data in frames:
            self.says(wrapped(data, 77))
            self.loop.run_once(0)

    def peer_got(self) -> list[bytes]:
        if self.peers:
            self.got += [data for vni, data in self.hears() if vni == 77]
        return self.got
