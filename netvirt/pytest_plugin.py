"""A pytest plugin for other people's tests: the fixture `vfab_lab` starts labs, each a fresh copy that ends with the
test.

    def test_mine(vfab_lab):
        lab = vfab_lab("office.fab.yml")          # relative to the test's folder; or "--topo", "single,4"
        nic = netvirt.Nic.connect(lab["VFAB_PORT_S1_ETH1"])
        disk = lab["NBD_URI"]

pytest finds it by itself where virtfab is installed. The variables are those of `vfab run`.
Knows: the command line of `vfab run --fresh`. Refuses to know: labs. So nothing of virtfab is imported into a test
run that does not ask for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

LabStarter = Callable[..., dict[str, str]]

START_SECONDS = 60.0
END_SECONDS = 30.0
# Says what it was given, then waits for its standard input to end, as it does when we are gone.
_WAITER = (
    "import json, os, sys; v = {k: t for k, t in os.environ.items() if k.startswith('VFAB_') or k == 'NBD_URI'}; "
    "print(json.dumps(v), flush=True); sys.stdin.read()"
)


class LabProblem(Exception):
    """A lab that did not come up: what vfab said."""


@contextlib.contextmanager
def running(*words: str, cwd: str | os.PathLike[str] | None = None) -> Iterator[dict[str, str]]:
    """A fresh copy of a lab is up; words: a file, or "--topo", "single,4". Raises LabProblem."""
    python = (sys.executable, "-P")
    command = [*python, "-m", "tools.vfab", "run", "--fresh", *words, "--", *python, "-c", _WAITER]
    with tempfile.TemporaryFile() as said:
        # A session of its own: a Ctrl-C is for the tests, which end the lab.
        child = subprocess.Popen(
            command, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, start_new_session=True
        )
        try:
            yield _variables(child, said.fileno())
        finally:
            _end(child)


def _variables(child: subprocess.Popen[bytes], said: int) -> dict[str, str]:
    assert child.stdout is not None
    ready, _, _ = select.select([child.stdout], [], [], START_SECONDS)
    line = child.stdout.readline() if ready else b""
    if not line:
        raise LabProblem(os.pread(said, 4096, 0).decode(errors="replace").strip() or "the lab did not come up")
    found: dict[str, str] = json.loads(line)
    return found


def _end(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None and child.stdout is not None
    child.stdin.close()
    try:
        child.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()  # the lab ends all the same: its controller misses us
        child.wait()
    child.stdout.close()


@pytest.fixture
def vfab_lab(request: pytest.FixtureRequest) -> Iterator[LabStarter]:
    """`vfab_lab(FILE)` or `vfab_lab("--topo", SHAPE)` -> the lab's variables; it is down after the test."""
    with contextlib.ExitStack() as stack:
        folder = Path(request.path).parent

        def start(*words: str | os.PathLike[str]) -> dict[str, str]:
            return stack.enter_context(running(*(os.fspath(word) for word in words), cwd=folder))

        yield start
