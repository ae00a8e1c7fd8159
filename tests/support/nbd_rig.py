"""An NbdServer with a memory block, and clients of it, all in one process and one thread: whoever waits runs the loop.

Knows: sockets, and the client's bytes (nbd_frames). Refuses to know: what a test wants to see.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from netvirt.ports.loop import Loop
from storvirt.nbd.export import ExportInfo
from storvirt.nbd.server import Export, NbdServer, plain
from tests.support.links import run_until
from tests.support.memory_block import MemoryBlock
from tests.support.nbd_frames import HELLO, Reply, info, option, replies

SIZE = 1 << 20
GREETING = 18
GONE = 20 + 12 + 20  # INFO_EXPORT and ACK, the answer to a bare GO


class Clock:
    """One call that waits for a test to say that its time has come."""

    def __init__(self, seconds: float, callback: Callable[[], None]) -> None:
        self.seconds = seconds
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class StoppedLoop(Loop):
    """A real loop whose timers, but for those of 0 seconds, go off when a test says so: no test depends on speed."""

    def __init__(self) -> None:
        super().__init__()
        self.clocks: list[Clock] = []

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Any:
        if seconds == 0:
            return super().call_later(0, callback)
        self.clocks.append(Clock(seconds, callback))
        return self.clocks[-1]

    def time_is_up(self) -> None:
        """All timers that are set now go off."""
        due, self.clocks = self.clocks, []
        for clock in due:
            if clock.callback is not None:
                clock.callback()

    def waiting(self) -> int:
        return sum(clock.callback is not None for clock in self.clocks)


class Peer:
    """A client. `take()` and `send()` run the server's loop until they are done."""

    def __init__(self, loop: Loop, stream: socket.socket) -> None:
        self.loop = loop
        self.stream = stream
        self.ended = False
        self._heard = bytearray()
        stream.setblocking(False)

    def offer(self, data: bytes) -> int:
        """As much as goes out now."""
        try:
            return self.stream.send(data)
        except BlockingIOError:
            return 0

    def send(self, data: bytes) -> None:
        left = memoryview(data)

        def all_out() -> bool:
            nonlocal left
            left = left[self.offer(bytes(left)) :]
            return not left

        run_until(all_out, self.loop, what="everything sent")

    def hear(self) -> bool:
        """Reads what is there; True once the server has closed."""
        while not self.ended:
            try:
                data = self.stream.recv(1 << 20)
            except BlockingIOError:
                break
            except ConnectionResetError:
                data = b""
            self._heard += data
            self.ended = not data
        return self.ended

    def take(self, count: int) -> bytes:
        run_until(lambda: self.hear() or len(self._heard) >= count, self.loop, what=f"{count} bytes")
        assert len(self._heard) >= count, f"the server closed after {len(self._heard)} of {count} bytes"
        taken = bytes(self._heard[:count])
        del self._heard[:count]
        return taken

    def rest(self) -> bytes:
        """Everything until the server closes."""
        run_until(self.hear, self.loop, what="the server closes")
        return self.take(len(self._heard))

    def go(self, name: str = "v0") -> Peer:
        """Plain replies from here on."""
        self.send(HELLO + option(7, info(name)))
        self.take(GREETING + GONE)
        return self

    def ask(self, request: bytes, length: int = 0) -> Reply:
        """One request, one simple reply; `length` bytes are read."""
        self.send(request)
        head = self.take(16)
        failed = head[4:8] != bytes(4)
        return replies(head + (b"" if failed else self.take(length)), {7: length})[0]

    def close(self) -> None:
        self.stream.close()


class Rig:
    """`exports` beside v0; limits as NbdServer has them. At the end nothing of our own may have gone wrong."""

    def __init__(self, folder: Path, *exports: Export, **limits: Any) -> None:
        self.loop = StoppedLoop()
        self.block = MemoryBlock(SIZE)
        self.path = str(folder / "nbd.sock")
        self.server = NbdServer(self.loop, [plain(ExportInfo("v0", SIZE), self.block), *exports], **limits)
        self.mistakes = 0
        self._peers: list[Peer] = []
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path)
        listener.listen(128)
        self.server.listen(listener)

    def peer(self) -> Peer:
        """Connected; it has heard nothing yet."""
        stream = socket.socket(socket.AF_UNIX)
        stream.setblocking(False)
        run_until(lambda: self._connected(stream), self.loop, what="a place in the backlog")
        return self._adopt(stream)

    def _connected(self, stream: socket.socket) -> bool:
        code = stream.connect_ex(self.path)
        assert code in (0, errno.EAGAIN)
        return code == 0

    def tcp(self) -> Peer:
        listener = socket.create_server(("127.0.0.1", 0))
        self.server.listen(listener)
        return self._adopt(socket.create_connection(listener.getsockname()))

    def _adopt(self, stream: socket.socket) -> Peer:
        self._peers.append(Peer(self.loop, stream))
        return self._peers[-1]

    def counted(self, name: str, count: int = 1) -> None:
        """Waits until the statistics say so."""
        run_until(lambda: self.server.statistics().get(name, 0) >= count, self.loop, what=f"{count} {name}")
        assert self.server.statistics()[name] == count

    def __enter__(self) -> Rig:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.close()
        for peer in self._peers:
            with contextlib.suppress(OSError):
                peer.close()
        mistakes = self.loop.mistakes
        self.loop.close()
        if kind is None:
            assert mistakes == self.mistakes
