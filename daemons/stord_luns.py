"""Where a pool's LUNs are offered: listening sockets, an NBD server for each, the exports behind it.

Knows: unix sockets, TCP, names. Refuses to know: what serves a LUN, volumes, pools.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable, Mapping

from daemons.loop import Loop
from daemons.stord_config import WantedLun
from storvirt.nbd.client import Export
from storvirt.nbd.server import NbdServer

_BACKLOG = 128
Address = str  # a path, or host:port


class Luns:
    """The servers by address. LUNs of one address are exports of one server, by their names."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.servers: dict[Address, NbdServer] = {}
        self.wanted: dict[str, WantedLun] = {}
        self.problems: dict[Address, str] = {}
        self._exports: dict[str, Export] = {}

    def become(self, wanted: Mapping[str, WantedLun], make: Callable[[WantedLun], Export]) -> None:
        """Offer exactly these LUNs. Clients of a LUN that stays as it is notice nothing."""
        gone = {name for name, lun in self.wanted.items() if wanted.get(name) != lun}
        for name in gone:
            server = self.servers.get(address(self.wanted[name]))
            if server is not None:
                server.remove(name)
            del self._exports[name]
        for name, lun in wanted.items():
            kept = name in self.wanted and name not in gone
            export = make(lun)
            if not kept:
                self._exports[name] = export
            elif export.info != self._exports[name].info:  # it has grown
                self._exports[name] = export
                if (server := self.servers.get(address(lun))) is not None:
                    server.replace(export)
        self.wanted = dict(wanted)
        self._close_unused()
        self.listen()

    def _close_unused(self) -> None:
        used = {address(lun) for lun in self.wanted.values()}
        for where in [where for where in self.servers if where not in used]:
            self.servers.pop(where).close()
            _forget(where)
        self.problems = {where: problem for where, problem in self.problems.items() if where in used}

    def listen(self) -> None:
        """Listen wherever we should and do not yet; what does not work is in `problems`, and may work later."""
        for name, lun in self.wanted.items():
            where = address(lun)
            server = self.servers.get(where)
            if server is None:
                try:
                    listening = _listen_unix(where) if lun.path is not None else _listen_tcp(where)
                except OSError as error:
                    why = "somebody else listens there" if error.errno == errno.EADDRINUSE else error.strerror or error
                    self.problems[where] = f"LUN {lun.name} cannot listen at {where}: {why}"
                    continue
                self.problems.pop(where, None)
                server = self.servers[where] = NbdServer(self._loop, [], default=name)
                server.listen(listening)
            if name not in server.clients():
                server.add(self._exports[name])

    def size(self, name: str) -> int:
        """Bytes, as clients are told."""
        return self._exports[name].info.size

    def clients(self, name: str) -> int:
        """How many use a LUN now."""
        server = self.servers.get(address(self.wanted[name]))
        return server.clients().get(name, 0) if server is not None else 0

    def statistics(self) -> dict[str, int]:
        """The counters of all servers together."""
        total: dict[str, int] = {}
        for server in self.servers.values():
            for key, count in server.statistics().items():
                total[key] = total.get(key, 0) + count
        return total

    def close(self) -> None:
        """Answers that clients take now are sent; then nobody is connected and no socket is left."""
        for where, server in self.servers.items():
            server.close()
            _forget(where)
        self.servers.clear()


def address(lun: WantedLun) -> Address:
    return lun.path if lun.path is not None else str(lun.tcp)


def _listen_unix(path: str) -> socket.socket:
    """A socket of ours that an ended process has left there is replaced; anything else is not touched."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_left_over(path):
            os.unlink(path)
        listening.bind(path)
        listening.listen(_BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening


def _is_left_over(path: str) -> bool:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "there is another file of that name")
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a full backlog would make us wait
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        except BlockingIOError:
            pass
    raise OSError(errno.EADDRINUSE, "somebody else listens there")


def _listen_tcp(where: str) -> socket.socket:
    host, _, port = where.rpartition(":")
    name = "" if host == "*" else host.strip("[]")
    return socket.create_server(
        (name, int(port)), family=socket.AF_INET6 if ":" in name else socket.AF_INET, backlog=_BACKLOG
    )


def _forget(where: Address) -> None:
    if where.startswith("/"):
        try:
            os.unlink(where)
        except FileNotFoundError:
            pass
