"""Folders and sockets: the XDG ones, the private fallback, and a sentence for each thing that can be wrong."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from daemons import paths
from daemons.locks import Lock
from daemons.paths import LabPaths, PathError, keys_folder, known_labs, lab_id, run_root, state_root

FALLBACK = f"/tmp/virtfab-{os.getuid()}"


def test_lab_id_is_short_and_tells_files_apart(home: Path) -> None:
    one = lab_id("two-switches", home / "a.fab.yml")
    assert one.startswith("two-switches-") and len(one) == len("two-switches-") + 8
    assert one != lab_id("two-switches", home / "b.fab.yml")
    os.symlink(home / "a.fab.yml", home / "link")
    assert lab_id("two-switches", home / "link") == one
    assert len(lab_id("n" * 100, "x")) == 29
    assert "/" not in lab_id("../../etc", "x")


def test_xdg_folders(home: Path) -> None:
    places = LabPaths("lab-12345678")
    assert not (home / "run" / "virtfab").exists(), "asking makes nothing"
    places.create()
    places.create()
    assert places.run == str(home / "run/virtfab/lab-12345678")
    assert places.control("s1") == places.run + "/s1.ctl"
    assert places.zmq("s1") == places.run + "/s1.zmq"
    assert places.qemu("s1", "eth5") == places.run + "/s1-eth5.qemu"
    assert places.lock("s1") == places.run + "/s1.lock"
    assert places.log("s1") == str(home / "state/virtfab/labs/lab-12345678/logs/s1.log")
    for folder in (places.run, os.path.dirname(places.run)):
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    assert known_labs() == ["lab-12345678"]
    assert keys_folder() == str(home / "state/virtfab/keys")


@pytest.mark.parametrize("trouble", ["unset", "relative", "missing", "open to others", "too long", "a file"])
def test_the_fallback(home: Path, monkeypatch: pytest.MonkeyPatch, trouble: str) -> None:
    run = home / "run"
    if trouble == "unset":
        monkeypatch.delenv("XDG_RUNTIME_DIR")
    elif trouble == "open to others":
        run.chmod(0o755)
    elif trouble == "too long":
        run = home / ("x" * 60)
        run.mkdir(mode=0o700)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(run))
    else:
        (home / "file").touch(mode=0o600)
        names = {"relative": "run", "missing": str(home / "no"), "a file": str(home / "file")}
        monkeypatch.setenv("XDG_RUNTIME_DIR", names[trouble])
    assert run_root() == FALLBACK


def test_a_foreign_xdg_folder_is_not_used(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths.os, "getuid", lambda: 12345)
    assert run_root() == "/tmp/virtfab-12345"


def test_a_run_folder_that_is_a_link_or_open_or_foreign_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = home / "run" / "virtfab"
    (home / "elsewhere").mkdir(mode=0o700)
    root.symlink_to(home / "elsewhere")
    with pytest.raises(PathError, match="is no folder but a link or a file; remove it"):
        run_root()
    root.unlink()
    root.mkdir()
    root.chmod(0o750)
    with pytest.raises(PathError, match=f"others may look into {root}; run: chmod 700 {root}"):
        run_root()
    root.chmod(0o700)
    status = os.lstat(root)
    foreign = os.stat_result([*status[:4], 4321, *status[5:]])
    with monkeypatch.context() as patch:
        patch.setattr(paths.os, "lstat", lambda path: foreign)
        with pytest.raises(PathError, match="belongs to user 4321, not to you; set XDG_RUNTIME_DIR"):
            run_root()


def test_state_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "relative/is/ignored")
    assert state_root() == str(home / "home/.local/state/virtfab")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.delenv("HOME")
    with pytest.raises(PathError, match="neither XDG_STATE_HOME nor HOME is set; set one"):
        state_root()


def test_a_state_folder_that_cannot_be_made(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "file"))
    with pytest.raises(PathError, match=r"cannot make the folder .*; set XDG_STATE_HOME"):
        LabPaths("x-12345678").create()


def test_a_socket_path_that_is_too_long_names_the_way_out(home: Path) -> None:
    places = LabPaths("n" * 20 + "-12345678")
    assert len(places.qemu("s" * 20, "p" * 15)) <= 107
    with pytest.raises(PathError, match="bytes, and 107 are possible; use a shorter name"):
        places.qemu("s" * 60, "p" * 15)


def test_lock_is_held_once_and_survives_the_removal_of_its_file(home: Path) -> None:
    one, other = Lock(str(home / "l")), Lock(str(home / "l"))
    assert one.take() and not other.take()
    assert other.holder() == os.getpid()
    os.unlink(home / "l")
    assert other.take(), "a file that is gone locks nobody out"
    third = Lock(str(home / "l"))
    assert not third.take()
    one.release()
    assert not third.take()
    other.release()
    assert third.take()
    third.release()
