"""The driver for a port that VDE's clients plug into: vde_plug, vde_plug2tap, QEMU's `-netdev vde`.

Knows: one plug and its data socket. Refuses to know: who may have the port (vde_folder), how frames are read and sent
(datagram), which switch it serves. Carrier is the plug's control connection; there is none towards the client.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable

from netvirt.ports import Loop, Queue
from netvirt.ports.datagram import DatagramPath
from netvirt.ports.driver import Driver
from netvirt.ports.unixpath import Made, bind, unix_socket, unlink
from netvirt.ports.vde_folder import VdeFolder
from netvirt.ports.vde_wire import Request, pack_address


class VdePort(Driver):
    """A switch port that is port `number` of the VDE folder; a `netvirt.ports.Port`. One client at a time has it.

    Raises PortError here (a path that is too long) and in open() (somebody serves the folder already).
    """

    kind = "vde"

    def __init__(
        self,
        loop: Loop,
        folder: str,
        number: int,
        queue: Queue,
        receive: Callable[[memoryview], None],
        carrier_changed: Callable[[bool], None],
    ) -> None:
        super().__init__(loop, queue, receive, carrier_changed)
        self.peer = ""
        self.number = number
        self._folder = VdeFolder.at(loop, folder)
        self._control: socket.socket | None = None
        self._path = ""
        self._made: Made | None = None
        self._plugs = 0
        self._refusals: dict[str, int] = {}
        self._frames = DatagramPath(loop, queue, receive, self._failed)

    def open(self) -> None:
        """From now on a client may plug in."""
        self._folder.add(self)

    def flush(self) -> None:
        """Sends what the client takes now; goes on by itself when it takes more."""
        self._frames.flush()

    def close(self) -> None:
        """Pulls the plug; the last port of a folder removes what it made there."""
        self._pull()
        self._folder.remove(self)

    def statistics(self) -> dict[str, int | str]:
        """Counters by name; `refused-...`: clients that got no port, `ended-...`: why plugs went."""
        return {
            "folder": self._folder.path,
            "number": self.number,
            "client": self.peer,
            "plugs": self._plugs,
            **self._frames.statistics(),
            **{f"refused-{reason}": count for reason, count in self._refusals.items()},
            **self._ended(),
        }

    # --- what the folder asks

    def refuse(self, reason: str) -> None:
        self._refusals[reason] = self._refusals.get(reason, 0) + 1

    def plug(self, control: socket.socket, request: Request) -> bool:
        """Makes the data socket, says where it is, and has carrier; False if the client's can't be reached."""
        data = unix_socket(socket.SOCK_DGRAM)
        self._path = f"{self._folder.path}/{self.number:03d}.{data.fileno()}"
        try:
            self._made = bind(data, self._path)
            data.connect(request.path)
            control.send(pack_address(os.fsencode(self._path)))
        except OSError:
            data.close()
            self._forget()
            return False
        self._control = control
        self._plugs += 1
        self.peer = request.description
        self._loop.reader(control.fileno(), self._control_readable)
        self._frames.attach(data)
        self._come_up()
        return True

    # --- the plug goes

    def _control_readable(self) -> None:
        """The client has nothing more to say here but that it goes."""
        if self._control is None:
            return
        try:
            if self._control.recv(4096):
                return
        except BlockingIOError:
            return
        except OSError:
            pass  # a killed client: the same as an end
        self._end("unplugged")

    def _failed(self, error: OSError) -> None:
        self._end(errno.errorcode.get(error.errno or 0, "error").lower())

    def _end(self, reason: str) -> None:
        self._count_end(reason)
        self._pull()

    def _pull(self) -> None:
        control, self._control = self._control, None
        if control is None:
            return
        self._loop.reader(control.fileno(), None)
        control.close()
        self._frames.detach()
        self._forget()
        self.peer = ""
        self._go_down()

    def _forget(self) -> None:
        unlink(self._path, self._made)
        self._made = None
