"""NBD servers of other people for tests, and one that lies: each a process or thread, ended by who started it.

Knows: how nbdkit, qemu-nbd and our own server on memory are started. Refuses to know: what is asked of them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support.peers import need
from tests.support.waiting import until

_ROOT = Path(__file__).parents[2]


def _answers(path: Path) -> bool:
    """Whether somebody listens there: a socket's name may be there before that."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


class Server:
    """A process that serves on a unix socket; `uri` is its export."""

    def __init__(self, folder: Path, name: str, argv: list[str], export: str = "") -> None:
        self.socket = folder / f"{name}.sock"
        self.uri = f"nbd+unix:///{export}?socket={self.socket}"
        self._argv = [word.replace("{socket}", str(self.socket)) for word in argv]
        self._log = folder / f"{name}.log"
        self.start()

    def start(self) -> None:
        self.socket.unlink(missing_ok=True)
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=_ROOT)
        until(lambda: self.process.poll() is not None or _answers(self.socket), what=f"{self._argv[0]} to listen")
        assert self.process.poll() is None, self._log.read_text()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)
        if number == signal.SIGKILL:
            self.process.wait(timeout=20)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(timeout=20)


def nbdkit(folder: Path, name: str, *words: str) -> Server:
    """words: filters, plugin and its parameters, such as "memory", "64M"."""
    return Server(folder, name, [need("nbdkit"), "-f", "-U", "{socket}", *words])


def qemu_nbd(folder: Path, name: str, size: int, *words: str) -> Server:
    """On a sparse file of its own."""
    image = folder / f"{name}.raw"
    if not image.exists():
        image.touch()
        os.truncate(image, size)
    argv = [need("qemu-nbd"), "-k", "{socket}", "-f", "raw", "-t", "-x", "x", *words, str(image)]
    return Server(folder, name, argv, "x")


def ours(folder: Path, name: str, mib: int) -> Server:
    """Our own server on memory."""
    return Server(folder, name, [sys.executable, "-m", "tests.support.nbd_process", "{socket}", f"x={mib}"], "x")


@contextlib.contextmanager
def scripted(path: Path, talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that says to each client whatever `talk(connection)` says, then hangs up. Gives its URI."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(8)
    listener.settimeout(30)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                with client, contextlib.suppress(OSError):
                    client.settimeout(30)
                    talk(client)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"nbd+unix:///x?socket={path}&patience=1"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(timeout=30)
