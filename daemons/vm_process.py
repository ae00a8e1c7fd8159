"""A QEMU process: started, adopted, watched by pidfd, sent signals. It outlives us.

Knows: sessions, exit codes, pidfds. Refuses to know: QEMU's arguments, and what its end means.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Sequence

from daemons.loop import Loop
from daemons.process import Process, identify, open_pidfd
from daemons.vm_logs import open_log

Ended = Callable[[int | None], None]


class QemuProcess:
    """One that runs. `ended(code)` comes once, from the loop: its exit code, -N for signal N, None if nobody knows."""

    def __init__(
        self, loop: Loop, process: Process, ended: Ended, child: subprocess.Popen[bytes] | None = None
    ) -> None:
        self.process = process
        self._loop = loop
        self._ended = ended
        self._child = child
        self._fd = open_pidfd(process)
        if self._fd is None:
            loop.call_later(0, self._gone)
        else:
            loop.reader(self._fd, self._gone)

    def signal(self, signum: int) -> None:
        if self._fd is not None:
            try:
                signal.pidfd_send_signal(self._fd, signum)
            except ProcessLookupError:
                pass

    def _gone(self) -> None:
        if self._fd is not None:
            self._loop.reader(self._fd, None)
            os.close(self._fd)
            self._fd = None
        self._ended(self._child.wait() if self._child is not None else None)


def start(loop: Loop, argv: Sequence[str], log: str, ended: Ended) -> QemuProcess:
    """In a session of its own, with its output appended to `log`. Raises OSError."""
    output = open_log(log)
    try:
        child = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd="/",
            env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
    finally:
        os.close(output)
    process = identify(child.pid)
    if process is None:  # dead already: as a zombie it keeps its pid until we have reaped it
        process = Process(child.pid, 0)
    return QemuProcess(loop, process, ended, child)
