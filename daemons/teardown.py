"""Leaving nothing: the end of a lab whose fabricd is gone, hangs, or has just ended its last child.

Knows: the run folder, the state folder, and how a lab's processes are recognised. Refuses to know: what they did.
Data (keys, members of pools) is elsewhere and is never touched from here.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import time
from collections.abc import Callable
from typing import Any

from daemons import process as processes
from daemons.client import Client, Unreachable
from daemons.errors import UserError
from daemons.locks import Lock
from daemons.paths import INSIDE, LabPaths, labs_root, run_root, state_root
from daemons.process import Process
from daemons.state import ProcessRow, SqliteStore, StateError
from daemons.vm_record import living

FABRICD = "fabricd"
_GRACE_SECONDS = 3.0
_KILL_SECONDS = 10.0
# `down` tells of each child; the slowest takes the launcher's 3 s of grace.
_SILENCE_SECONDS = 10.0


def lab_processes(paths: LabPaths) -> dict[Process, str]:
    """The lab's living processes and their nodes; its controller's is FABRICD. Whoever asks is left out.

    The state file knows those that fabricd wrote down. One that was started in the moment before fabricd was killed, or
    whose state file is damaged, is known by its `--lock`, which is a file in this lab's own run folder.
    """
    found: dict[Process, str] = {}
    for process, lock in processes.with_option("--lock", paths.run + os.sep):
        found[process] = os.path.basename(lock).removesuffix(".lock")
    for row in _recorded(paths):
        if processes.alive(row.process):
            found.setdefault(row.process, row.node)
    return found


def lab_machines(paths: LabPaths) -> dict[Process, str]:
    """The lab's living virtual machines, by QEMU's `-pidfile`: they outlive a vmd that is killed."""
    return {process: name for name, process in living(paths.run).items()}


def lab_ways(paths: LabPaths) -> dict[Process, str]:
    """The living pastas of the lab's uplinks (uplink_pasta), by their names: they outlive a netnsd that is killed."""
    return {
        process: os.path.basename(os.path.dirname(path)).removesuffix(".way")
        for process, path in processes.called(paths.run + os.sep)
    }


def lab_programs(paths: LabPaths) -> dict[Process, str]:
    """What `vfab exec` has started and still lives, with its host: it outlives a netnsd that is killed."""
    return {process: os.path.basename(value) for process, value in processes.with_variable(INSIDE, paths.run + os.sep)}


def _recorded(paths: LabPaths) -> list[ProcessRow]:
    try:
        store = SqliteStore(paths.database, create=False)
    except StateError:
        return []
    try:
        return list(store.processes().values())
    except StateError:
        return []
    finally:
        store.close()


def end_all(ending: dict[Process, str]) -> None:
    """End processes side by side: SIGTERM, and SIGKILL for those that are left after 3 s. Raises UserError."""
    fds = {fd: process for process in ending if (fd := processes.open_pidfd(process)) is not None}
    try:
        for signum, seconds in ((signal.SIGTERM, _GRACE_SECONDS), (signal.SIGKILL, _KILL_SECONDS)):
            for fd in fds:
                try:
                    signal.pidfd_send_signal(fd, signum)
                except ProcessLookupError:
                    pass
            _wait(fds, seconds)
            if not fds:
                return
        names = ", ".join(f"{ending[process]} ({process.pid})" for process in fds.values())
        raise UserError(
            f"these processes do not end, the kernel holds them: {names}; look at them with ps, and try again"
        )
    finally:
        for fd in fds:
            os.close(fd)


def _wait(fds: dict[int, Process], seconds: float) -> None:
    """Take out of `fds` those whose process ends within `seconds`."""
    deadline = time.monotonic() + seconds
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    while fds and (left := deadline - time.monotonic()) > 0:
        for fd, _mask in poll.poll(left * 1000):
            poll.unregister(fd)
            os.close(fd)
            del fds[fd]


def remove_folders(paths: LabPaths) -> None:
    """Remove the lab's run folder and state folder, and the folders above them when nothing else is in them.

    Machines that no vmd has ended go first, and what no netnsd has: without these folders nobody would ever find them.
    """
    end_all({**lab_machines(paths), **lab_programs(paths), **lab_ways(paths)})
    for folder in (paths.run, paths.state):
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            pass
        except OSError as error:
            where = error.filename or folder
            raise UserError(f"cannot remove {where}: {error.strerror}; remove {folder} by hand") from None
    for folder in (labs_root(), state_root(), run_root()):
        try:
            os.rmdir(folder)
        except OSError:
            pass  # another lab, or keys, are in it


def end_lab(paths: LabPaths, progress: Callable[[Any], None] | None = None) -> list[str]:
    """End a lab, with its fabricd or without; returns the nodes that were ended. Raises UserError."""
    try:
        with Client(paths.control(FABRICD), timeout=_SILENCE_SECONDS) as client:
            fabricd = client.server()
            ended = [str(node) for node in client.call("down", events=progress)["ended"]]
    except Unreachable:
        return leave_nothing(paths)
    if fabricd is not None:
        end_all({fabricd: FABRICD})  # it is about to end by itself; nobody should see it do so
    return ended


def leave_nothing(paths: LabPaths) -> list[str]:
    """End a lab whose fabricd is gone or does not answer; returns the nodes that were ended. Raises UserError."""
    # The controller first, or it would start again what we end.
    end_all({process: node for process, node in lab_processes(paths).items() if node == FABRICD})
    if os.path.isdir(paths.run):
        lock = Lock(paths.lock(FABRICD))  # held, so that no other one begins while we tidy up
        if not lock.take():
            raise UserError(
                f"process {lock.holder()} is starting lab {paths.id}; wait for it, or end it, and try again"
            )
    # Before their pools: QEMU brings to its LUNs what it has, and a LUN that has gone it would wait for.
    machines = lab_machines(paths)
    end_all(machines)
    ended = lab_processes(paths)
    end_all(ended)
    remove_folders(paths)
    return sorted([*ended.values(), *machines.values()])
