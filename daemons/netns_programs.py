"""The programs that run in a namespace of ours, and their end with it.

Knows: /proc/PID/ns/net, signals, how long one waits. Refuses to know: who started them, what they are.
A program that is left in a namespace without a NIC is of no use to anybody, and nobody else would end it.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable

from daemons.loop import Loop

GRACE_SECONDS = 1.0  # from SIGTERM to SIGKILL; the launcher gives us 3 s in all
_LOOK_SECONDS = 0.02


def programs(spaces: set[str]) -> list[int]:
    """pidfds of all processes but us in these namespaces, each "net:[4026532290]" (readlink of /proc/PID/ns/net)."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        if int(name) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # another user's, or it has ended
            if os.readlink(f"/proc/{name}/ns/net") not in spaces:
                continue
            fd = os.pidfd_open(int(name))
            # While the descriptor is open the pid stays his: so this is still the same process, or it was none of ours.
            if os.readlink(f"/proc/{name}/ns/net") in spaces:
                found.append(fd)
            else:
                os.close(fd)
    return found


def end_programs(loop: Loop, netns: list[int], done: Callable[[], None] | None = None) -> None:
    """SIGTERM now and SIGKILL after the grace for all in these namespaces (descriptors); then `done`, from the loop."""
    spaces = {os.readlink(f"/proc/self/fd/{fd}") for fd in netns}
    patience = loop.now() + int(GRACE_SECONDS * 1e9)

    def look(number: int) -> None:
        left = programs(spaces)
        if left and number == signal.SIGTERM:
            _send(left, number)
        elif left and loop.now() > patience:
            _send(left, signal.SIGKILL)
            left = []
        else:
            _send(left, 0)
        if left:
            loop.call_later(_LOOK_SECONDS, lambda: look(0))
        elif done is not None:
            loop.call_later(0, done)

    look(signal.SIGTERM)


def _send(pidfds: list[int], number: int) -> None:
    for fd in pidfds:
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(fd, number)
        os.close(fd)
