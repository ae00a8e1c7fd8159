"""Which ids a user may give away, as subuid(5) writes them."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from daemons.netns_users import _granted

NAME = pwd.getpwuid(os.getuid()).pw_name
NOBODY_HERE = 4_000_000_000  # a uid without a name


@pytest.mark.parametrize(
    ("text", "uid", "granted"),
    [
        ("", os.getuid(), None),
        (f"{NAME}:100000:65536\n", os.getuid(), (100000, 65536)),
        (f"{os.getuid()}:100000:65536\n", os.getuid(), (100000, 65536)),
        (f"someone:1:2\n{NAME}:300000:5\n{NAME}:400000:6\n", os.getuid(), (300000, 5)),
        (f"{NAME}:100000:0\n", os.getuid(), None),
        (f"{NAME}:x:y\n{NAME}:1\n:::\n#\n", os.getuid(), None),
        ("4000000000:7:8\n", NOBODY_HERE, (7, 8)),
        (f"{NAME}x:7:8\n", os.getuid(), None),
    ],
)
def test_the_first_range_of_a_user(tmp_path: Path, text: str, uid: int, granted: tuple[int, int] | None) -> None:
    file = tmp_path / "subuid"
    file.write_text(text)
    assert _granted(str(file), uid) == granted


def test_a_machine_without_the_file(tmp_path: Path) -> None:
    assert _granted(str(tmp_path / "subuid"), os.getuid()) is None
