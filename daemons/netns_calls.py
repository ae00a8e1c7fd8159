"""The kernel's calls for namespaces, and doing something inside a network namespace.

Knows: unshare(2), setns(2), mount(2). Refuses to know: who may call them (netns_users), hosts and labs.

A network namespace belongs to a thread, so what has to be done inside one is done by a thread that ends with it: the
process itself never leaves the namespace where it began. From there, and from nowhere else, an uplink gets out. The
caller waits for that thread: two of ours never run at once.
"""

from __future__ import annotations

import _thread
import ctypes
import errno
import os
from collections.abc import Callable
from typing import TypeVar

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
MS_BIND, MS_REC, MS_SLAVE = 0x1000, 0x4000, 0x80000
T = TypeVar("T")

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Raises OSError."""
    if _libc.unshare(flags):
        raise _error()


def setns(fd: int, kind: int) -> None:
    """Raises OSError."""
    if _libc.setns(fd, kind):
        raise _error()


def mount(source: str, target: str, kind: str = "", flags: int = 0) -> None:
    """Raises OSError."""
    if _libc.mount(source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), None):
        raise _error()


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


def inside(netns: int | None, work: Callable[[], T]) -> T:
    """What `work` returns when called inside a network namespace; None: a new one. Raises what it raises; OSError."""
    results: list[T] = []
    errors: list[BaseException] = []
    done = _thread.allocate_lock()
    done.acquire()

    def run() -> None:
        try:
            unshare(CLONE_NEWNET) if netns is None else setns(netns, CLONE_NEWNET)
            results.append(work())
        except BaseException as error:
            errors.append(error)
        finally:
            done.release()

    try:
        _thread.start_new_thread(run, ())
    except RuntimeError:  # what Python makes of pthread_create's EAGAIN: RLIMIT_NPROC, a control group's pids.max
        raise OSError(errno.EAGAIN, "no more threads may be started (ulimit -u, pids.max)") from None
    done.acquire()
    if errors:
        raise errors[0]
    return results[0]


def own_netns() -> int:
    """A descriptor of the network namespace that this thread is in."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
