"""The vfab command as a user has it: a shell's folder, an environment of its own, and the lab taken down at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

SECONDS = 60.0


class Vfab:
    """Runs `vfab` with private XDG folders. The path is short: a unix socket's has 107 bytes at most.

    with Vfab(lab_text) as vfab:
        vfab("up", vfab.file)
    """

    def __init__(self, lab: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="vf-")
        self.path = Path(self._folder.name)
        self.file = str(self.path / "lab.fab.yml")
        Path(self.file).write_text(lab)
        self.environment = {**os.environ, "NO_COLOR": "1"}
        for name, folder in (("XDG_RUNTIME_DIR", "run"), ("XDG_STATE_HOME", "state"), ("HOME", "home")):
            (self.path / folder).mkdir(mode=0o700)
            self.environment[name] = str(self.path / folder)
        self._started: list[subprocess.Popen[bytes]] = []

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-P", "-m", "tools.vfab", *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Whatever its exit code is."""
        return subprocess.run(
            self.argv(*arguments), env=self.environment, cwd=self.path, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=SECONDS, check=False,
        )  # fmt: skip

    def __call__(self, *arguments: str) -> str:
        """The output of a command that has to succeed."""
        done = self.run(*arguments)
        assert done.returncode == 0, f"vfab {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json"))

    def start(self, *arguments: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
        """A command that goes on; ended with the rest."""
        process = subprocess.Popen(
            self.argv(*arguments), env=self.environment, cwd=self.path, stdin=subprocess.DEVNULL, stdout=stdout,
            stderr=subprocess.PIPE,
        )  # fmt: skip
        self._started.append(process)
        return process

    def __enter__(self) -> Vfab:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()
        self.run("down")
        self._folder.cleanup()
