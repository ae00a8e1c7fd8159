"""Real container programs (Podman, LXC) in mount and network namespaces of their own, as root, with a root file system
that has busybox only.

Knows: what these programs need of a machine, and how they get it where it is not there. Refuses to know: labs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from tests.support import peers
from tests.support.user import Answer, run

SECONDS = 60.0
APPLETS = ("sh", "ip", "ping", "sleep", "true")
_WAIT = "import sys; print('ready', flush=True); sys.stdin.read()"
# Where a machine has both versions of cgroups, crun refuses to run at all; these containers have no limits to be kept.
_CGROUPS = "if [ -d /sys/fs/cgroup/unified ]; then umount -l /sys/fs/cgroup; mount -t tmpfs none /sys/fs/cgroup; fi"


class Space:
    """Namespaces that live as long as this; `inside` is the command that runs another one there."""

    def __init__(self) -> None:
        if os.geteuid() != 0:
            peers.missing("root, which has containers without a file of sub-ids")
        unshare, script = peers.need("unshare"), f'{_CGROUPS}; exec {sys.executable} -c "{_WAIT}"'
        self._process = subprocess.Popen(
            [unshare, "-m", "-n", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None and self._process.stdout.readline() == b"ready\n"
        self.inside = (peers.need("nsenter"), "-t", str(self._process.pid), "-m", "-n")

    def run(self, *words: str, code: int | None = 0, **environment: str | None) -> Answer:
        return run(*words, code=code, prefix=self.inside, env=environment)

    def __enter__(self) -> Space:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(SECONDS)


def root_folder(folder: Path) -> Path:
    """What a container has as its `/`."""
    made = folder / "rootfs"
    for name in ("bin", "proc", "sys", "dev", "etc", "tmp", "run"):
        (made / name).mkdir(parents=True)
    shutil.copy(peers.need("busybox"), made / "bin/busybox")
    for applet in APPLETS:
        (made / "bin" / applet).symlink_to("busybox")
    return made


class Podman:
    """Podman with the CNI backend, its state below `folder`. plugins: folders of plugins; networks: of conflists."""

    def __init__(self, space: Space, folder: Path, plugins: list[str], networks: Path) -> None:
        self._space = space
        self._program = peers.need("podman")
        self._root = root_folder(folder)
        self._options = (
            "--root",
            str(folder / "root"),
            "--runroot",
            str(folder / "runroot"),
            "--storage-driver",
            "vfs",
        )
        self._conf = folder / "containers.conf"
        quoted = ", ".join(f'"{each}"' for each in plugins)
        limits = '"nofile=1024:1024", "nproc=1024:1024"'  # more than its caller has it could not give
        self._conf.write_text(
            f'[containers]\ncgroups = "disabled"\ndefault_ulimits = [{limits}]\n'
            f'[network]\nnetwork_backend = "cni"\ncni_plugin_dirs = [{quoted}]\nnetwork_config_dir = "{networks}"\n'
            '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\n'
        )
        if self("run", "--rm", "--network", "none", "--rootfs", str(self._root), "/bin/true", code=None).code:
            peers.missing("a Podman that can run a container")

    def __call__(self, *words: str, code: int | None = 0) -> Answer:
        return self._space.run(self._program, *self._options, *words, code=code, CONTAINERS_CONF=str(self._conf))

    def start(self, name: str, network: str) -> None:
        self("run", "-d", "--name", name, "--network", network, "--rootfs", str(self._root), "/bin/sleep", "1000")

    def reaches(self, name: str, address: str) -> bool:
        return self("exec", name, "ping", "-c", "1", "-w", "3", address, code=None).code == 0

    def close(self) -> None:
        self("rm", "-f", "-t", "0", "-a", code=None)
