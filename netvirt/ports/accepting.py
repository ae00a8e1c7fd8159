"""Taking connections from a listening socket, also when there is no room for one more just now.

Knows: accept, and when to look away. Refuses to know: how the socket was bound, who comes, what is spoken.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Final

from netvirt.ports import Loop, Timer

# Out of descriptors or memory: the connection stays in the backlog, so accept would be called again at once, for ever.
_NO_ROOM: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Acceptor:
    """Calls `arrived(stream)` for each connection, which does not block; owns `listener` from now on.

    Where there is no room it calls `troubled()` and looks away for `pause` seconds.
    """

    def __init__(
        self,
        loop: Loop,
        listener: socket.socket,
        arrived: Callable[[socket.socket], None],
        *,
        pause: float = 1.0,
        troubled: Callable[[], None] = lambda: None,
    ) -> None:
        self._loop = loop
        self._listener = listener
        self._arrived = arrived
        self._pause = pause
        self._troubled = troubled
        self._timer: Timer | None = None
        loop.reader(listener.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            stream, _ = self._listener.accept()
        except OSError as error:
            if error.errno in _NO_ROOM:
                self._troubled()
                self._loop.reader(self._listener.fileno(), None)
                self._timer = self._loop.call_later(self._pause, self._look_again)
            return
        stream.setblocking(False)
        self._arrived(stream)

    def _look_again(self) -> None:
        self._timer = None
        self._loop.reader(self._listener.fileno(), self._accept)

    def close(self) -> None:
        """The last call."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop.reader(self._listener.fileno(), None)
        self._listener.close()
