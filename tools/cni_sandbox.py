"""A container's network namespace: a TAP in it, its addresses and routes; and what is there.

Knows: setns(2), `ip` of iproute2, how a TAP comes into another namespace. Refuses to know: labs, results, runtimes.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import shutil
import subprocess
from types import TracebackType
from typing import Any, Final

from daemons.netns_calls import inside
from netvirt.ports.errors import PortError
from netvirt.ports.tuntap import open_tap
from tools.cni_errors import ENVIRONMENT, FAILED, IO, NO_CONTAINER, TAKEN, CniError
from tools.cni_result import Addressing, gateway_for

_SECONDS: Final = 30.0
# Keys of a route as the specification has them -> the words of `ip route`; scopes and tables are numbers in both.
_ROUTE_WORDS: Final = {"mtu": "mtu", "advmss": "advmss", "priority": "metric", "table": "table", "scope": "scope"}


class Sandbox:
    """The namespace behind a path; a context manager. Raises CniError if there is none."""

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise CniError(NO_CONTAINER, f"the namespace {path} is not there: {error.strerror}") from None
        try:
            inside(self._fd, lambda: None)
        except OSError as error:
            os.close(self._fd)
            what = f"CNI_NETNS {path} cannot be entered: {error.strerror}"
            raise CniError(ENVIRONMENT, f"{what}; is it a network namespace of yours?") from None

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        os.close(self._fd)

    def ip(self, *words: str) -> str:
        """What `ip` says in there. Raises CniError."""
        return inside(self._fd, lambda: _ip(*words))

    def interface(self, name: str) -> dict[str, Any] | None:
        """{ifname, address, mtu, flags, addr_info: [{local, prefixlen}]}; None where there is none."""
        rows = json.loads(self.ip("-j", "address", "show") or "[]")
        return next((row for row in rows if row.get("ifname") == name), None)

    def make_tap(self, name: str, temporary: str, mac: str, mtu: int) -> int:
        """The descriptor of a new TAP in there. temporary: a name that nobody has in our own namespace.

        A descriptor keeps the namespace alive where it was opened. So it is opened in ours, and the interface moved:
        when the container's namespace goes, the interface goes with it, and the descriptor says so.
        """
        if self.interface(name) is not None:
            raise CniError(TAKEN, f"there is an interface {name} in {self.path} already; is it attached twice?")
        fd = self._opened(name, temporary)
        try:
            self.ip("link", "set", "dev", name, *(["address", mac] if mac else []), *(["mtu", str(mtu)] if mtu else []))
        except CniError:
            os.close(fd)
            raise
        return fd

    def _opened(self, name: str, temporary: str) -> int:
        try:
            fd = open_tap(temporary)
        except (PortError, BlockingIOError):  # we may have no rights where we are, and still have them in there
            return self._opened_inside(name)
        try:
            _ip("link", "set", "dev", temporary, "netns", f"/proc/self/fd/{self._fd}", "name", name, keep=self._fd)
        except CniError:
            os.close(fd)
            raise
        return fd

    def _opened_inside(self, name: str) -> int:
        try:
            return inside(self._fd, lambda: open_tap(name))
        except (PortError, BlockingIOError) as error:
            raise CniError(FAILED, f"cannot make the TAP {name}", str(error)) from None

    def configure(self, name: str, addressing: Addressing) -> None:
        """Addresses and routes. A default route that another network has made already stays."""
        if any(_version(row["address"]) == 6 for row in addressing.ips):
            with contextlib.suppress(OSError):  # runtimes turn IPv6 off until a plugin says that it is wanted
                inside(self._fd, lambda: _write(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6", "0"))
        for row in addressing.ips:
            more = ["nodad"] if _version(row["address"]) == 6 else ["broadcast", "+"]
            self.ip("address", "add", row["address"], "dev", name, *more)
        for route in addressing.routes:
            self._route(name, route, gateway_for(route, addressing))

    def _route(self, name: str, route: dict[str, Any], via: str) -> None:
        destination = ipaddress.ip_network(route["dst"], strict=False)
        words = [f"-{destination.version}", "route", "add", str(destination), *(["via", via] if via else [])]
        for key, word in _ROUTE_WORDS.items():
            if route.get(key) is not None:
                words += [word, str(route[key])]
        try:
            self.ip(*words, "dev", name)
        except CniError as error:
            if not (destination.prefixlen == 0 and "File exists" in error.msg):
                raise

    def up(self, name: str) -> None:
        self.ip("link", "set", "dev", name, "up")

    def routes(self) -> set[str]:
        """Where all routes in there lead, as CIDR."""
        found = set()
        for version, everywhere in ((4, "0.0.0.0/0"), (6, "::/0")):
            for row in json.loads(self.ip("-j", f"-{version}", "route", "show", "table", "all") or "[]"):
                with contextlib.suppress(ValueError):
                    found.add(str(ipaddress.ip_network(everywhere if row["dst"] == "default" else row["dst"])))
        return found


def _version(address: str) -> int:
    return ipaddress.ip_interface(address).version


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _ip(*words: str, keep: int = -1) -> str:
    """`ip` in the namespace of the calling thread. keep: a descriptor that it must have, too."""
    program = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        raise CniError(IO, "ip (iproute2) is not installed")
    fds = (keep,) if keep >= 0 else ()
    try:
        done = subprocess.run(
            [program, *words], capture_output=True, text=True, timeout=_SECONDS, pass_fds=fds, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CniError(IO, f"cannot run {program}", str(error)) from None
    if done.returncode:
        raise CniError(FAILED, f"ip {' '.join(words)}: {done.stderr.strip() or done.returncode}")
    return done.stdout
