"""A pool over the LUNs of two others, all in one lab file; pools without a lab on exports; what is said of mistakes."""

from __future__ import annotations

import os
import re
import shlex
import signal
from pathlib import Path
from typing import Any

import pytest

from storvirt import Pool
from tests.support.nbd_guest import Guest, Load, Running
from tests.support.nbd_servers import ours
from tests.support.user import vfab
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
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
    left: {volume: v0, nbd: {path: left.sock}}
    right: {volume: v1, nbd: {path: FOLDER/right.sock}}
    disk: {volume: disk, nbd: true}
"""


@pytest.fixture
def folder(work: Path) -> Path:
    (work / "over.fab.yml").write_text(LAB.replace("FOLDER", str(work)))
    return work


def shown() -> dict[str, Any]:
    told: dict[str, Any] = vfab("pool", "show", "top", "--json").json
    return told


def states() -> list[str]:
    told = shown()
    return [row["state"] for row in told["pool"]["members"]] if "pool" in told else []


def path_of_disk() -> str:
    return str(vfab("lun", "show", "disk", "--json").json["path"])


def test_three_pools_in_one_lab(folder: Path) -> None:
    """One of the lower ones is killed under load: who uses the upper one notices nothing, and nobody has to do
    anything."""
    vfab("up", "over")
    assert states() == ["in", "in"], "up has waited for the pool above the others"
    guest = Guest(path_of_disk(), "disk")
    running = Running(Load(guest, 21, 16 << 20))
    running.more(50)
    pid = vfab("ps", "--json").json["nodes"]["p1"]["pid"]
    os.kill(pid, signal.SIGKILL)  # fabricd brings it back at once
    running.more(50)
    until(lambda: any("is in again: " in words for words in shown()["pool"]["events"]), 60, "the member that came back")
    running.more(50)
    running.stop()
    events = shown()["pool"]["events"]
    assert [words.partition("&patience=1 ")[2].partition(":")[0] for words in events] == ["is out", "is in again"]
    assert "right" in events[0] and "its NBD server hung up" in events[0]
    assert guest.reconnects == 0 and states() == ["in", "in"]
    assert vfab("pool", "status", "top").err == ""
    running.load.verify()
    assert "0 mended, 0 lost" in vfab("pool", "scrub", "top").out
    guest.close()
    _down_and_up(running.load)


def _down_and_up(load: Load) -> None:
    """The upper pool ends first: its last checkpoint finds those below."""
    (ended,) = vfab("down", "over", "--json").json["ended"].values()
    assert next(node for node in ended if node in ("top", "p0", "p1")) == "top"
    vfab("up", "over")
    assert states() == ["in", "in"] and shown()["pool"]["events"] == []
    load.guest = Guest(path_of_disk(), "disk")
    load.verify()
    load.guest.close()


def test_one_that_hangs_is_out_and_comes_back(folder: Path) -> None:
    vfab("up", "over")
    guest = Guest(path_of_disk(), "disk")
    load = Load(guest, 22, 16 << 20)
    load.step()
    pid = vfab("ps", "--json").json["nodes"]["p0"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: states()[0] == "out", what="the member that hangs is out")
        load.step()
        told = vfab("pool", "show", "top")
        assert re.search(r"^0 +away ", told.out, re.MULTILINE), told.out
        assert "its NBD server has not answered for 1 seconds" in shown()["pool"]["events"][0]
        warned = vfab("pool", "status", "top", code=1).err
        assert "comes back by itself, and is asked again" in warned and "vfab pool replace top" in warned
    finally:
        os.kill(pid, signal.SIGCONT)
    until(lambda: states() == ["in", "in"], 60, "it in again")
    load.verify()
    guest.close()


def test_the_example(folder: Path, home: Path) -> None:
    """From anywhere; sockets and members are user data, and not beside the program."""
    vfab("up", "arrays")
    head = (ROOT / "topologies" / "arrays.fab.yml").read_text().partition("\nname:")[0]
    told = [shlex.split(line[1:], comments=True) for line in head.splitlines() if line.startswith("#   vfab")]
    assert told[0] == ["vfab", "up", "arrays"] and told[-1] == ["vfab", "down"]
    for words in told[1:-1]:
        vfab(*words[1:])
    rows = vfab("pool", "show", "both", "--json").json["pool"]["members"]
    where = home / "home/.local/share/virtfab/arrays"
    assert [(row["state"], row["path"]) for row in rows] == [
        ("in", f"nbd+unix:///{name}?socket={where}/{name}.sock") for name in ("east", "west")
    ]
    vfab("down")
    assert sorted(path.name for path in where.iterdir()) == [f"{side}{n}.img" for side in "ew" for n in (1, 2, 3)]


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
