"""A short command beside the loop: an image that is made, a trial of KVM. It blocks nobody and never stays.

Knows: a process, its output, its time. Refuses to know: what the command is for.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Sequence

from daemons.loop import Loop

_MOST_OUTPUT = 1 << 16
Done = Callable[[int, str], None]


class Step:
    """`done(exit code, output)` follows, later, unless cancel() comes first; a code under 0 is a signal's.

    A command that cannot be started, and one that takes more than `seconds`, has the code -9 and says why.
    """

    def __init__(self, loop: Loop, argv: Sequence[str], seconds: float, done: Done) -> None:
        self._loop = loop
        self._done: Done | None = done
        self._output = bytearray()
        self._child: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        try:
            self._child = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0,
                start_new_session=True, cwd="/", env={**os.environ, "LC_ALL": "C"},
            )  # fmt: skip
            self._pidfd = os.pidfd_open(self._child.pid)
        except OSError as error:
            if self._child is not None:
                self._child.kill()
                self._child.wait()
            why = f"cannot start {argv[0]}: {error.strerror}"
            loop.call_later(0, lambda: self._finish(-signal.SIGKILL, why))
            return
        assert self._child.stdout is not None
        os.set_blocking(self._child.stdout.fileno(), False)
        loop.reader(self._child.stdout.fileno(), self._readable)
        loop.reader(self._pidfd, self._ended)
        self._timer = loop.call_later(seconds, lambda: self._too_long(argv[0], seconds))

    def cancel(self) -> None:
        """End the command; nothing is told."""
        self._done = None
        self._end()

    def _readable(self) -> None:
        assert self._child is not None and self._child.stdout is not None
        try:
            piece = self._child.stdout.read(_MOST_OUTPUT)
        except OSError:
            piece = b""
        if piece is None:
            return
        if not piece:
            self._loop.reader(self._child.stdout.fileno(), None)
        if len(self._output) < _MOST_OUTPUT:
            self._output += piece

    def _ended(self) -> None:
        assert self._child is not None
        self._readable()
        code = self._child.wait()
        text = self._output.decode("utf-8", "replace")
        self._end()
        self._finish(code, text)

    def _too_long(self, name: str, seconds: float) -> None:
        self._end()
        self._finish(-signal.SIGKILL, f"{os.path.basename(name)} took more than {seconds:g} s")

    def _finish(self, code: int, text: str) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(code, text)

    def _end(self) -> None:
        """With all that it has started: they are one session."""
        if self._pidfd < 0 or self._child is None:
            return
        self._timer.cancel()
        assert self._child.stdout is not None
        self._loop.reader(self._child.stdout.fileno(), None)
        self._loop.reader(self._pidfd, None)
        if self._child.returncode is None:
            try:
                os.killpg(self._child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self._child.wait()
        self._child.stdout.close()
        os.close(self._pidfd)
        self._pidfd = -1
