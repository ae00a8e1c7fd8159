"""Going into the namespaces of a host that netnsd holds: this process, for good.

Knows: /proc/PID/fd, what a program in there must see of its own (/sys, the resolver's file). Refuses to know: labs, and
what runs there.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from typing import Any, NoReturn

from daemons.errors import UserError
from daemons.netns_calls import (
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWUSER,
    MS_BIND,
    MS_REC,
    MS_SLAVE,
    mount,
    setns,
    unshare,
)

RESOLVER = "/etc/resolv.conf"
NOT_FOUND, NOT_RUN = 127, 126  # what a shell says of such commands


def enter(host: dict[str, Any]) -> None:
    """host: its row in netnsd's status. Raises UserError."""
    try:
        spaces = [(host["userns"], CLONE_NEWUSER), (host["netns"], CLONE_NEWNET)]
        opened = [(_open(host["pid"], fd), kind) for fd, kind in spaces if fd is not None]
        for fd, kind in opened:
            setns(fd, kind)
            os.close(fd)
        unshare(CLONE_NEWNS)
        mount("none", "/", flags=MS_REC | MS_SLAVE)
    except OSError as error:
        raise UserError(f"cannot enter {host['name']}: {error.strerror}") from None
    # /sys/class/net is of the namespace that sysfs was mounted in. Some containers let nobody mount it: then that one
    # folder is wrong, and all else is right.
    with contextlib.suppress(OSError):
        mount("sysfs", "/sys", "sysfs")
    servers = host.get("nameservers")  # of the lab's uplinks: where one of them is the gateway here
    if servers and (near := [server for server in servers if server in _gateways()]):
        _resolve_by(near)


def _open(pid: int, fd: int) -> int:
    return os.open(f"/proc/{pid}/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)


def _gateways() -> set[str]:
    """Of this namespace now, those that a DHCP client has set included: they are in no lab file."""
    with contextlib.suppress(OSError), open("/proc/self/net/route") as file:
        words = [line.split() for line in file.readlines()[1:]]
        return {socket.inet_ntoa(int(row[2], 16).to_bytes(4, sys.byteorder)) for row in words}
    return set()


def _resolve_by(servers: list[str]) -> None:
    """A resolv.conf(5) of our own in place of the machine's; it has no name, and goes with the mount namespace."""
    import tempfile  # most hosts have no uplink

    with contextlib.suppress(OSError), tempfile.NamedTemporaryFile("w") as file:
        file.writelines(f"nameserver {server}\n" for server in servers)
        file.flush()
        os.chmod(file.name, 0o644)
        mount(file.name, RESOLVER, flags=MS_BIND)


def become(words: list[str]) -> NoReturn:
    """Becomes the program; returns only by leaving. Exit codes as a shell's."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and a program inherits that
        signal.signal(number, signal.SIG_DFL)
    sys.stdout.flush()
    try:
        os.execvp(words[0], words)
    except OSError as error:
        print(f"vfab: cannot run {words[0]}: {error.strerror}", file=sys.stderr)
        raise SystemExit(NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_RUN) from None
