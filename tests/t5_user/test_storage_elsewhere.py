"""A pool over the LUNs of two others, all in one lab file; pools without a lab on exports; what is said of mistakes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from storvirt import Pool
from tests.support.nbd_guest import Guest
from tests.support.nbd_servers import ours
from tests.support.user import vfab
from tests.support.waiting import until

LAB = """\
name: over
storage:
  pools:
    top:
      members:
        - nbd+unix:///left?socket=left.sock&patience=1
        - nbd+unix:///right?socket=right.sock&patience=1
      size: 64MiB
    p0: {members: [a.img], size: 160MiB}
    p1: {members: [b.img], size: 160MiB}
  volumes:
    v0: {pool: p0, raid: linear, size: 80MiB}
    v1: {pool: p1, raid: linear, size: 80MiB}
    disk: {pool: top, raid: raid1, size: 16MiB}
  luns:
    left: {volume: v0, nbd: {path: FOLDER/left.sock}}
    right: {volume: v1, nbd: {path: FOLDER/right.sock}}
    disk: {volume: disk, nbd: true}
"""


@pytest.fixture
def folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    made = home / "work"
    made.mkdir()
    (made / "over.fab.yml").write_text(LAB.replace("FOLDER", str(made)))
    monkeypatch.chdir(made)
    yield made
    vfab("down", "--all", code=None)


def states() -> list[str]:
    told = vfab("pool", "show", "top", "--json").json
    return [row["state"] for row in told["pool"]["members"]] if "pool" in told else []


def test_three_pools_in_one_lab(folder: Path) -> None:
    vfab("up", "over")
    until(lambda: states() == ["in", "in"], what="the pool over the others")
    guest = Guest(vfab("lun", "show", "disk", "--json").json["path"], "disk")
    data = os.urandom(1 << 20)
    guest.write((0, data))
    guest.flush()
    pid = vfab("ps", "--json").json["nodes"]["p1"]["pid"]
    os.kill(pid, signal.SIGKILL)  # fabricd brings it back at once; its export missed something, for all we know
    until(lambda: "out" in states(), what="the member whose server died is out")
    assert guest.read(0, 1 << 20) == data
    assert "vfab pool replace top" in vfab("pool", "status", "top", code=1).err
    member = vfab("pool", "show", "top", "--json").json["pool"]["members"][1]["path"]
    assert member == f"nbd+unix:///right?socket={folder}/right.sock&patience=1"
    vfab("pool", "replace", "top", "1", member)
    assert vfab("pool", "status", "top").err == ""
    assert "0 mended, 0 lost" in vfab("pool", "scrub", "top").out
    guest.close()
    vfab("down", "over")
    vfab("up", "over")
    until(lambda: [state for state in states() if state != "removed"] == ["in", "in"], what="the pool again")
    guest = Guest(vfab("lun", "show", "disk", "--json").json["path"], "disk")
    assert guest.read(0, 1 << 20) == data
    guest.close()


def test_without_a_lab(folder: Path) -> None:
    servers = [ours(folder, name, 64) for name in "xyz"]
    try:
        uris = [server.uri for server in servers]
        vfab("pool", "create", "alone", *uris, "--size", "64MiB")
        assert "holds something" in vfab("pool", "create", "again", *uris, "--size", "64MiB", code=None).sentence
        with Pool.open(uris) as pool:
            volume = pool.create_volume("v", 1 << 20)
            volume.pwrite(b"x" * 8192, 4096)
            volume.flush()
        servers[0].close()
        with Pool.open(uris, degraded=True) as pool:
            assert pool.volume("v").pread(8192, 4096) == b"x" * 8192
    finally:
        for server in servers:
            server.close()


@pytest.mark.parametrize(
    ("member", "sentence"),
    [
        ("nbds://host/x", "is no address of an NBD export"),
        ("nbd+unix:///x", "socket="),
        ("nbd+unix:///left?socket=./left.sock&patience=3", "is a member twice"),
    ],
)
def test_mistakes_in_the_lab_file(folder: Path, member: str, sentence: str) -> None:
    file = folder / "over.fab.yml"
    old = "nbd+unix:///right?socket=right.sock&patience=1"
    file.write_text(file.read_text().replace(old, member))
    told = vfab("validate", "over.fab.yml", code=2)
    assert sentence in told.err and "over.fab.yml:7:11" in told.err
