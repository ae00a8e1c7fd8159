"""The `vfab` command as the installed script, run the way a user runs it; and what every answer must be like.

Knows: the script beside this Python, words, exit codes. Refuses to know: labs. Tests that need a lab kept up over many
commands have `command.Vfab`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.vfab import main

# Not resolved: in a venv the interpreter is a link, and the scripts are beside the link.
BIN = Path(sys.executable).parent
SECONDS = 60.0


class Answer:
    """What a command said. A traceback in it fails the test at once, whatever the test looks for."""

    def __init__(self, arguments: Sequence[str], done: subprocess.CompletedProcess[str]) -> None:
        self.code, self.out, self.err = done.returncode, done.stdout or "", done.stderr or ""
        self.told = f"{' '.join(map(str, arguments))}: exit code {self.code}\n{self.out}{self.err}"
        assert "Traceback" not in self.out + self.err and "internal error" not in self.err, self.told

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def sentence(self) -> str:
        """The one line on stderr, without its `vfab: ` or `vfab VERB: `; fails where there are more lines, or none."""
        lines = self.err.splitlines()
        assert len(lines) == 1 and re.match(r"vfab[ a-z]*: ", lines[0]) and self.err.endswith("\n"), self.told
        assert lines[0].isprintable(), self.told
        return lines[0].partition(": ")[2]


def run(
    *arguments: str, code: int | None = 0, cwd: str | os.PathLike[str] | None = None, seconds: float = SECONDS,
    prefix: Sequence[str] = (), env: dict[str, str | None] | None = None,
) -> Answer:  # fmt: skip
    """Run any program; `env` changes the environment (None takes a variable out); `code` None takes any exit code."""
    environment = {**os.environ, "NO_COLOR": "1"}
    for name, value in (env or {}).items():
        environment.pop(name, None)
        if value is not None:
            environment[name] = value
    command = [*prefix, *arguments]
    done = subprocess.run(
        command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds,
        check=False,
    )  # fmt: skip
    answer = Answer(command, done)
    assert code is None or answer.code == code, answer.told
    return answer


def vfab(
    *arguments: str, code: int | None = 0, cwd: str | os.PathLike[str] | None = None, seconds: float = SECONDS,
    prefix: Sequence[str] = (), **env: str | None,
) -> Answer:  # fmt: skip
    """Run the installed `vfab`; keyword arguments in capitals are environment variables."""
    return run(str(BIN / "vfab"), *arguments, code=code, cwd=cwd, seconds=seconds, prefix=prefix, env=env)


def inside(*arguments: str) -> Answer:
    """Like `vfab(..., code=None)` but in this process, which is faster: for many mistakes, not for labs."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code: object = main(arguments)
        except SystemExit as end:
            code = end.code
    assert isinstance(code, int)
    return Answer(arguments, subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue()))


def left_in(folder: Path) -> list[str]:
    """Everything below a folder but folders, relative to it: sockets, locks, logs, keys."""
    found = (Path(where, name) for where, _, names in os.walk(folder) for name in names)
    return sorted(str(path.relative_to(folder)) for path in found)


def free_port() -> int:
    """A TCP port of the loopback interface that nobody had a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
