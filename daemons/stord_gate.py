"""A LUN that is offered before its pool is open: clients connect, are told its size, and their requests wait.

Knows: who waits. Refuses to know: why the pool is not open yet, and what it does with a request.

To let clients connect and not answer their greeting would not do: QEMU counts a connection for which it still
negotiates as lost, and gives its guest an error when reconnect-delay is over. A request that is not answered waits for
ever.
"""

from __future__ import annotations

from typing import Protocol

from storvirt.nbd.client import Kick
from storvirt.nbd.execute import LATER
from storvirt.nbd.session import Session


class Behind(Protocol):
    """storvirt.pool.serve.Served."""

    def __call__(self, session: Session, kick: Kick, /) -> int: ...
    def forget(self, session: Session, /) -> None: ...


class Gate:
    """`execute` and `forget` of storvirt.nbd.client.Export; from open() on those of what it was opened with."""

    def __init__(self) -> None:
        self._behind: Behind | None = None
        self._waiting: dict[Session, Kick] = {}

    def __call__(self, session: Session, kick: Kick) -> int:
        if self._behind is not None:
            return self._behind(session, kick)
        self._waiting[session] = kick
        return LATER

    def forget(self, session: Session) -> None:
        self._waiting.pop(session, None)
        if self._behind is not None:
            self._behind.forget(session)

    def open(self, behind: Behind) -> None:
        """Everybody goes on."""
        self._behind = behind
        waiting, self._waiting = self._waiting, {}
        for kick in waiting.values():
            kick()
