"""A pool in one process, its volume served over NBD: what stord does, without a lab around it."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable

from netvirt.ports.loop import Loop
from storvirt.backing.file import FileMember
from storvirt.nbd.export import ExportInfo
from storvirt.nbd.server import Export, NbdServer
from storvirt.pool.assemble import format_pool
from storvirt.pool.serve import Served

IDLE = 0.02  # seconds between looks whether there is something to do


def main() -> None:
    raid, count, folder, path = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
    volume, member = int(sys.argv[5]), int(sys.argv[6])
    members = [FileMember.create(f"{folder}/m{number}", member) for number in range(count)]
    idents = [os.urandom(16) for _ in members]
    pool = format_pool(members, name="bench", pool_id=os.urandom(16), member_ids=idents)
    pool.create_volume("v", volume, raid)

    def flush(done: Callable[[None], None]) -> None:
        pool.flush()
        done(None)

    loop = Loop()
    served = Served(pool, pool.disk("v"), flush)
    server = NbdServer(loop, [Export(ExportInfo("", volume), served, served.forget)], default="")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(16)
    server.listen(listener)

    def work() -> None:
        loop.call_later(0 if pool.work() else IDLE, work)

    work()
    loop.on_signal(signal.SIGTERM, loop.stop)
    print("ready", flush=True)
    loop.run()
    print("{}", flush=True)


if __name__ == "__main__":
    main()
