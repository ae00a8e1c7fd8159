"""A stord with its LUN, and a client of it, for the tests that begin with these."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.nbd_guest import Guest
from tests.support.pools import Stord


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="vf-") as name:
        yield Path(name)


@pytest.fixture
def stord(folder: Path) -> Iterator[Stord]:
    made = Stord(folder)
    yield made
    made.close()


@pytest.fixture
def guest(stord: Stord) -> Iterator[Guest]:
    made = Guest(stord.socket, "lun0")
    yield made
    made.close()
