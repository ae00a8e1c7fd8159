"""Processes as the kernel knows them: a pid means nothing without its start time, because pids are given out again.

Knows: /proc and pidfds. Refuses to know: labs, nodes and why a process runs.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple


class Process(NamedTuple):
    """One process. `start_time` is field 22 of /proc/PID/stat: clock ticks since boot."""

    pid: int
    start_time: int


def identify(pid: int) -> Process | None:
    """The process that has this pid now; None when there is none, or only a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # Field 2, the command's name, may hold blanks and brackets; what follows its last bracket is field 3 (proc(5)).
    fields = text[text.rindex(b")") + 2 :].split()
    if fields[0] in (b"Z", b"X"):
        return None
    return Process(pid, int(fields[19]))


def alive(process: Process) -> bool:
    """Is it this very process that still runs (stopped counts, a zombie does not)?"""
    return identify(process.pid) == process


def age(process: Process) -> float:
    """Seconds since the process began."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - process.start_time / os.sysconf("SC_CLK_TCK")


def memory_kib(process: Process) -> int | None:
    """Its proportional share of memory (PSS) in KiB, as /proc/PID/smaps_rollup says; None when it may not be read."""
    try:
        with open(f"/proc/{process.pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return None


def open_pidfd(process: Process) -> int | None:
    """A descriptor that stands for exactly this process, readable when it ends; None when it has ended."""
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    # Only now is the identity certain: while the descriptor is open the pid cannot change its owner unseen.
    if identify(process.pid) != process:
        os.close(fd)
        return None
    return fd


def end(process: Process, signum: int, wait: float) -> bool:
    """Send `signum` and wait up to `wait` seconds; True when it has ended. Blocks: for commands, not for loops."""
    fd = open_pidfd(process)
    if fd is None:
        return True
    try:
        signal.pidfd_send_signal(fd, signum)
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(wait * 1000))
    except ProcessLookupError:
        return True
    finally:
        os.close(fd)


def with_option(option: str, prefix: str) -> Iterator[tuple[Process, str]]:
    """Our processes that were called with `option` and a value that begins with `prefix`, and that value."""
    for pid, argv in _ours():
        value = next((value for one, value in pairwise(argv) if one == option and value.startswith(prefix)), None)
        process = identify(pid) if value is not None else None
        if value is not None and process is not None:
            yield process, value


def called(prefix: str) -> Iterator[tuple[Process, str]]:
    """Our processes whose own name (argv[0]) begins with `prefix`, and that name."""
    for pid, argv in _ours():
        process = identify(pid) if argv[0].startswith(prefix) else None
        if process is not None:
            yield process, argv[0]


def with_variable(name: str, prefix: str) -> Iterator[tuple[Process, str]]:
    """All processes but the caller in whose environment `name` begins with `prefix`, and its value.

    Those of other users too, as far as they may be looked at: in a user namespace of ours programs may be anybody.
    """
    wanted = os.fsencode(f"{name}={prefix}")
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        process = identify(pid) if pid != os.getpid() else None
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                value = next((row for row in file.read().split(b"\0") if row.startswith(wanted)), None)
        except OSError:
            continue  # it has ended, or is none of ours
        if process is not None and value is not None and alive(process):
            yield process, os.fsdecode(value).partition("=")[2]


def _ours() -> Iterator[tuple[int, list[str]]]:
    """All processes of this user but the caller, with their arguments."""
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            if os.stat(f"/proc/{name}").st_uid != os.getuid():
                continue
            with open(f"/proc/{name}/cmdline", "rb") as file:
                yield int(name), [os.fsdecode(argument) for argument in file.read().split(b"\0")]
        except OSError:
            continue  # it has ended while we looked


def boot_id() -> str:
    """Changes with every start of the machine: pids and start times of another boot mean nothing."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()
