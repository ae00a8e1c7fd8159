"""Every port driver keeps the contract of netvirt.ports.Port."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from netvirt.dataplane.queue import Queue
from netvirt.ports import Port
from netvirt.ports.loop import Loop
from netvirt.ports.qemu import QemuPort, Role
from netvirt.ports.qmp import CabledPort, Qmp
from netvirt.ports.zmq_listener import ZmqListener
from tests.support.contracts import check_port
from tests.support.links import End, dialer, listen_port, listener, run_until


class _ZmqRig:
    """What both ends have in common: the peer is an End of its own on a second loop."""

    end: End
    peer: End

    def __init__(self, folder: Path) -> None:
        self.url = f"ipc://{folder}/s.zmq"
        self.loop = Loop()
        self.peer_loop = Loop()

    def _ours(self, end: End) -> None:
        self.end = end
        self.port, self.queue = end.driver, end.queue
        self.received, self.carriers = end.frames, end.carriers

    def peer_sends(self, frames: Sequence[bytes]) -> None:
        self.peer.send(*frames)

    def peer_got(self) -> list[bytes]:
        for _ in range(5):
            self.peer_loop.run_once(0)
        return self.peer.frames

    def _say_goodbye(self) -> None:
        self.peer.driver.close()
        run_until(lambda: self.peer.driver.closed, self.loop, self.peer_loop)


class DialerRig(_ZmqRig):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._ours(dialer(self.loop, self.url + "#eth1", limit=1 << 20))
        self.listener: ZmqListener | None = None

    def peer_comes(self) -> None:
        self.listener = listener(self.peer_loop, self.url)
        self.peer = listen_port(self.listener)
        self.peer.driver.open()

    def peer_goes(self) -> None:
        self._say_goodbye()
        assert self.listener is not None
        self.listener.close()
        self.listener = None

    def close(self) -> None:
        self.port.close()
        if self.listener is not None:
            self.peer.driver.close()
            self.listener.close()
        self.loop.close()
        self.peer_loop.close()


class ListenerRig(_ZmqRig):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.listener = listener(self.loop, self.url)
        self._ours(listen_port(self.listener, limit=1 << 20))

    def peer_comes(self) -> None:
        self.peer = dialer(self.peer_loop, self.url + "#eth1")
        self.peer.driver.open()

    def peer_goes(self) -> None:
        self._say_goodbye()

    def close(self) -> None:
        self.port.close()
        self.listener.close()
        if hasattr(self, "peer"):
            self.peer.driver.close()
            run_until(lambda: self.peer.driver.closed, self.peer_loop)
        self.loop.close()
        self.peer_loop.close()


class QemuRig:
    """The peer is a plain socket that speaks QEMU's framing: u32 big-endian length, frame."""

    def __init__(self, folder: Path, role: Role) -> None:
        self.path = str(folder / "p.qemu")
        self.role = role
        self.loop = Loop()
        self.queue = Queue(1 << 20)
        self.received: list[bytes] = []
        self.carriers: list[bool] = []
        self.end = End(self.loop)
        self.end.frames, self.end.carriers, self.end.queue = self.received, self.carriers, self.queue
        self.port: Port = QemuPort(
            self.loop, self.path, role, self.queue, self.end.receive, self.end.carrier_changed, retry_min=0.01
        )
        self.server: socket.socket | None = None
        self.stream: socket.socket | None = None
        self.bytes = b""
        self.got: list[bytes] = []

    def peer_comes(self) -> None:
        self.bytes, self.got = b"", []
        if self.role == "listen":
            self.stream = socket.socket(socket.AF_UNIX)
            self.stream.connect(self.path)
        else:
            Path(self.path).unlink(missing_ok=True)
            self.server = socket.socket(socket.AF_UNIX)
            self.server.bind(self.path)
            self.server.listen(1)
            run_until(lambda: self.port.carrier, self.loop)
            self.stream, _ = self.server.accept()
        self.stream.setblocking(False)

    def peer_sends(self, frames: Sequence[bytes]) -> None:
        assert self.stream is not None
        left = b"".join(struct.pack(">I", len(data)) + data for data in frames)
        while left:
            with contextlib.suppress(BlockingIOError):
                left = left[self.stream.send(left) :]
            self.loop.run_once(0)

    def peer_got(self) -> list[bytes]:
        with contextlib.suppress(BlockingIOError):
            while self.stream is not None and (piece := self.stream.recv(1 << 16)):
                self.bytes += piece
        while len(self.bytes) >= 4 and len(self.bytes) >= 4 + (size := struct.unpack_from(">I", self.bytes)[0]):
            self.got.append(self.bytes[4 : 4 + size])
            self.bytes = self.bytes[4 + size :]
        return self.got

    def peer_goes(self) -> None:
        for one in (self.stream, self.server):
            if one is not None:
                one.close()
        self.stream = self.server = None

    def close(self) -> None:
        self.port.close()
        self.peer_goes()
        self.loop.close()


def test_a_zmq_dialer(folder: Path) -> None:
    check_port(lambda: DialerRig(folder))


def test_a_zmq_listen_port(folder: Path) -> None:
    check_port(lambda: ListenerRig(folder))


@pytest.mark.parametrize("role", ["dial", "listen"])
def test_a_qemu_port(folder: Path, role: Role) -> None:
    check_port(lambda: QemuRig(folder, role))


def test_a_qemu_port_with_a_cable(folder: Path) -> None:
    """Nobody is at the monitor; frames go their way all the same."""

    def make() -> QemuRig:
        rig = QemuRig(folder, "dial")
        rig.port = CabledPort(rig.port, Qmp(rig.loop, str(folder / "p.qmp"), "net0"))
        return rig

    check_port(make)
