"""What every test has: a hard time limit, and (on demand) a home of its own that nothing may survive.

Which tests run: those marked `long` only with VFAB_LONG=1; and with VFAB_CI=1 a test that is skipped has failed.
"""

from __future__ import annotations

import faulthandler
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from types import FrameType
from typing import TypeVar

import pytest

from daemons import process as processes

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)
TIME_LIMIT = 120
ROOT = Path(__file__).parents[1]

# Started in the background of a shell, SIGINT is ignored, and so it would be by the commands whose Ctrl-C is tested.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
GRACE = 4.0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long ones are deselected, not skipped: in CI nothing may be skipped, and they are not meant to run there."""
    if os.environ.get("PYTEST_XDIST_WORKER"):  # the files that take longest first: at the end nobody waits for one
        items.sort(key=lambda item: item.path.parts[len(ROOT.parts) + 1], reverse=True)
    if os.environ.get("VFAB_LONG") == "1":
        return
    long = [item for item in items if item.get_closest_marker("long")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _no_skips((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """For `pytest.skip(allow_module_level=True)` and `importorskip`."""
    return _no_skips((yield))


def _no_skips(report: Report) -> Report:
    expected = hasattr(report, "wasxfail")
    if os.environ.get("VFAB_CI") == "1" and report.skipped and not expected:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{reason} - and with VFAB_CI=1 nothing may be skipped"
    return report


@pytest.fixture(autouse=True)
def time_limit(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test may hang: after the limit it fails where it stands, with the stacks of all threads."""
    seconds = 3600 if request.node.get_closest_marker("long") else TIME_LIMIT

    def too_long(signum: int, frame: FrameType | None) -> None:
        faulthandler.dump_traceback(file=sys.__stderr__)
        pytest.fail(f"the test took longer than {seconds} s", pytrace=True)

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(seconds)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def _living_in(folder: str) -> dict[processes.Process, str]:
    """The processes whose XDG_RUNTIME_DIR is below `folder`."""
    wanted = b"XDG_RUNTIME_DIR=" + os.fsencode(folder)
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            environment = Path(f"/proc/{name}/environ").read_bytes()
            command = Path(f"/proc/{name}/cmdline").read_bytes()
        except OSError:
            continue
        process = processes.identify(int(name))
        own = int(name) == os.getpid()
        if not own and process and any(entry.startswith(wanted) for entry in environment.split(b"\0")):
            found[process] = command.replace(b"\0", b" ").decode(errors="replace")
    return found


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path that nobody else may enter: a unix socket's has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="vf-", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A short private folder with `run`, `state` and `home` in it; fails if a process stays in it."""
    folder = tempfile.mkdtemp(prefix="vf-", dir="/tmp")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)  # data then goes below HOME
    for name, variable in (("run", "XDG_RUNTIME_DIR"), ("state", "XDG_STATE_HOME"), ("home", "HOME")):
        os.mkdir(os.path.join(folder, name), 0o700)
        monkeypatch.setenv(variable, os.path.join(folder, name))
    monkeypatch.delenv("NO_COLOR", raising=False)
    yield Path(folder)
    monkeypatch.undo()  # what a test put in place of os functions must not hinder the tidying up
    survivors = _living_in(folder)
    deadline = time.monotonic() + GRACE
    while survivors and time.monotonic() < deadline:  # some may just be ending
        time.sleep(0.02)  # they are not ours to wait for
        survivors = _living_in(folder)
    for process in survivors:
        processes.end(process, signal.SIGKILL, 5.0)
    shutil.rmtree(folder, ignore_errors=True)
    assert not survivors, f"the test left processes behind: {list(survivors.values())}"
