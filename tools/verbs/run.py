"""vfab run LAB -- COMMAND: the lab is up while the command runs, which finds its ports and disks in its environment.

The exit code is the command's. The lab ends with us, however we end: fabricd watches over the line that we hold.
Knows: that order. Refuses to know: how a lab is brought up, what the variables are (tools.outlets).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Self

from daemons.errors import UserError
from daemons.lab.loader import find, load
from daemons.lab.mistake import LabError
from daemons.paths import LabPaths, lab_id
from daemons.teardown import end_lab
from tools import fresh, outlets, shapes
from tools.controller import apply, controller
from tools.errors import BadFile, BadInput
from tools.labs import known
from tools.output import warn
from tools.verbs.status import complaints, port_problems
from tools.verbs.topo import add_hosts

_NOT_FOUND, _NOT_RUN = 127, 126  # what shells say
_CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="LAB", nargs="?", help="a lab file, or the name of an example")
    parser.add_argument("--topo", metavar="SHAPE", help="a lab without a file: single,4; see vfab topo --help")
    add_hosts(parser)
    parser.add_argument(
        "--fresh", action="store_true", help="a copy of the lab, with empty pools of its own, gone afterwards"
    )
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="runs while the lab is up; options stand before"
    )


def run(options: argparse.Namespace) -> int:
    words = list(options.command)
    file = options.file
    if file == "--":
        file = None
    elif words[:1] == ["--"]:
        words = words[1:]
    elif options.topo is not None and file is not None:  # argparse has taken the command's first word
        words, file = [file, *words], None
    if (file is None) == (options.topo is None):
        raise BadInput("which lab? Write: vfab run LAB -- COMMAND, or: vfab run --topo single,4 -- COMMAND")
    if not words:
        raise BadInput("what is to run? Write it behind the lab: vfab run LAB -- COMMAND")
    with _Ending() as ending, contextlib.ExitStack() as stack:
        with contextlib.ExitStack() as source:
            found = _file(options, file, source)
            if options.fresh:
                found = _copy(found, stack)
            else:
                stack.push(source.pop_all())
        ending.now()
        return _run(found, words)


class _Ending:
    """A signal that would end us at once lets us tidy up first, as Ctrl-C does: a copy's folder, a shape's file.

    Until now() is called it only waits: what is raised in the middle of an import, others catch and misread.
    """

    def __init__(self) -> None:
        self._caught = [number for number in _CAUGHT if signal.getsignal(number) == signal.SIG_DFL]
        self._came = 0
        self._ready = False

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._came = number
        if self._ready:
            raise SystemExit(128 + number)

    def now(self) -> None:
        self._ready = True
        if self._came:
            raise SystemExit(128 + self._came)

    def __enter__(self) -> Self:
        for number in self._caught:
            signal.signal(number, self._end)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for number in self._caught:
            signal.signal(number, signal.SIG_DFL)


def _file(options: argparse.Namespace, file: str | None, stack: contextlib.ExitStack) -> str:
    """The lab's file, found and read; of a copy the one in a folder that goes with `stack`."""
    try:
        if file is not None:
            found = os.path.realpath(find(file))
        elif options.fresh:
            found = stack.enter_context(shapes.on_trial(shapes.read(options.topo, options.hosts)))
        else:
            found = os.path.realpath(shapes.lay(shapes.read(options.topo, options.hosts)))
            stack.callback(_forget_shape, found)
        load(found)
    except LabError as error:
        raise BadFile(str(error)) from None
    return found


def _copy(file: str, stack: contextlib.ExitStack) -> str:
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="vfab-run-", ignore_cleanup_errors=True))
    return os.path.realpath(fresh.copy(file, os.path.realpath(folder)))


def _forget_shape(file: str) -> None:
    """Unless there is a lab that was made from it."""
    if os.path.exists(file) and not _is_up(LabPaths(lab_id(load(file).lab.name, file))):
        shapes.forget(file)


def _is_up(paths: LabPaths) -> bool:
    return os.path.exists(paths.control("fabricd")) or os.path.exists(paths.database)


def _run(file: str, words: list[str]) -> int:
    paths = LabPaths(lab_id(load(file).lab.name, file))
    if _is_up(paths):
        raise UserError(f"{file} is up already; end it with vfab down, or use --fresh for a copy of it")
    with _up(paths, file):
        try:
            return _command(words, outlets.environment(known(paths.id)))
        except OSError as error:
            warn(f"cannot run {words[0]}: {error.strerror}")
            return _NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_RUN


@contextlib.contextmanager
def _up(paths: LabPaths, file: str) -> Iterator[None]:
    try:
        line = controller(paths)
    except (KeyboardInterrupt, SystemExit):
        end_lab(paths)  # it may have been started, and nobody knows of it
        raise
    with line:
        line.begin("hold")
        try:
            value = apply(paths, file, False, lambda event: None)
            for warning in [*value["warnings"], *port_problems(value)]:
                warn(warning)
            problems = complaints(value)
            if problems:
                raise UserError("; ".join(problems))
            yield
        finally:
            end_lab(paths)


def _command(words: list[str], variables: dict[str, str]) -> int:
    """Ctrl-C reaches the command by itself; other signals that would end us are passed on. We end when it has."""
    child: list[subprocess.Popen[bytes]] = []
    early: list[int] = []  # came while the command was being started

    def pass_on(number: int, frame: FrameType | None) -> None:
        if not child:
            early.append(number)
        elif number != signal.SIGINT:
            child[0].send_signal(number)

    # With a handler, and not SIG_IGN, which the command would inherit.
    caught = [number for number in _CAUGHT if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, pass_on) for number in caught}
    try:
        child.append(subprocess.Popen(words, env={**os.environ, **variables}))
        for number in early:
            child[0].send_signal(number)
        code = child[0].wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code
