"""The copy of a lab for `vfab run --fresh`: its pools lie inside its own folder, wherever the file says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from daemons.lab import yamltree
from tools import fresh

LAB = "name: x\nstorage:\n  pools:\n    p0:\n      size: 64MiB\n      members: [{}]\n"


def _read(path: str) -> Any:
    return yamltree.read(Path(path).read_text())[0].plain()


@pytest.mark.parametrize(
    "members",
    [["a.img"], ["./disks/a.img", "disks/b.img"], ["../disks/a.img", "b.img"], ["../../a.img", "x/../../b.img"]],
)
def test_members_that_are_relative_to_the_file_lie_in_the_copys_folder(tmp_path: Path, members: list[str]) -> None:
    folder, source = tmp_path / "one" / "copy", tmp_path / "labs" / "lab.fab.yml"
    folder.mkdir(parents=True)
    source.parent.mkdir()
    source.write_text(LAB.format(", ".join(members)))
    path = Path(fresh.copy(str(source), str(folder)))
    assert path.is_relative_to(folder) and path.name == source.name
    places = [Path(os.path.normpath(path.parent / member)) for member in members]
    assert len(set(places)) == len(members)
    assert all(place.is_relative_to(folder) and place.parent.is_dir() for place in places)
    assert sorted(tmp_path.iterdir()) == [source.parent, folder.parent] and list(folder.parent.iterdir()) == [folder]


def test_absolute_members_are_the_users_own(tmp_path: Path) -> None:
    own = tmp_path / "mine" / "a.img"
    source, folder = tmp_path / "lab.fab.yml", tmp_path / "copy"
    folder.mkdir()
    source.write_text(LAB.format(own))
    made = _read(fresh.copy(str(source), str(folder)))
    assert made["storage"]["pools"]["p0"]["members"] == [str(own)] and not own.parent.exists()


@pytest.mark.parametrize(
    "word", ["1_000", "0o17", "0b11", "=", "on", "2001-12-14t21:59:43Z", "02:00:00:00:00:01", "010"]
)
def test_words_mean_in_the_copy_what_they_meant(tmp_path: Path, word: str) -> None:
    source, folder = tmp_path / "lab.fab.yml", tmp_path / "copy"
    folder.mkdir()
    source.write_text(f"name: x\ntopology:\n  description: {word}\n")
    assert _read(fresh.copy(str(source), str(folder))) == _read(str(source))
