"""One pasta(1) process: the way from an uplink's namespace to the machine's own network, without privileges.

Knows: how pasta is called, watched, started again and ended. Refuses to know: leases, rules, who sends packets.

We stay in the network where this process began, so pasta gets out there; it enters the namespace by a path. That path
is a file in a folder of our own, on which the namespace is mounted for pasta alone: newer ones close all descriptors
that they inherit. pasta ends when that file goes, so whoever removes the folder (our successor, or `vfab down`
after everything was killed) ends it, too, without knowing of it. Nothing else is in there: of several files that go
together it notices the first one only. AppArmor's profile of Debian's package lets it read
namespaces below /run/user/*/netns/ only: for pasta the folder lies there.
As root it keeps user 0: as nobody it would lose the right to enter a namespace that is root's. It gives up the file
system and all but two capabilities before it looks at a packet.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable
from typing import IO, Final

from daemons.errors import UserError
from daemons.loop import Loop, Timer
from daemons.netns_calls import CLONE_NEWNS, MS_BIND, MS_REC, MS_SLAVE, mount, unshare
from daemons.uplink_config import WAN, Way
from daemons.uplink_rules import find

_USER_FOLDERS: Final = "/run/user"
_FIRST_SECONDS, _LONGEST_SECONDS = 0.5, 30.0  # before it is started again
_SETTLED_NS: Final = 10_000_000_000  # one that ran for so long was no failed start
_GRACE_SECONDS: Final = 1.0
_TAIL: Final = 4096


def command(way: Way, place: str) -> list[str]:
    """pasta's arguments; place: the path of the namespace.

    No port of the machine leads in, none of the namespace out but by its routes. IPv4 only: nothing here tells clients
    of IPv6.
    """
    arguments = [
        "--foreground", "--quiet", "--runas", "0", "--ipv4-only", "--config-net", "--ns-ifname", WAN,
        "--address", way.own, "--netmask", str(way.prefix), "--gateway", way.gateway,
        "--tcp-ports", "none", "--udp-ports", "none", "--tcp-ns", "none", "--udp-ns", "none",
    ]  # fmt: skip
    if not way.host:
        arguments.append("--no-map-gw")
    return [*arguments, "--dns", "none", "--netns", place]


class Pasta:
    """Keeps one running for the namespace `netns` (a descriptor). `folder`: ours alone, made and removed here."""

    def __init__(self, loop: Loop, name: str, netns: int, folder: str, way: Way) -> None:
        self.problem = ""
        self.starts = 0
        self._loop = loop
        self._name = name
        self._netns = netns
        self._folder = folder
        self.way = way
        self._child: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._since = 0
        self._wait = _FIRST_SECONDS
        self._again: Timer | None = None

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child is not None else None

    def start(self) -> None:
        """Raises UserError; one that ends later is started again."""
        program = find("pasta")
        if program is None:
            raise UserError(
                f"{self._name} has no way out: the program pasta is missing; install the package passt, then vfab up"
            )
        try:
            self._make_folder()
            with open(self._log, "wb") as log:
                self._child = self._spawn(program, log)
            self._pidfd = os.pidfd_open(self._child.pid)
        except (OSError, subprocess.SubprocessError) as error:
            raise UserError(
                f"{self._name} has no way out: {program} was not started: {getattr(error, 'strerror', None) or error}"
            ) from None
        self.starts += 1
        self._since = self._loop.now()
        self._loop.reader(self._pidfd, self._ended)

    @property
    def _log(self) -> str:
        return f"{self._folder}.log"

    def _make_folder(self) -> None:
        """Removing the old one ends the pasta of a predecessor."""
        shutil.rmtree(self._folder, ignore_errors=True)
        os.makedirs(self._folder, 0o700, exist_ok=True)
        os.close(os.open(self._target(self._folder), os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))

    def _target(self, folder: str) -> str:
        return os.path.join(folder, self._name)

    def _spawn(self, program: str, log: IO[bytes]) -> subprocess.Popen[bytes]:
        seen = f"{_USER_FOLDERS}/{os.getuid()}/netns" if os.path.isdir(_USER_FOLDERS) else self._folder
        # `ps` shows the lab, too; pasta knows that it is not passt by the last part of its name.
        arguments = [f"{self._folder}/pasta", *command(self.way, self._target(seen))]
        return subprocess.Popen(
            arguments, executable=program, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            cwd="/", preexec_fn=lambda: self._place(seen),
        )  # fmt: skip

    def _place(self, seen: str) -> None:
        """In the child: file systems of its own, in which the namespace lies at `seen`."""
        unshare(CLONE_NEWNS)
        mount("none", "/", "", MS_REC | MS_SLAVE)
        mount(f"/proc/self/fd/{self._netns}", self._target(self._folder), "", MS_BIND)
        if seen != self._folder:
            folder = os.open(self._folder, os.O_PATH)  # it may lie in what is covered now
            mount("virtfab", _USER_FOLDERS, "tmpfs", 0)
            os.makedirs(seen)
            mount(f"/proc/self/fd/{folder}", seen, "", MS_BIND | MS_REC)

    def _ended(self) -> None:
        assert self._child is not None
        code = self._reap()
        if self._loop.now() - self._since > _SETTLED_NS:
            self._wait = _FIRST_SECONDS
        self.problem = (
            f"{self._name} has no way out: pasta ended with exit code {code}{self._last_words()}; "
            f"it is started again in {self._wait:g} s"
        )
        self._later()

    def _later(self) -> None:
        self._again = self._loop.call_later(self._wait, self._restart)
        self._wait = min(self._wait * 2, _LONGEST_SECONDS)

    def _restart(self) -> None:
        self._again = None
        try:
            self.start()
        except UserError as error:
            self.problem = str(error)
            self._later()

    def settled(self) -> None:
        """It has made its interface: whatever was wrong before is over."""
        self.problem = ""

    def _last_words(self) -> str:
        with contextlib.suppress(OSError), open(self._log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
            # It says so of each line where there is no system log.
            said = [line for line in lines if line and not line.startswith("Failed to send")]
            return f" ({said[-1]:.160})" if said else ""
        return ""

    def _reap(self, kill: Callable[[subprocess.Popen[bytes]], None] = lambda child: None) -> int:
        child, self._child = self._child, None
        assert child is not None
        self._loop.reader(self._pidfd, None)
        os.close(self._pidfd)
        kill(child)
        return child.wait()

    def stop(self) -> None:
        """Ends it, at most a second later; start() may follow."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._child is not None:
            self._reap(_end)
        self._wait = _FIRST_SECONDS
        self.problem = ""

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.unlink(self._log)


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
