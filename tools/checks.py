"""The checks of `vfab doctor`: each looks at one thing and says one sentence.

Knows: what a lab may need of the machine, and which of it needs privileges. Refuses to know: how it is printed.
Levels: ok; warn: something is missing that only some labs need; no: no lab runs here.
"""

from __future__ import annotations

import os
import platform
import resource
import shutil
import stat
import sys
from collections.abc import Callable
from typing import NamedTuple

from daemons.errors import UserError
from daemons.paths import run_root, state_root
from daemons.userns import refusal

KERNEL = (5, 4)  # pidfd_open() came with 5.3; 5.4 is the oldest long-term kernel that has it
PYTHON = (3, 11)
FILES = 4096
_SYSTEM = "/usr/sbin:/sbin"  # where distributions keep what an ordinary user has no path to


class Finding(NamedTuple):
    level: str
    sentence: str


def kernel() -> Finding:
    release = platform.release()
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2])
    if numbers < KERNEL:
        return Finding("no", f"Linux {release} is too old; {KERNEL[0]}.{KERNEL[1]} or newer is needed")
    return Finding("ok", f"Linux {release} on {platform.machine()}")


def python() -> Finding:
    version = platform.python_version()
    if sys.version_info < PYTHON:
        return Finding("no", f"Python {version} is too old; {PYTHON[0]}.{PYTHON[1]} or newer is needed")
    return Finding("ok", f"Python {version} ({sys.executable})")


def compiled() -> Finding:
    try:
        import netvirt.burst
    except ImportError as error:
        return Finding("no", f"the compiled part is missing ({error}); run: make build")
    return Finding("ok", f"compiled parts of {os.path.dirname(netvirt.burst.__file__ or '')}")


def libzmq() -> Finding:
    import zmq

    if not zmq.has("curve"):
        return Finding("warn", f"libzmq {zmq.zmq_version()} without CURVE: no links over TCP; install pyzmq's wheel")
    return Finding("ok", f"libzmq {zmq.zmq_version()} with CURVE, pyzmq {zmq.__version__}")


def run_folder() -> Finding:
    try:
        root = run_root()
    except UserError as error:
        return Finding("no", str(error))
    if root.startswith(os.environ.get("XDG_RUNTIME_DIR") or "\0"):
        return Finding("ok", f"sockets go to {root}")
    return Finding("ok", f"sockets go to {root}, because XDG_RUNTIME_DIR is unset, too long, or not yours alone")


def state_folder() -> Finding:
    try:
        root = state_root()
    except UserError as error:
        return Finding("no", str(error))
    parent = root
    while not os.path.exists(parent):
        parent = os.path.dirname(parent)
    if not os.access(parent, os.W_OK | os.X_OK):
        return Finding("no", f"cannot write into {parent}; set XDG_STATE_HOME to a folder of yours")
    return Finding("ok", f"state and logs go to {root}")


def files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FILES:
        return Finding(
            "warn", f"at most {hard} open files; a switch with many ports needs more: raise ulimit -Hn to {FILES}"
        )
    return Finding("ok", f"open files: {soft} now, up to {'any number' if hard == resource.RLIM_INFINITY else hard}")


def _capabilities() -> list[str]:
    """Those that some ports need and this process has."""
    with open("/proc/self/status") as status:
        effective = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff:"))
    return [name for bit, name in ((12, "CAP_NET_ADMIN"), (13, "CAP_NET_RAW")) if effective >> bit & 1]


def privileges() -> Finding:
    names = _capabilities()
    who = f"user {os.getuid()}"
    return Finding("ok", f"{who} with {', '.join(names)}" if names else f"{who}; labs need no privileges")


def namespaces() -> Finding:
    sentence = refusal()
    if sentence:
        return Finding("warn", sentence)
    return Finding("ok", "network namespaces with TAPs in them can be made: netns hosts and uplinks work")


def tun() -> Finding:
    try:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return Finding("warn", f"/dev/net/tun: {error.strerror}; TAP ports cannot be used, all others can")
    os.close(fd)
    if "CAP_NET_ADMIN" in _capabilities():
        return Finding("ok", "/dev/net/tun opens and CAP_NET_ADMIN is here: TAP ports can make their TAPs")
    other = "use tap: listen with vfab plug in a user namespace, or a TAP that root makes for you"
    return Finding("warn", f"/dev/net/tun opens, but without CAP_NET_ADMIN no port can make a TAP; {other}")


def packet() -> Finding:
    if "CAP_NET_RAW" in _capabilities():
        return Finding("ok", "CAP_NET_RAW is here: packet ports can use interfaces of this machine")
    return Finding(
        "warn", "without CAP_NET_RAW no packet port can use an interface of this machine; all others can be used"
    )


def kvm() -> Finding:
    try:
        present = stat.S_ISCHR(os.stat("/dev/kvm").st_mode)
    except OSError:
        present = False
    if not present:
        return Finding("warn", "no /dev/kvm; QEMU guests run all the same, emulated (TCG) and slower")
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return Finding("warn", "/dev/kvm is not for you (join its group, often kvm); guests run emulated (TCG)")
    from daemons.kvm import probe

    answer = probe()
    if answer.usable:
        return Finding("ok", f"KVM works: {answer.why}")
    return Finding("warn", f"/dev/kvm is only present, a guest does not get anywhere with it: {answer.why}")


def _tool(names: tuple[str, ...], purpose: str) -> Callable[[], Finding]:
    def look() -> Finding:
        found = [path for name in names if (path := shutil.which(name) or shutil.which(name, path=_SYSTEM))]
        if found:
            return Finding("ok", f"{found[0]}, for {purpose}")
        return Finding("warn", f"{names[0]} is not installed; it is wanted for {purpose}")

    return look


CHECKS: dict[str, Callable[[], Finding]] = {
    "kernel": kernel,
    "python": python,
    "compiled": compiled,
    "libzmq": libzmq,
    "run folder": run_folder,
    "state folder": state_folder,
    "open files": files,
    "privileges": privileges,
    "namespaces": namespaces,
    "tun": tun,
    "packet ports": packet,
    "kvm": kvm,
    "qemu": _tool(("qemu-system-x86_64", "qemu-system-aarch64", "qemu-kvm"), "virtual machines"),
    "qemu-img": _tool(("qemu-img",), "virtual machines that start from an image (package qemu-utils)"),
    "pasta": _tool(("pasta", "passt"), "uplinks, the way out of a lab (package passt)"),
    "nft": _tool(("nft",), "uplinks, what may leave a lab (package nftables)"),
    "ip": _tool(("ip",), "looking at namespaces: vfab exec h1 -- ip addr (package iproute2)"),
    "tshark": _tool(("tshark", "wireshark"), "looking into captures"),
    "socat": _tool(("socat",), "joining ports to programs"),
}
