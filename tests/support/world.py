"""A listener, its ports, dialers and strangers together on one loop, torn down at the end of a test.

Knows: the drivers of netvirt.ports. Refuses to know: switches, processes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zmq

from netvirt.ports.loop import Loop
from netvirt.ports.zmq_listener import ZmqListener
from tests.support.links import End, dialer, listen_port, listener, run_until, stranger


class World:
    """One loop and everything on it; torn down at the end of the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"ipc://{folder}/s.zmq"
        self.loop = Loop()
        self.ends: list[End] = []
        self.listeners: list[ZmqListener] = []
        self.sockets: list[zmq.Socket[bytes]] = []

    def listener(self, epoch: int = 1, url: str = "", **options: object) -> ZmqListener:
        self.listeners.append(listener(self.loop, url or self.url, epoch, **options))
        return self.listeners[-1]

    def port(self, at: ZmqListener, name: str = "eth1", **options: Any) -> End:
        self.ends.append(listen_port(at, name, **options))
        self.ends[-1].driver.open()
        return self.ends[-1]

    def dial(self, port: str = "eth1", name: str = "h1", **options: Any) -> End:
        self.ends.append(dialer(self.loop, f"{self.url}#{port}", name, **options))
        self.ends[-1].driver.open()
        return self.ends[-1]

    def stranger(self, **options: Any) -> zmq.Socket[bytes]:
        self.sockets.append(stranger(self.url, **options))
        return self.sockets[-1]

    def until(self, condition: Callable[[], object], what: str = "it") -> None:
        run_until(condition, self.loop, what=what)

    def up(self, *ends: End) -> None:
        self.until(lambda: all(end.driver.carrier for end in ends), "carrier")

    def pair(self, **options: object) -> tuple[End, End]:
        """(dialer, listening port), both up."""
        here = self.port(self.listener())
        there = self.dial(**options)
        self.up(here, there)
        return there, here

    def stop(self, at: ZmqListener) -> None:
        """As if the listening process were killed: no goodbye."""
        self.listeners.remove(at)
        at.ports.clear()
        at.close()

    def close(self) -> None:
        for socket in self.sockets:
            socket.close()
        for end in self.ends:
            end.driver.close()
        with contextlib.suppress(AssertionError):
            self.until(lambda: all(end.driver.closed for end in self.ends))
        for at in self.listeners:
            at.close()
        mistakes = self.loop.mistakes
        self.loop.close()
        assert mistakes == 0
