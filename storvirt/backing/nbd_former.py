"""Connections that were given up while requests were under way: a server that was only stopped still does them later.

Knows: sockets that were half closed, which server has come to their end. Refuses to know: requests, what is lost.

A server that goes on reads what we sent before, does it, finds the end of the connection, and closes its own half. Only
then may the same export be used again: a write of the connection before, done in the middle of what the next one
writes, would put something old over something new.
"""

from __future__ import annotations

import socket
import threading
import time
from typing import Final

from storvirt.nbd.uri import Address

# A server that answers a new connection and has not come to the end of the old one by then does not know of it any
# more (its host was cut off, and forgot it): nothing of it will be done.
PATIENCE: Final = 60.0
_PIECE: Final = 65536


class _Former:
    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.asked: float | None = None  # when somebody wanted to use the export again for the first time

    def ends(self) -> bool:
        """Whether the server has come to its end; then it is closed. What it still answers is not heard."""
        try:
            while self.connection.recv(_PIECE):
                pass
        except BlockingIOError:
            return False
        except OSError:
            pass
        self.connection.close()
        return True

    def is_over(self) -> bool:
        """As ends(), or it was waited for in vain."""
        now = time.monotonic()
        self.asked = now if self.asked is None else self.asked
        if now - self.asked > PATIENCE:
            self.connection.close()
        return self.ends()


_lock = threading.Lock()
_formers: dict[Address, list[_Former]] = {}


def keep(address: Address, connection: socket.socket) -> None:
    """A connection that is given up, non-blocking; it is closed here, sooner or later."""
    with _lock:
        for formers in _formers.values():  # those of exports that nobody wanted again
            formers[:] = [former for former in formers if not former.ends()]
        _formers.setdefault(_key(address), []).append(_Former(connection))


def are_over(address: Address) -> bool:
    """Whether the server, which has just answered a new connection, will do nothing of those before any more."""
    with _lock:
        left = [former for former in _formers.pop(_key(address), []) if not former.is_over()]
        if left:
            _formers[_key(address)] = left
        return not left


def _key(address: Address) -> Address:
    """However patient somebody was."""
    return address._replace(patience=0.0)
