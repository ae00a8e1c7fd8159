"""Ports over datagrams keep the contract of netvirt.ports.Port: dgram, udp, and both ends of VDE."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from netvirt.ports.dgram import DgramPort
from netvirt.ports.loop import Loop
from netvirt.ports.udp import UdpPort
from netvirt.ports.vde import VdePort
from netvirt.ports.vde_plug import VdePlugPort
from netvirt.ports.vde_wire import ADDRESS_SIZE, Request, pack_address, pack_request, parse_address, parse_request
from tests.support.contracts import check_port
from tests.support.links import End, run_until


class DatagramRig:
    """The peer is a plain socket, one frame a datagram."""

    port: DgramPort | UdpPort | VdePort | VdePlugPort

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loop = Loop()
        self.end = End(self.loop, limit=1 << 20)
        self.queue, self.received, self.carriers = self.end.queue, self.end.frames, self.end.carriers
        self.wires = (self.loop, self.queue, self.end.receive, self.end.carrier_changed)
        self.data: socket.socket | None = None
        self.got: list[bytes] = []

    def peer_sends(self, frames: Sequence[bytes]) -> None:
        assert self.data is not None
        for data in frames:
            while True:
                with contextlib.suppress(BlockingIOError):
                    self.data.send(data)
                    break
                self.loop.run_once(0)
            self.loop.run_once(0)

    def peer_got(self) -> list[bytes]:
        with contextlib.suppress(BlockingIOError):
            while self.data is not None:
                self.got.append(self.data.recv(1 << 16))
        return self.got

    def peer_goes(self) -> None:
        if self.data is not None:
            self.data.close()
            self.data = None

    def new_data(self, path: Path) -> socket.socket:
        self.got = []
        path.unlink(missing_ok=True)
        self.data = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.data.bind(str(path))
        return self.data

    def close(self) -> None:
        self.port.close()
        self.peer_goes()
        self.loop.close()


class DgramRig(DatagramRig):
    """As QEMU: it binds its socket anew, and sends to ours without being connected to it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        loop, *wires = self.wires
        self.port = DgramPort(loop, f"{folder}/d", f"{folder}/q", *wires, retry_min=0.01, retry_max=0.05)

    def peer_comes(self) -> None:
        self.new_data(self.folder / "q")
        run_until(lambda: self.port.carrier, self.loop)

    def peer_sends(self, frames: Sequence[bytes]) -> None:
        assert self.data is not None
        for data in frames:
            while True:
                with contextlib.suppress(BlockingIOError):
                    self.data.sendto(data, f"{self.folder}/d")
                    break
                self.loop.run_once(0)


class UdpRig(DatagramRig):
    def __init__(self, folder: Path, host: str) -> None:
        super().__init__(folder)
        self.family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.host = f"[{host}]" if ":" in host else host
        self.bare = host
        self.ours, self.theirs = self._free(), self._free()
        loop, *wires = self.wires
        self.port = UdpPort(loop, f"{self.host}:{self.ours}", f"{self.host}:{self.theirs}", *wires)

    def _free(self) -> int:
        with socket.socket(self.family, socket.SOCK_DGRAM) as probe:
            probe.bind((self.bare, 0))
            return int(probe.getsockname()[1])

    def peer_comes(self) -> None:
        self.got = []
        self.data = socket.socket(self.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.data.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.data.bind((self.bare, self.theirs))
        self.data.connect((self.bare, self.ours))


class VdeRig(DatagramRig):
    """The peer is a client: it asks over ctl for a data socket."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        loop, *wires = self.wires
        self.port = VdePort(loop, f"{folder}/v", 1, *wires)
        self.control: socket.socket | None = None

    def peer_comes(self) -> None:
        data = self.new_data(self.folder / "client")
        self.control = socket.socket(socket.AF_UNIX)
        self.control.connect(f"{self.folder}/v/ctl")
        self.control.send(pack_request(Request(f"{self.folder}/client".encode())))
        run_until(lambda: self.port.carrier, self.loop)
        data.connect(parse_address(self.control.recv(ADDRESS_SIZE)))

    def peer_goes(self) -> None:
        super().peer_goes()
        if self.control is not None:
            self.control.close()
            self.control = None


class VdePlugRig(DatagramRig):
    """The peer is a switch: it answers a request with the address of a data socket."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (folder / "v").mkdir(exist_ok=True)
        loop, *wires = self.wires
        self.port = VdePlugPort(loop, f"{folder}/v", 0, *wires, retry_min=0.01, retry_max=0.05)
        self.sockets: list[socket.socket] = []

    def peer_comes(self) -> None:
        data = self.new_data(self.folder / "v" / "001.1")
        (self.folder / "v" / "ctl").unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{self.folder}/v/ctl")
        listener.listen(1)
        listener.setblocking(False)
        self.sockets = [listener]
        run_until(lambda: self._accepted(listener), self.loop)
        run_until(lambda: self._request(), self.loop)
        data.connect(parse_request(self.request).path)
        self.sockets[-1].send(pack_address(f"{self.folder}/v/001.1".encode()))

    def _accepted(self, listener: socket.socket) -> bool:
        with contextlib.suppress(BlockingIOError):
            control, _ = listener.accept()
            control.setblocking(False)
            self.sockets.append(control)
        return len(self.sockets) == 2

    def _request(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            self.request = self.sockets[-1].recv(1024)
            return True
        return False

    def peer_goes(self) -> None:
        super().peer_goes()
        for each in self.sockets:
            each.close()
        self.sockets = []


def test_dgram(folder: Path) -> None:
    check_port(lambda: DgramRig(folder))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_udp(folder: Path, host: str) -> None:
    check_port(lambda: UdpRig(folder, host), deaf=True)


def test_vde(folder: Path) -> None:
    check_port(lambda: VdeRig(folder))
    assert not (folder / "v").exists()


def test_vde_plug(folder: Path) -> None:
    check_port(lambda: VdePlugRig(folder))
    assert {path.name for path in (folder / "v").iterdir()} <= {"ctl", "001.1"}
