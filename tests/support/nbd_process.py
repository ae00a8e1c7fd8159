"""A process that serves memory over NBD, for real clients: `python -m tests.support.nbd_process SOCKET NAME=MIB...`.

A name that begins with `ro-` is read-only. Prints "ready" when clients may come, and its statistics as JSON at SIGTERM.
A SOCKET like 127.0.0.1:0 is TCP; the real port is printed behind "ready".
"""

from __future__ import annotations

import json
import signal
import socket
import sys

from netvirt.ports.loop import Loop
from storvirt.nbd.export import ExportInfo
from storvirt.nbd.server import Export, NbdServer, plain
from tests.support.memory_block import MemoryBlock


def memory_export(text: str) -> Export:
    name, size = text.split("=")
    block = MemoryBlock(int(size) << 20, read_only=name.startswith("ro-"))
    block.log = False
    info = ExportInfo(name, block.size, f"{size} MiB of memory", block.read_only, fast_zero=True)
    return plain(info, block)


def listening(where: str) -> socket.socket:
    host, _, port = where.rpartition(":")
    if host:
        listener = socket.create_server((host, int(port)))
    else:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(where)
        listener.listen(128)
    return listener


def main(where: str, *exports: str) -> None:
    loop = Loop()
    made = [memory_export(text) for text in exports]
    server = NbdServer(loop, made, default=made[0].info.name)
    listener = listening(where)
    server.listen(listener)
    loop.on_signal(signal.SIGTERM, loop.stop)
    name = listener.getsockname()
    print("ready", name[1] if isinstance(name, tuple) else name, flush=True)
    loop.run()
    server.close()
    print(json.dumps({**server.statistics(), "mistakes": loop.mistakes}), flush=True)
    loop.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
