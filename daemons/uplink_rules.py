"""What the kernel does with packets in an uplink's namespace: forwarding, masquerading, queueing; the rules by nft(8).

Knows: the rules, as text, and how they are loaded; how long queues are. Refuses to know: who sends packets, what pasta
does with them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import subprocess
from typing import Final

from daemons.errors import UserError
from daemons.netns_stack import Namespace
from daemons.netns_wire import parse_answer, set_link
from daemons.uplink_config import WAN, UplinkConfig

_SECONDS: Final = 10.0
_SYSTEM: Final = "/usr/sbin:/sbin:/usr/bin:/bin"  # an ordinary user's PATH has no sbin on Debian
_IP_AND_TCP: Final = 40
# pasta sends a client all that its window takes at once, and slows down for nothing: what does not fit into the queue
# is lost, and after some losses pasta resets the connection. 4 MB is a usual window, 1000 packets the usual queue.
QUEUE_PACKETS: Final = 8192
_FORWARD: Final = "/proc/sys/net/ipv4/ip_forward"
# pasta sends more than a window at times: such a segment is for the client all the same.
_LIBERAL: Final = "/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal"


def find(program: str) -> str | None:
    """The path of a program of the system's administrator."""
    return shutil.which(program) or shutil.which(program, path=_SYSTEM)


def rules(config: UplinkConfig) -> str:
    """The whole table, replacing the one that is there in one step.

    Only the lab's own networks get out: pasta takes whatever source address comes for the only one that there is. One
    network of the uplink does not reach another one through it.
    """
    devs = ", ".join(sorted({f'"{side.dev}"' for side in config.sides}))
    networks = ", ".join(sorted({side.network for side in config.sides}))
    smallest = max(min(side.mtu for side in config.sides) - _IP_AND_TCP, 1)
    lines = [
        "table inet virtfab",
        "delete table inet virtfab",
        "table inet virtfab {",
        "  chain forward {",
        "    type filter hook forward priority filter; policy drop;",
        # wan0 takes 65,520 bytes, the lab's side less: who does not hear of it would wait for ICMP (RFC 879).
        f"    tcp flags syn tcp option maxseg size set {smallest}",
        f'    iifname {{ {devs} }} oifname "{WAN}" ip saddr {{ {networks} }} accept',
        f'    iifname "{WAN}" ct state established,related accept',
        "  }",
        "  chain input {",
        "    type filter hook input priority filter; policy accept;",
        # A segment for a client that conntrack did not recognise looks like one for us: our kernel would reset it.
        f'    iifname "{WAN}" ct state != {{ established, related }} drop',
        "  }",
        "  chain outward {",
        "    type nat hook postrouting priority srcnat;",
        f'    oifname "{WAN}" ip saddr {{ {networks} }} masquerade',
        "  }",
    ]
    return "\n".join([*lines, "}", ""])


def load(namespace: Namespace, config: UplinkConfig) -> None:
    """Raises UserError."""
    program = find("nft")
    if program is None:
        raise UserError(
            f"{config.name} lets nobody out: the program nft is missing; install the package nftables, then vfab up"
        )
    text = rules(config).encode()

    def work() -> subprocess.CompletedProcess[bytes]:
        _set(_FORWARD)
        for nic in config.nics:
            _lengthen(nic)
        done = subprocess.run(
            [program, "-f", "-"], input=text, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/",
            env={**os.environ, "LC_ALL": "C"}, timeout=_SECONDS, check=False,
        )  # fmt: skip
        with contextlib.suppress(OSError):  # the rules have brought it; without it, it goes more slowly at times
            _set(_LIBERAL)
        return done

    try:
        done = namespace.inside(work)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{config.name} lets nobody out: {getattr(error, 'strerror', None) or error}") from None
    if done.returncode:
        said = (done.stderr.decode(errors="replace").split("\n")[0] or f"exit code {done.returncode}").strip()
        raise UserError(f"{config.name} lets nobody out: nft says: {said:.160}")


def _set(path: str) -> None:
    with open(path, "w") as file:
        file.write("1")


def _lengthen(dev: str) -> None:
    """Raises OSError. By rtnetlink: SIOCSIFTXQLEN wants a privilege of the whole machine."""
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    with socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE) as made:
        made.settimeout(_SECONDS)
        made.send(set_link(socket.if_nametoindex(dev), queue=QUEUE_PACKETS))
        answer = parse_answer(made.recv(1 << 16))
    if answer is None or answer.error:
        number = answer.error if answer is not None else errno.EPROTO
        raise OSError(number, os.strerror(number))
