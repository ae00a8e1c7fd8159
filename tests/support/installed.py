"""The wheel as a stranger has it: of the tracked files, installed beside the distribution's own Python, and used by a
user without a name, without privileges, and without anything in his home. Its modules are those of `make build` where
they fit that Python; else they are compiled.

Knows: git's files, pip, setpriv (util-linux). Refuses to know: what is tried with it. Building needs setuptools and
Cython, installing what virtfab depends on: pip takes them from its cache or from the network.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support import peers
from tests.support.user import Answer, run

ROOT = Path(__file__).parents[2]
PYTHON = Path("/usr/bin/python3")
NOBODY = 65534  # what Linux calls nobody
TUN = "/dev/net/tun"
BUILD_SECONDS = 400
PIP = ("-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input")
ALONE = (
    f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all",
    "--no-new-privs",
)  # fmt: skip


class Installed(NamedTuple):
    wheel: Path
    vfab: Path


def need_everything() -> None:
    """Skips the test (in CI: fails it) where a wheel cannot be built here, or nobody can become somebody else."""
    for program in ("git", "setpriv"):
        peers.need(program)
    if not PYTHON.exists():
        peers.missing(f"{PYTHON} (Debian: python3-venv, python3-dev)")
    if os.geteuid() != 0:
        peers.missing("root, to become another user,")


@contextlib.contextmanager
def shared(folder: Path) -> Iterator[Installed]:
    """What is installed in `folder`: whoever comes first makes it, whoever is the last to leave takes it away."""
    folder.mkdir(mode=0o755, exist_ok=True)
    users, made = folder / "users", folder / "made"
    with _alone(folder):
        if not made.exists():
            before = os.umask(0o022)
            try:
                folder.chmod(0o755)
                made.write_text(str(_install(folder)))
            finally:
                os.umask(before)
        users.write_bytes((users.read_bytes() if users.exists() else b"") + b".")
    try:
        yield Installed(Path(made.read_text()), folder / "venv/bin/vfab")
    finally:
        with _alone(folder):
            users.write_bytes(users.read_bytes()[1:])
            if not users.read_bytes():
                shutil.rmtree(folder)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _install(folder: Path) -> Path:
    """Builds the wheel and installs it below `folder`, which takes half a minute."""
    python = str(folder / "venv/bin/python")
    _done(str(PYTHON), "-m", "venv", str(folder / "venv"))
    _done(python, *PIP, "install", "setuptools>=77", "Cython>=3.1")
    source = _copied(folder / "source", python)  # after Cython, so that nothing made is older than its own files
    _done(python, *PIP, "wheel", "--no-build-isolation", "--no-deps", "-w", str(folder / "dist"), str(source))
    (wheel,) = (folder / "dist").iterdir()
    _done(python, *PIP, "install", str(wheel))
    return wheel


def tracked(*patterns: str) -> list[str]:
    """The files that git knows, those that are deleted just now left out."""
    git = [peers.need("git"), "-c", f"safe.directory={ROOT}", "-C", str(ROOT), "ls-files", "-z", *patterns]
    names = subprocess.run(git, capture_output=True, check=True, text=True).stdout.split("\0")
    return [name for name in names if name and (ROOT / name).exists()]


def _copied(target: Path, python: str) -> Path:
    """A clean copy of the tree: what git knows, and what `make build` has made of it where that fits this Python."""
    names = tracked()
    for name in names:
        _copy(name, target / name)
    ask = "import sys; from sysconfig import get_config_var as get, get_platform as platform; "
    ask += "print(get('EXT_SUFFIX'), platform(), sys.implementation.cache_tag)"
    told = subprocess.run([python, "-c", ask], capture_output=True, check=True, text=True).stdout
    suffix, platform, tag = told.split()
    sources = [Path(name).with_suffix("") for name in names if name.endswith(".pyx")]
    # The C files are the same for every Python, and later than what they are made of; the modules later than these.
    made = {f"{source}.c": f"{source}.c" for source in sources}
    made |= {f"{source}{suffix}": f"build/lib.{platform}-{tag}/{source}{suffix}" for source in sources}
    for name, place in made.items():
        if (ROOT / name).exists():
            _copy(name, target / place)
    return target


def _copy(name: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(ROOT / name, target)


def _done(*command: str) -> None:
    run(*command, seconds=BUILD_SECONDS, env={"PYTHONPATH": None, "VFAB_OPTIMISE": "-O0"})


class Nobody:
    """Somebody with an empty home and an empty working folder; `vfab` runs there without a privilege."""

    def __init__(self, folder: Path, vfab: Path) -> None:
        self._vfab = vfab
        self._first: tuple[str, ...] = ()
        self.home, self.work = folder / "home", folder / "work"
        for place in (self.home, self.work):
            place.mkdir(mode=0o700)
            os.chown(place, NOBODY, NOBODY)

    def __call__(self, *arguments: str, code: int | None = 0, **variables: str) -> Answer:
        """In the environment of a machine that has just started: no XDG folders, nothing of ours."""
        *prefix, program = self.command(**variables)
        return run(program, *arguments, code=code, cwd=self.work, prefix=prefix)

    def command(self, **variables: str) -> list[str]:
        """`vfab` as he runs it, for those who start it themselves."""
        usual = {"HOME": str(self.home), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "NO_COLOR": "1"}
        environment = ("env", "-i", *(f"{name}={value}" for name, value in {**usual, **variables}.items()))
        return [*self._first, "setpriv", *ALONE, *environment, str(self._vfab)]

    def use_tun(self) -> None:
        """Where only root may open /dev/net/tun, he sees one that is open to all, as on most machines."""
        if os.stat(TUN).st_mode & 0o006 == 0o006:
            return
        node = str(self.home.parent / "tun")
        os.mknod(node, 0o666 | stat.S_IFCHR, os.stat(TUN).st_rdev)
        os.chmod(node, 0o666)
        self._first = ("unshare", "-m", "sh", "-c", f'mount --bind "$0" {TUN} && exec "$@"', node)

    def processes(self) -> list[str]:
        """The command lines of all that run with this home."""
        mark, found = f"HOME={self.home}".encode(), []
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                if mark in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"):
                    found.append(Path(f"/proc/{entry}/cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
        return found
