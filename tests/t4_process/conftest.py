"""A stord with its LUN and a client of it, and switches, for the tests that begin with these."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.nbd_guest import Guest
from tests.support.pools import Stord
from tests.support.switches import Make, Switch


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


@pytest.fixture
def make(home: Path) -> Iterator[Make]:
    """Makes switches: `make("s1", port(...), ...)`. Each is ended, and must not have made a mistake of ours."""
    made: list[Switch] = []

    def one(name: str, *ports: dict[str, Any], **options: Any) -> Switch:
        made.append(Switch(home / "run", name, list(ports), **options))
        return made[-1]

    yield one
    for switch in made:
        switch.close()
        assert "internal error" not in switch.log.read_text()
