"""Starting, watching and ending the processes of a lab.

Knows: processes, pidfds, log files, the handing over of a control socket, the nursery that our own daemons are forked
from. Refuses to know: what a process is for, and when one should be started again. `Launcher` is the seam behind which
an existing cluster engine may stand later.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Protocol

from daemons.errors import UserError
from daemons.loop import Loop, Timer
from daemons.nursery import MODULES, Nursery
from daemons.process import Process, identify, open_pidfd

GRACE_SECONDS = 3.0
_OURS = [sys.executable, "-P", "-m"]
_PR_SET_CHILD_SUBREAPER = 36
# So many starts at once are worth a nursery: it takes as long as one process to begin.
_MANY = 3
_STRAYS_SECONDS = 1.0


class LaunchError(UserError):
    """A process could not be started: why."""


class Watch(Protocol):
    def cancel(self) -> None: ...


class Launcher(Protocol):
    """What fabricd needs to have processes. Nothing here blocks."""

    def expect(self, count: int) -> None:
        """So many processes are about to be started."""
        ...

    def start(self, argv: Sequence[str], log: str, control: socket.socket) -> Process:
        """Start `argv` in a session of its own, output appended to the file `log`.

        `{control}` in an argument becomes the number under which the child inherits the listening socket. Raises
        LaunchError.
        """
        ...

    def watch(self, process: Process, ended: Callable[[], None]) -> Watch:
        """Call `ended` once, from the loop, when the process is gone; also when it is gone already."""
        ...

    def end(self, process: Process) -> None:
        """Ask it to end, and after GRACE_SECONDS make it; a watch() tells when."""
        ...


class _PidWatch:
    """Waits for one process by its pidfd."""

    def __init__(self, loop: Loop, fd: int | None, ended: Callable[[], None]) -> None:
        self._loop = loop
        self._fd = fd
        self._ended = ended
        self._timer: Timer | None = None
        if fd is None:
            self._timer = loop.call_later(0, self._fire)
        else:
            loop.reader(fd, self._fire)

    def _fire(self) -> None:
        self.cancel()
        self._ended()

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._fd is not None:
            self._loop.reader(self._fd, None)
            os.close(self._fd)
            self._fd = None


class LocalLauncher:
    """Launcher for this machine. The children outlive the process that started them."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._children: dict[Process, subprocess.Popen[bytes]] = {}
        self._watched: set[int] = set()  # pids of those that a watch will reap
        self._nursery = Nursery()

    def expect(self, count: int) -> None:
        if count >= _MANY and (process := self._nursery.begin()) is not None:
            _PidWatch(self._loop, open_pidfd(process), lambda: self._nursery.ended(process))

    def start(self, argv: Sequence[str], log: str, control: socket.socket) -> Process:
        if list(argv[:3]) == _OURS and argv[3] in MODULES:
            process = self._nursery.start(argv[3:], log, control)
            if process is not None:
                return process
        return self._spawn(argv, log, control)

    def _spawn(self, argv: Sequence[str], log: str, control: socket.socket) -> Process:
        fd = control.fileno()
        arguments = [argument.replace("{control}", str(fd)) for argument in argv]
        try:
            with open(log, "ab") as output:
                child = subprocess.Popen(
                    arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=(fd,),
                    start_new_session=True,
                    cwd="/",
                    env={**os.environ, "PYTHONUNBUFFERED": "1"},
                )
        except OSError as error:
            raise LaunchError(f"cannot start {arguments[0]} with its log in {log}: {error.strerror}") from None
        process = identify(child.pid)
        if process is None:  # dead already: as a zombie it keeps its pid until we have reaped it
            process = Process(child.pid, 0)
        self._children[process] = child
        return process

    def watch(self, process: Process, ended: Callable[[], None]) -> Watch:
        def reap() -> None:
            self._watched.discard(process.pid)
            child = self._children.pop(process, None)
            if child is not None:
                child.wait()
            else:
                _reap(process.pid)
            ended()

        self._watched.add(process.pid)
        return _PidWatch(self._loop, open_pidfd(process), reap)

    def reap_strays(self) -> None:
        """After SIGCHLD: end the zombies that nobody watches, children of children that were left to us."""
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            if found.si_pid in self._watched or any(child.pid == found.si_pid for child in self._children.values()):
                # Its watch reaps it in this round; there may be others behind it.
                self._loop.call_later(_STRAYS_SECONDS, self.reap_strays)
                return
            _reap(found.si_pid)

    def close(self) -> None:
        """No start comes any more."""
        self._nursery.close()

    def end(self, process: Process) -> None:
        fd = open_pidfd(process)
        if fd is None:
            return
        _signal(fd, signal.SIGTERM)

        def insist() -> None:
            ended.cancel()
            killed = open_pidfd(process)
            if killed is not None:
                _signal(killed, signal.SIGKILL)
                os.close(killed)

        timer = self._loop.call_later(GRACE_SECONDS, insist)
        ended = _PidWatch(self._loop, fd, timer.cancel)


def _reap(pid: int) -> None:
    """One that was left to us (see raise_orphans) by a nursery that has ended."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass  # somebody else's, who has done it


def _signal(pidfd: int, signum: int) -> None:
    try:
        signal.pidfd_send_signal(pidfd, signum)
    except ProcessLookupError:
        pass


def raise_file_limit() -> None:
    """Lift the soft limit of open files to the hard one, for this process and those that it starts.

    libzmq ends the process when accept() finds no free descriptor, so a stranger must not be able to use them up.
    """
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):
        pass  # some kernels refuse RLIM_INFINITY here; the soft limit stays as it was


def raise_orphans() -> None:
    """Children of our children become ours when these end, so that they can be reaped whatever process 1 is."""
    import ctypes  # here, because the daemons load this file, too

    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def listen(path: str, backlog: int = 128) -> socket.socket:
    """A listening unix socket at `path`, in place of what an ended process has left there. Raises LaunchError."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        listening.bind(path)
        listening.listen(backlog)
    except OSError as error:
        listening.close()
        raise LaunchError(f"cannot listen at {path}: {error.strerror or error}") from None
    return listening
