"""An NBD export as a mounted ext4: nbdfuse shows it as a file, a loop device makes it a disk, the kernel mounts it.

Knows: which programs, in which order, and how to get rid of them when the server has died underneath.
Refuses to know: who serves, and what is written.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import TracebackType

from tests.support.peers import missing, need
from tests.support.waiting import until

SECONDS = 60.0


def run(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    return subprocess.run(
        [need(program), *map(str, arguments)], env=environment, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=SECONDS, check=False,
    )  # fmt: skip


def done(program: str, *arguments: str | Path) -> str:
    ended = run(program, *arguments)
    assert ended.returncode == 0, f"{program}: {ended.returncode}\n{ended.stdout}{ended.stderr}"
    return ended.stdout.strip()


class Disk:
    """The export as a file (`file`), from nbdfuse. `mount()` and `unmount()` may take turns.

    When it ends everything is taken away again, whatever state it is in.
    """

    def __init__(self, folder: Path, uri: str) -> None:
        if os.geteuid() != 0 or not os.path.exists("/dev/loop-control") or not os.path.exists("/dev/fuse"):
            missing("the right to mount (root, /dev/fuse and /dev/loop-control)")
        self._fuse, self.root = folder / "fuse", folder / "root"
        for path in (self._fuse, self.root):
            path.mkdir(exist_ok=True)
        self.file = self._fuse / "nbd"
        self._loop = ""
        self._mounted = False
        self._process = subprocess.Popen(
            [need("nbdfuse"), f"{self._fuse}/", uri], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(lambda: self.file.exists() or self._process.poll() is not None, what="nbdfuse's file")
        assert self._process.poll() is None, f"nbdfuse ended with {self._process.returncode}"

    def make(self) -> None:
        """A new file system, with a journal."""
        done("mkfs.ext4", "-q", "-F", self.file)

    def mount(self) -> None:
        """The kernel replays the journal if there is one to replay."""
        self._loop = done("losetup", "--find", "--show", self.file)
        done("mount", "-o", "discard", self._loop, self.root)
        self._mounted = True

    def unmount(self) -> None:
        done("umount", self.root)
        self._mounted = False
        done("losetup", "--detach", self._loop)
        self._loop = ""

    def check(self) -> None:
        """Not one thing is wrong with the file system, which is not mounted."""
        said = run("e2fsck", "-fn", self.file)
        assert said.returncode == 0, said.stdout + said.stderr

    def __enter__(self) -> Disk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._mounted:
            run("umount", "--lazy", self.root)
        if self._loop:
            run("losetup", "--detach", self._loop)
        run("umount", "--lazy", self._fuse)
        try:
            self._process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
