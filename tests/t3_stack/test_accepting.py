"""Acceptor: whoever comes while there is no room is taken later, and the loop sleeps meanwhile."""

from __future__ import annotations

import errno
import socket
from pathlib import Path
from typing import Any

import pytest

from netvirt.ports.accepting import Acceptor
from netvirt.ports.loop import Loop
from netvirt.ports.unixpath import listening
from tests.support.links import run_until


class Crowded:
    """A listening socket whose process has no descriptor left for the first `times` connections."""

    def __init__(self, listener: socket.socket, times: int, number: int) -> None:
        self._listener = listener
        self.left = times
        self._number = number

    def accept(self) -> tuple[socket.socket, Any]:
        if self.left:
            self.left -= 1
            raise OSError(self._number, "no room")
        return self._listener.accept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._listener, name)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_no_room_is_waited_out(tmp_path: Path, number: int) -> None:
    loop = Loop()
    listener, _ = listening(str(tmp_path / "door"), backlog=4)
    crowded: Any = Crowded(listener, 1000, number)
    arrived: list[socket.socket] = []
    troubles: list[int] = []
    acceptor = Acceptor(loop, crowded, arrived.append, pause=0.05, troubled=lambda: troubles.append(loop.now()))
    with socket.socket(socket.AF_UNIX) as guest:
        guest.connect(str(tmp_path / "door"))
        run_until(lambda: len(troubles) == 3, loop, what="he is not let in")
        assert troubles[2] - troubles[0] >= 0.1 * 1e9, "it looked away instead of spinning"  # a timer is never early
        crowded.left = 0
        run_until(lambda: bool(arrived), loop, what="he is let in")
    assert arrived[0].getblocking() is False
    arrived[0].close()
    crowded.left = 1
    with socket.socket(socket.AF_UNIX) as guest:
        guest.connect(str(tmp_path / "door"))
        run_until(lambda: len(troubles) == 4, loop, what="no room again")
        acceptor.close()  # while it looks away
    loop.call_later(0.1, loop.stop)
    loop.run()
    assert len(arrived) == 1 and loop.mistakes == 0
    loop.close()
