"""The folder that VDE's clients plug into, as vde_switch serves it: `ctl`, a stream socket, and a data socket per plug.

Knows: who may come in, and which port of those that share the folder he gets. Refuses to know: frames, switches.

A client asks over `ctl` (vde_wire), is given the address of a data socket, and is plugged in as long as its connection
lives. Several switch ports share a folder: a client gets the port whose number it asks for, else the first free one.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import stat
import weakref
from collections.abc import Callable
from typing import Final, Protocol

from netvirt.ports import Loop
from netvirt.ports.accepting import Acceptor
from netvirt.ports.errors import PortError
from netvirt.ports.unixpath import Made, bind, check_path, is_stale, unix_socket, unlink
from netvirt.ports.vde_wire import LONGEST_REQUEST, Request, VdeError, is_whole, parse_request

# Room for our "/00005.1234" and a client's own "/.1234567-00000" behind it (sockaddr_un has 108 bytes).
LONGEST_FOLDER: Final = 91
_DATA_SOCKET: Final = re.compile(r"\.[0-9]+-[0-9]+|[0-9]+\.[0-9]+")  # a client's, a switch's
_BACKLOG: Final = 15  # as vde_switch
_MOST_PENDING: Final = 16
_PATIENCE: Final = 5.0  # seconds for a client to say what it wants


class Socket(Protocol):
    """A port of the folder: where a plug can go."""

    number: int

    @property
    def carrier(self) -> bool: ...
    def plug(self, control: socket.socket, request: Request) -> bool:
        """Takes the plug, and then owns `control`; False if its data socket can't be reached."""
        ...

    def refuse(self, reason: str) -> None:
        """Counts a client that came and got nothing."""
        ...


class _Pending:
    """A client that has not said yet what it wants."""

    def __init__(self, loop: Loop, control: socket.socket, done: Callable[[_Pending], None]) -> None:
        self.control = control
        self.data = b""
        self.ended = False
        self._loop = loop
        self._done = done
        self._timer = loop.call_later(_PATIENCE, self._late)
        loop.reader(control.fileno(), self._readable)

    def _late(self) -> None:
        self.ended = True
        self._done(self)

    def _readable(self) -> None:
        try:
            piece = self.control.recv(LONGEST_REQUEST)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        self.data += piece
        self.ended = not piece
        if self.ended or is_whole(self.data):
            self._done(self)

    def stop(self) -> None:
        """Looks at it no more."""
        self._timer.cancel()
        self._loop.reader(self.control.fileno(), None)


_FOLDERS: weakref.WeakKeyDictionary[Loop, dict[str, VdeFolder]] = weakref.WeakKeyDictionary()


class VdeFolder:
    """One folder and the ports that share it. Open while there is one; gone, if it made it, after the last."""

    def __init__(self, loop: Loop, path: str) -> None:
        check_path(path, LONGEST_FOLDER)
        self.path = path
        self._loop = loop
        self._ports: list[Socket] = []
        self._pending: list[_Pending] = []
        self._acceptor: Acceptor | None = None
        self._made: Made | None = None
        self._made_folder = False

    @staticmethod
    def at(loop: Loop, path: str) -> VdeFolder:
        """The one of this loop's process. Raises PortError for a path that is too long."""
        folders = _FOLDERS.setdefault(loop, {})
        path = os.path.normpath(path)
        if path not in folders:
            folders[path] = VdeFolder(loop, path)
        return folders[path]

    def add(self, port: Socket) -> None:
        """Raises PortError if the folder can't be served."""
        if self._acceptor is None:
            self._open()
        self._ports.append(port)
        self._ports.sort(key=lambda each: each.number)

    def remove(self, port: Socket) -> None:
        if port in self._ports:
            self._ports.remove(port)
            if not self._ports:
                self._close()

    # --- the folder

    def _open(self) -> None:
        control = unix_socket(socket.SOCK_STREAM)
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(self.path, 0o700)
                self._made_folder = True
            # A folder with a ctl that nobody is behind was made by one of us that was killed.
            left = os.path.lexists(f"{self.path}/ctl")
            self._made = bind(control, f"{self.path}/ctl")
            self._made_folder |= left
            self._sweep()
            control.listen(_BACKLOG)
        except PortError:
            control.close()
            raise
        except OSError as error:
            control.close()
            raise PortError(f"cannot make the folder {self.path}: {error.strerror}; check its parent") from None
        self._acceptor = Acceptor(self._loop, control, self._arrived)

    def _close(self) -> None:
        for pending in list(self._pending):
            self._drop(pending)
        if self._acceptor is not None:
            self._acceptor.close()
            self._acceptor = None
        unlink(f"{self.path}/ctl", self._made)
        self._sweep()
        if self._made_folder:
            with contextlib.suppress(OSError):  # something of somebody else is in it
                os.rmdir(self.path)
            self._made_folder = False

    def _sweep(self) -> None:
        """Removes data sockets of clients and switches that were killed, with nobody behind them."""
        with contextlib.suppress(OSError):
            for name in os.listdir(self.path):
                path = f"{self.path}/{name}"
                if not _DATA_SOCKET.fullmatch(name) or not stat.S_ISSOCK(os.lstat(path).st_mode):
                    continue
                with contextlib.suppress(OSError):
                    if is_stale(path, socket.SOCK_DGRAM):
                        os.unlink(path)

    # --- clients

    def _arrived(self, control: socket.socket) -> None:
        self._pending.append(_Pending(self._loop, control, self._asked))
        if len(self._pending) > _MOST_PENDING:
            self._reject(self._pending[0], "slow")

    def _asked(self, pending: _Pending) -> None:
        try:
            request = parse_request(pending.data)
        except VdeError:
            self._reject(pending, "bad-request")
            return
        port = self._choose(request.port)
        if port is None:
            self._reject(pending, "port-taken" if request.port else "all-taken")
            return
        pending.stop()
        self._pending.remove(pending)
        if not port.plug(pending.control, request):
            port.refuse("no-data-socket")
            pending.control.close()

    def _choose(self, number: int) -> Socket | None:
        free = (port for port in self._ports if not port.carrier and number in (0, port.number))
        return next(free, None)

    def _reject(self, pending: _Pending, reason: str) -> None:
        """Counted at the first port of the folder: there is none that it belongs to."""
        self._drop(pending)
        self._ports[0].refuse(reason)

    def _drop(self, pending: _Pending) -> None:
        pending.stop()
        self._pending.remove(pending)
        pending.control.close()
