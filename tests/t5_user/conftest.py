"""The installed wheel and somebody to use it, for all tests here: it is built once in a run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.installed import Installed, Nobody, need_everything, shared
from tests.support.user import BIN, vfab


@pytest.fixture(scope="session")
def installed() -> Iterator[Installed]:
    """The wheel, and the `vfab` of a venv that everybody can read; one for all processes of a test run."""
    need_everything()
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or str(os.getpid())
    with shared(Path(f"/tmp/vf-wheel-{run}")) as made:
        yield made


@pytest.fixture
def work(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to be in; whatever lab is up at the end is ended."""
    folder = home / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield folder
    vfab("down", "--all", code=None)


@pytest.fixture
def activated(monkeypatch: pytest.MonkeyPatch) -> None:
    """`vfab` is on the PATH, as after `source .venv/bin/activate`."""
    monkeypatch.setenv("PATH", f"{BIN}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def nobody(installed: Installed) -> Iterator[Nobody]:
    """Somebody without privileges, whose labs are ended at the end."""
    with tempfile.TemporaryDirectory(prefix="vf-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        somebody = Nobody(folder, installed.vfab)
        yield somebody
        somebody("down", "--all", code=None)
        assert somebody.processes() == []
