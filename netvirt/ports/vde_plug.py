"""The driver for a port that plugs into a running vde_switch, as vde_plug does, and again when that was restarted.

Knows: the client's half of VDE (vde_wire). Refuses to know: how frames are read and sent (datagram), which switch it
serves. Carrier is the control connection: vde_switch closes it when it ends or takes the port away.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Final

from netvirt.ports import Loop, Queue, Timer
from netvirt.ports.datagram import DatagramPath
from netvirt.ports.driver import Driver
from netvirt.ports.errors import PortError
from netvirt.ports.retry import Retry
from netvirt.ports.unixpath import Made, bind, check_path, unix_socket, unlink
from netvirt.ports.vde_folder import LONGEST_FOLDER
from netvirt.ports.vde_wire import ADDRESS_SIZE, Request, VdeError, pack_request, parse_address

_PATIENCE: Final = 5.0  # seconds for the switch to answer
# Where our data socket goes when the switch's folder is not ours to write to, as libvdeplug does it.
_FALLBACK: Final = "/tmp/vde"


class VdePlugPort(Driver):
    """A switch port that is a client of the vde_switch in `folder`; a `netvirt.ports.Port`.

    number: the port to ask for, 0 = any. Waits `retry_min` seconds after a failure, doubled up to `retry_max`.
    Raises PortError here (a path that is too long); a missing switch is no error.
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
        *,
        name: str = "virtfab",
        retry_min: float = 0.1,
        retry_max: float = 1.0,
    ) -> None:
        check_path(folder, LONGEST_FOLDER)
        super().__init__(loop, queue, receive, carrier_changed)
        self._folder = os.path.normpath(folder)
        self._number = number
        self._name = name
        self._retry = Retry(loop, self.open, retry_min, retry_max)
        self._patience: Timer | None = None  # while the switch has not answered
        self._control: socket.socket | None = None
        self._data: socket.socket | None = None  # bound, while the switch has not answered
        self._path = ""
        self._made: Made | None = None
        self._answer = b""
        self._plugs = 0
        self._frames = DatagramPath(loop, queue, receive, self._failed)

    def open(self) -> None:
        """Begins to plug in."""
        control = unix_socket(socket.SOCK_STREAM)
        self._control = control
        try:
            control.connect(f"{self._folder}/ctl")
            self._data = self._data_socket()
            control.send(pack_request(Request(os.fsencode(self._path), self._number, self._description())))
        except OSError as error:
            self._end(_word(error))
            return
        self._answer = b""
        self._loop.reader(control.fileno(), self._readable)
        self._patience = self._loop.call_later(_PATIENCE, self._late)

    def flush(self) -> None:
        """Sends what the switch takes now; goes on by itself when it takes more."""
        self._frames.flush()

    def close(self) -> None:
        """Pulls the plug and stops trying."""
        self._pull()
        self._retry.cancel()

    def statistics(self) -> dict[str, int | str]:
        """Counters by name; `ended-...`: why there was no plug, or why it went."""
        return {
            "folder": self._folder,
            "number": self._number,
            "plugs": self._plugs,
            **self._frames.statistics(),
            **self._ended(),
        }

    # --- asking

    def _description(self) -> str:
        return f"{self._name} user={os.getuid()} PID={os.getpid()}"

    def _data_socket(self) -> socket.socket:
        data = unix_socket(socket.SOCK_DGRAM)
        name = f"{os.getpid():05d}-{data.fileno():05d}"
        for path in (f"{self._folder}/.{name}", f"{_FALLBACK}.{name}"):
            try:
                self._made = bind(data, path)
            except PortError:
                continue
            self._path = path
            return data
        data.close()
        raise OSError(errno.EACCES, "no place for a data socket")

    def _readable(self) -> None:
        if self._control is None:
            return
        try:
            piece = self._control.recv(ADDRESS_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(_word(error))
            return
        if not piece:
            self._end("unplugged" if self.carrier else "refused")
        elif self._data is not None:
            self._answer += piece
            if len(self._answer) >= ADDRESS_SIZE:
                self._answered(self._data)

    def _answered(self, data: socket.socket) -> None:
        try:
            data.connect(parse_address(self._answer))
        except VdeError:
            self._end("bad-answer")
            return
        except OSError as error:
            self._end(_word(error))
            return
        self._data = None
        self._plugs += 1
        self._end_patience()
        self._retry.begun()
        self._frames.attach(data)
        self._come_up()

    def _late(self) -> None:
        self._end("no-answer")

    # --- the end, and the next time

    def _failed(self, error: OSError) -> None:
        self._end(_word(error))

    def _end(self, reason: str) -> None:
        self._count_end(reason)
        if self.carrier:
            self._retry.ended()
        self._pull()
        self._retry.later()

    def _end_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _pull(self) -> None:
        self._end_patience()
        control, self._control = self._control, None
        if control is not None:
            self._loop.reader(control.fileno(), None)
            control.close()
        data, self._data = self._data, None
        if data is not None:
            data.close()
        self._frames.detach()
        unlink(self._path, self._made)
        self._made = None
        if self.carrier:
            self._go_down()


def _word(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "error").lower()
