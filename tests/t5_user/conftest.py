"""The installed wheel and somebody to use it, for all tests here: it is built once in a run."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.installed import Installed, Nobody, install, need_everything


@pytest.fixture(scope="session")
def installed() -> Iterator[Installed]:
    """The wheel, and the `vfab` of a venv that everybody can read."""
    need_everything()
    folder = Path(tempfile.mkdtemp(prefix="vf-wheel-", dir="/tmp"))
    before = os.umask(0o022)
    try:
        folder.chmod(0o755)
        made = install(folder)
        os.umask(before)
        yield made
    finally:
        os.umask(before)
        shutil.rmtree(folder, ignore_errors=True)


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
