"""Ports that cannot be opened: why, and when they are tried again. The switch's other ports work meanwhile.

Knows: one sentence for each such port. Refuses to know: drivers, what could be done about it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from netvirt.ports import Loop, Timer

# A right never comes to a process that runs, but an address becomes free, a folder is made, root makes a TAP.
RETRY_SECONDS = 2.0


class Troubles:
    """`again(name)` is called every two seconds for each port that is noted; it may note it again."""

    def __init__(self, loop: Loop, again: Callable[[str], None]) -> None:
        self._loop = loop
        self._again = again
        self._sentences: dict[str, str] = {}
        self._timer: Timer | None = None

    def note(self, name: str, sentence: str) -> None:
        """The port has no driver, and this is why. Each new sentence is written to the log once."""
        if self._sentences.get(name) != sentence:
            self._sentences[name] = sentence
            print(f"port {name}: {sentence}; it is tried again", file=sys.stderr, flush=True)
        if self._timer is None:
            self._timer = self._loop.call_later(RETRY_SECONDS, self._try)

    def forget(self, name: str) -> None:
        """The port has a driver, or there is no such port any more."""
        self._sentences.pop(name, None)

    def sentence(self, name: str) -> str:
        """Why the port has no driver; "" if it has one."""
        return self._sentences.get(name, "")

    def _try(self) -> None:
        self._timer = None
        for name in list(self._sentences):
            self._again(name)
