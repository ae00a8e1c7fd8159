"""The process from which daemons are forked: it has imported what they need, so a start takes milliseconds and they
share the memory of their code.

Knows: its one socket, fork, how a child becomes a process of its own. Refuses to know: labs, what a daemon does.
It has no threads and makes no ZeroMQ context: neither survives a fork.

One SEQPACKET message `{"argv": [module, argument, ...], "log": path}` with one descriptor (it becomes `{control}` in
the arguments) is one child; the answer is `{"pid", "start_time"}` or `{"problem"}`. It ends when nobody holds the other
end, or when nobody asked for a while: its children do not need it.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from daemons.process import Process, identify

MODULES = ("daemons.switchd", "daemons.hostd", "daemons.stord", "daemons.netnsd", "daemons.vmd")
MESSAGE_BYTES = 65536
IDLE_SECONDS = 5.0
ANSWER_SECONDS = 20.0
END_SECONDS = 2.0
# `ps` and teardown.py know a process by its command line, and a forked one has its parent's: it is written over, in the
# room that this argument of the parent leaves.
ROOM = "." * 2048


class Nursery:
    """The way to such a process. It ends by itself when there is nothing more to start."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self) -> Process | None:
        """Start it: children may be asked for at once, they wait for its imports. close() when it has ended."""
        self.close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "daemons.nursery", str(theirs.fileno()), ROOM],
                    stdin=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                    cwd="/",
                    env={**os.environ, "PYTHONUNBUFFERED": "1"},
                )
            except OSError:
                ours.close()
                return None
        ours.settimeout(ANSWER_SECONDS)
        self._socket = ours
        return identify(self._process.pid)

    def start(self, argv: Sequence[str], log: str, control: socket.socket) -> Process | None:
        """A child that runs `argv` (a module and its arguments); None if there is no nursery, or it can't."""
        if self._socket is None:
            return None
        try:
            message = json.dumps({"argv": list(argv), "log": log}).encode()
            socket.send_fds(self._socket, [message], [control.fileno()])
            answer = json.loads(self._socket.recv(MESSAGE_BYTES) or b"{}")
        except OSError:
            answer = {}
        if "pid" not in answer:
            self.close()  # it has ended, or hangs
            return None
        return Process(answer["pid"], answer["start_time"])

    def ended(self, process: Process) -> None:
        """This one is gone; another one may have been begun since."""
        if self._process is not None and self._process.pid == process.pid:
            self.close()

    def close(self) -> None:
        """Its children live on."""
        if self._socket is not None and self._process is not None:
            self._socket.close()
            try:
                self._process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._socket = self._process = None


def main(argv: Sequence[str] | None = None) -> int:
    """`NUMBER ROOM`: serve the socket that was inherited under this number."""
    arguments = sys.argv[1:] if argv is None else argv
    asked = socket.socket(fileno=int(arguments[0]))
    for name in MODULES:
        importlib.import_module(name)
    # A collection would write to the header of every object, and so copy the pages that are shared.
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps; whoever cares has a pidfd
    child = _serve(asked)
    asked.close()
    return 0 if child is None else _live(*child)


def _serve(asked: socket.socket) -> tuple[str, list[str]] | None:
    """Fork until the socket's other end is closed; in a child: the module and the arguments it is to run."""
    poll = select.poll()
    poll.register(asked, select.POLLIN)
    while poll.poll(IDLE_SECONDS * 1000):
        message, fds, _flags, _address = socket.recv_fds(asked, MESSAGE_BYTES, 1)
        if not message:
            break
        request = json.loads(message)
        try:
            pid = os.fork()
        except OSError as error:
            _answer(asked, {"problem": f"cannot fork: {error.strerror}"})
            pid = -1
        if pid == 0:
            return _become(request, fds[0])
        for fd in fds:
            os.close(fd)
        if pid > 0:
            process = identify(pid)
            _answer(asked, {"pid": pid, "start_time": process.start_time if process is not None else 0})
    return None


def _answer(asked: socket.socket, value: dict[str, Any]) -> None:
    try:
        asked.send(json.dumps(value).encode())
    except OSError:
        pass  # the next read says that nobody is there


def _become(request: dict[str, Any], control: int) -> tuple[str, list[str]]:
    """In the child: a session, a log and a name of its own."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    module, *arguments = [str(word).replace("{control}", str(control)) for word in request["argv"]]
    _rename([sys.executable, "-P", "-m", module, *arguments], module.rpartition(".")[2])
    return module, arguments


def _rename(argv: list[str], name: str) -> None:
    """What /proc/self/cmdline and comm say from now on."""
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    start, end = int(fields[45]), int(fields[46])  # arg_start and arg_end: fields 48 and 49 of proc(5)
    text = b"".join(os.fsencode(word) + b"\0" for word in argv)
    if len(text) > end - start:
        raise ValueError(f"a command line of {len(text)} bytes; there is room for {end - start}")
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        memory.seek(start)
        memory.write(text.ljust(end - start, b"\0"))
    with open("/proc/self/comm", "w") as file:
        file.write(name)


def _live(module: str, arguments: list[str]) -> int:
    code: int = importlib.import_module(module).main(arguments)
    return code


if __name__ == "__main__":
    sys.exit(main())
