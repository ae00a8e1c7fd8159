"""Whether this user may make network namespaces with TAPs in them: the one question before hosts of kind netns and
uplinks, found out by trying it.

Knows: the smallest trial, and what turns it off where it is off. Refuses to know: labs, what the namespaces are for.
Whoever has CAP_SYS_ADMIN needs no user namespace; all others get one, or a sentence.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from daemons.netns_calls import CLONE_NEWNET, CLONE_NEWUSER, unshare
from netvirt.ports.errors import PortError
from netvirt.ports.tuntap import DEVICE, open_tap

# (file, the value that turns user namespaces off for ordinary users, what root says to turn them on)
SWITCHES: Final = (
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
    ("/proc/sys/user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=10000"),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sysctl kernel.apparmor_restrict_unprivileged_userns=0",
    ),
)
_LONGEST = 4096


def refusal() -> str:
    """ "" where they work, else one sentence: what is refused, and what would help."""
    return refused(tried(_trial), switched_off())


def refused(said: str, off: str) -> str:
    """said: how the trial ended, "" if well; off: what root would say to turn them on, if that is it."""
    if not said:
        return ""
    if DEVICE in said:
        cure = f"as root: chmod 666 {DEVICE} (modprobe tun where it is not there; a container: --device {DEVICE})"
        return f"this machine refuses TAPs in network namespaces ({said}), which netns hosts and uplinks need; {cure}"
    cure = f"as root: {off}" if off else "inside a container, start that with the right to make them; or be root"
    return f"this machine refuses network namespaces ({said}), which netns hosts and uplinks need; {cure}"


def switched_off() -> str:
    """What root says to turn them on, "" where nothing known turns them off."""
    for path, off, cure in SWITCHES:
        try:
            with open(path) as file:
                if file.read().strip() == off:
                    return cure
        except OSError:
            continue  # this kernel does not have it
    return ""


def _trial() -> None:
    """In a child: a network namespace, in a user namespace if need be, and a TAP in it. Raises OSError, PortError."""
    uid, gid = os.geteuid(), os.getegid()
    try:
        unshare(CLONE_NEWNET)
    except PermissionError:
        unshare(CLONE_NEWUSER | CLONE_NEWNET)
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    open_tap("trial0")


def tried(trial: Callable[[], None]) -> str:
    """What went wrong in a child that did it, "" for nothing: an unshare() has no way back."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = "the trial broke off"
        try:
            trial()
            said = ""
        except PortError as error:
            said = str(error).partition(";")[0]
        except OSError as error:
            said = error.strerror or str(error)
        finally:
            os.write(writing, said.encode()[:_LONGEST])
            os._exit(0)
    os.close(writing)
    try:
        with open(reading, "rb") as pipe:
            return pipe.read().decode(errors="replace")
    finally:
        os.waitpid(child, 0)
