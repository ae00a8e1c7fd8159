"""A guest's disk driver for tests: one NBD connection that is made again when it breaks, as QEMU does with
reconnect-delay: what was not answered is asked again, and the guest never hears of it.

Knows: sockets, and the client's bytes (nbd_frames). Refuses to know: who serves.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time

from tests.support.nbd_frames import HELLO, info, option, request
from tests.support.waiting import until

READ, WRITE, FLUSH, TRIM = 0, 1, 3, 4
GO = 7
SECONDS = 60.0


class NbdError(Exception):
    """The server answered a request with an error."""


class Guest:
    """Blocking, with simple replies. `reconnects` counts how often the server was lost."""

    def __init__(self, path: str, name: str) -> None:
        self._path, self._name = path, name
        self._socket: socket.socket | None = None
        self._cookie = 0
        self.reconnects = -1
        self.size = 0

    def read(self, offset: int, length: int) -> bytes:
        return self._ask([(READ, offset, length, b"")])[0]

    def write(self, *pieces: tuple[int, bytes]) -> None:
        """All pieces at once: (offset, data)."""
        self._ask([(WRITE, offset, len(data), data) for offset, data in pieces])

    def flush(self) -> None:
        self._ask([(FLUSH, 0, 0, b"")])

    def trim(self, offset: int, length: int) -> None:
        self._ask([(TRIM, offset, length, b"")])

    def _ask(self, requests: list[tuple[int, int, int, bytes]]) -> list[bytes]:
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                if self._socket is None:
                    self._connect()
                return self._exchange(requests)
            except OSError:
                self.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)  # nothing tells that a server listens again

    def _connect(self) -> None:
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(SECONDS)
        try:
            made.connect(self._path)
            self._socket = made
            self._exactly(18)
            made.sendall(HELLO + option(GO, info(self._name)))
            while True:
                _, _, kind, length = struct.unpack(">QIII", self._exactly(20))
                data = self._exactly(length)
                if kind & 1 << 31:
                    raise NbdError(data.decode())
                if kind == 1:
                    break
                if struct.unpack(">H", data[:2])[0] == 0:
                    (self.size,) = struct.unpack(">Q", data[2:10])
        except BaseException:
            self.close()
            made.close()
            raise
        self.reconnects += 1

    def _exchange(self, requests: list[tuple[int, int, int, bytes]]) -> list[bytes]:
        assert self._socket is not None
        first = self._cookie
        message = b"".join(
            request(kind, offset, length, cookie=first + i, data=data)
            for i, (kind, offset, length, data) in enumerate(requests)
        )
        self._cookie += len(requests)
        self._socket.sendall(message)
        answers: dict[int, bytes] = {}
        while len(answers) < len(requests):
            magic, error, cookie = struct.unpack(">IIQ", self._exactly(16))
            assert magic == 0x67446698
            if error:
                raise NbdError(f"errno {error}")
            kind, _, length, _ = requests[cookie - first]
            answers[cookie] = self._exactly(length) if kind == READ else b""
        return [answers[first + i] for i in range(len(requests))]

    def _exactly(self, count: int) -> bytes:
        assert self._socket is not None
        pieces = []
        while count:
            piece = self._socket.recv(count)
            if not piece:
                raise ConnectionResetError
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)

    def close(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None


class Load:
    """Random writes of which every answered one is remembered; `verify()` reads all of it back."""

    def __init__(self, guest: Guest, seed: int, size: int) -> None:
        self.guest = guest
        self._chance = random.Random(seed)
        self._image = bytearray(size)
        self.writes = 0

    def step(self, requests: int = 8) -> None:
        """Some writes in one go, small and large, aligned and not."""
        pieces: list[tuple[int, bytes]] = []
        taken: list[range] = []
        while len(pieces) < requests:
            length = self._chance.choice((512, 4096, 4096, 8192, 32768, 65536, 100_000))
            offset = self._chance.randrange(0, len(self._image) - length, 512)
            if any(offset < other.stop and other.start < offset + length for other in taken):
                continue  # two writes to one place that are under way at once have no order
            taken.append(range(offset, offset + length))
            pieces.append((offset, self._chance.randbytes(length)))
        self.guest.write(*pieces)
        for offset, data in pieces:
            self._image[offset : offset + len(data)] = data
        self.writes += requests

    def verify(self) -> None:
        for offset in range(0, len(self._image), 1 << 20):
            piece = bytes(self._image[offset : offset + (1 << 20)])
            assert self.guest.read(offset, len(piece)) == piece, f"at offset {offset} after {self.writes} writes"


class Running:
    """A load in a thread, as a guest beside us."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self._stop = threading.Event()
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self.load.step()
        except BaseException as error:
            self.error = error

    def more(self, writes: int) -> None:
        """Wait until so many more were answered."""
        goal = self.load.writes + writes
        until(lambda: self.load.writes >= goal or self.error is not None, 60, "the load's progress")
        assert self.error is None, self.error

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)
        assert self.error is None and not self._thread.is_alive(), self.error
