"""A pool that comes back with less than it had: what fabricd was told of it bears witness, until somebody says so."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemons.client import Client, Refused
from daemons.state import SqliteStore
from storvirt import Pool
from tests.support.command import Vfab
from tests.support.nbd_guest import Guest
from tests.support.pools import MIB, Stord, members
from tests.support.waiting import until


@pytest.fixture
def stord(folder: Path) -> Iterator[Stord]:
    made = Stord(folder, members=2, raid="raid1", volume=20 * MIB)
    yield made
    made.close()


def refused(stord: Stord, witness: Any, *words: str) -> None:
    """It says why, also to those who ask afterwards, and no file is touched."""
    before = {path: Path(path).read_bytes() for path in stord.members if os.path.exists(path)}
    stord.start()
    with pytest.raises(Refused) as raised:
        stord.configure(witness=witness)
    (problem,) = stord.status()["problems"]
    assert problem == str(raised.value)
    for word in words:
        assert word in problem
    assert {path: Path(path).read_bytes() for path in stord.members if os.path.exists(path)} == before


def elsewhere(stord: Stord, path: str) -> str:
    """Out of sight: beside the others it would be found."""
    os.makedirs(f"{stord.folder}/away", exist_ok=True)
    os.rename(path, there := f"{stord.folder}/away/{os.path.basename(path)}")
    return there


def test_fabricd_hears_of_it_when_there_is_something_to_remember(stord: Stord, guest: Guest) -> None:
    stord.up()
    first = stord.call("witness", after=None)
    assert first["number"] > 0 and len(first["hash"]) == 64
    guest.write((0, b"x" * 4096))
    stord.call("checkpoint")
    second = stord.call("witness", after=first)
    assert second["number"] > first["number"] and second["hash"] != first["hash"]
    os.unlink(stord.members[1])  # nobody flushes; that the other one goes on alone is durable all the same
    third = stord.call("witness", after=second)
    assert third["number"] > second["number"] and members(stord)["b.img"] == "out"
    stord.kill()
    stord.start()
    stord.configure(witness=third)  # what it was told it agrees with
    assert guest.read(0, 4096) == b"x" * 4096


def test_members_of_an_earlier_time_are_refused(stord: Stord, guest: Guest) -> None:
    """All of them were restored from a backup: nothing in them says so."""
    stord.up()
    guest.write((0, b"old" * 512))
    stord.stop()
    backup = {path: shutil.copy(path, f"{stord.folder}/{Path(path).name}.backup") for path in stord.members}
    stord.up()
    guest.write((0, b"new" * 512))
    stord.call("checkpoint")
    witness = stord.call("witness", after=None)
    stord.kill()
    for path, copy in backup.items():
        os.replace(copy, path)
    refused(
        stord, witness, "is older than it was", f"{witness['number']} had been made durable", "import p0 --degraded"
    )
    told = stord.call("open", degraded=True)
    assert told["problems"] == [] and guest.read(0, 1536) == b"old" * 512
    assert stord.call("witness", after=witness) != witness
    with pytest.raises(Refused, match="pool p0 is open"):
        stord.call("open", degraded=True)


def test_the_half_that_was_left_behind_is_refused(stord: Stord, guest: Guest) -> None:
    stord.up()
    guest.write((0, b"old" * 512))
    left = elsewhere(stord, stord.members[1])
    until(lambda: members(stord)["b.img"] == "out", 5, "the member out")
    guest.write((0, b"new" * 512))
    until(lambda: stord.call("witness", after=None)["number"] >= stord.status()["pool"]["commit"], what="it durable")
    witness = stord.call("witness", after=None)
    stord.kill()
    elsewhere(stord, stord.members[0])
    os.rename(left, stord.members[1])
    refused(stord, witness, "is older than it was")


@pytest.mark.parametrize("checkpoints", [0, 1, 4])
def test_the_half_that_went_on_elsewhere_is_refused(stord: Stord, guest: Guest, checkpoints: int) -> None:
    """By its own records it is whole and new: only the number, or the hash, tells it from the one that was here."""
    stord.up()
    guest.write((0, b"both" * 128))
    other = elsewhere(stord, stord.members[1])
    until(lambda: members(stord)["b.img"] == "out", 5, "the member out")
    stord.call("checkpoint")
    witness = stord.call("witness", after=None)
    stord.kill()
    elsewhere(stord, stord.members[0])
    with Pool.open([other], degraded=True) as pool:
        for _ in range(checkpoints):
            pool.volume("v0").pwrite(os.urandom(4096), 0)
            pool.core.checkpoint()
        if not checkpoints:
            newest = pool.core.number
    os.rename(other, stord.members[1])
    words = ["vfab pool import p0 --degraded"]
    if checkpoints == 4:
        words.append(f"another history than it had: commit {witness['number']} is not the one")
    if not checkpoints and newest + 2 < witness["number"]:
        words.append("is older than it was")
    refused(stord, witness, *words)
    stord.call("open", degraded=True)
    assert members(stord)["b.img"] == "in"


def test_a_pool_whose_files_have_all_gone_is_not_made_anew(stord: Stord, guest: Guest) -> None:
    """A disk that is not mounted would look like this, and its guests would find an empty one."""
    stord.up()
    witness = stord.call("witness", after=None)
    stord.kill()
    there = [elsewhere(stord, path) for path in stord.members]
    refused(stord, witness, "none of its members is there any more", "vfab down")
    assert not any(os.path.exists(path) for path in stord.members)
    for path, back in zip(stord.members, there, strict=True):
        os.rename(back, path)
    stord.configure()
    assert guest.read(0, 512) == bytes(512)


def test_too_few_members_are_enough_when_somebody_says_so(folder: Path) -> None:
    stord = Stord(folder, members=2, raid="linear", volume=20 * MIB)
    try:
        stord.up()
        stord.stop()
        elsewhere(stord, stord.members[1])
        refused(stord, None, "b.img is not there", "can do without no member: bring it back")
        with pytest.raises(Refused, match="without it a pool is opened by configure"):
            stord.call("open")
        told = stord.call("open", degraded=True)
        assert [row["state"] for row in told["pool"]["members"]] == ["in", "out"]
        stord.kill()
        stord.up()  # it is on record now, and nobody is asked again
        assert members(stord) == {"a.img": "in", "b.img": "out"}
    finally:
        stord.close()


@pytest.mark.parametrize("junk", [7, {"number": -1, "hash": ""}, {"number": 1}, {"number": 1, "hash": "xyz"}])
def test_a_witness_that_is_none(stord: Stord, junk: Any) -> None:
    stord.start()
    with pytest.raises(Refused, match="witness"):
        stord.configure(witness=junk)
    stord.config.pop("witness", None)


LAB = """
name: seen
storage:
  pools: {p0: {members: [a.img, b.img], size: 64MiB}}
  volumes: {v0: {pool: p0, raid: raid1, size: 20MiB}}
  luns: {lun0: {volume: v0, nbd: true}}
"""


def test_a_lab_whose_members_are_restored_under_it_asks_first() -> None:
    with Vfab(LAB) as vfab:
        vfab("up", vfab.file)
        store = next((vfab.path / "state").rglob("state.sqlite"))
        guest = Guest(vfab.json("lun", "show", "lun0")["path"], "lun0")
        guest.write((0, b"old" * 512))
        guest.flush()
        files = [vfab.path / name for name in ("a.img", "b.img")]
        for file in files:
            shutil.copy(file, f"{file}.backup")
        number = _seen(str(store))
        guest.write((0, b"new" * 512))
        _pool(vfab, "checkpoint")
        until(lambda: _seen(str(store)) > number, what="fabricd's knowledge of it")
        _kill_between(vfab, files)
        until(lambda: "older than it was" in vfab.run("pool", "status").stderr, what="the refusal")
        done = vfab.run("status")
        assert done.returncode == 1 and "vfab pool import p0 --degraded" in done.stdout + done.stderr
        assert vfab.run("pool", "import", "p0").returncode != 0, "it is said out loud or not at all"
        assert "p0" in vfab("pool", "import", "p0", "--degraded")
        assert guest.read(0, 1536) == b"old" * 512
        until(lambda: vfab.run("status").returncode == 0, what="all well")
        # What was agreed to is what is remembered now: the next process needs nobody to say anything.
        until(lambda: _seen(str(store)) == _durable(vfab), what="the new witness")
        guest.write((0, b"own" * 512))
        _kill_between(vfab, [])
        assert guest.read(0, 1536) == b"own" * 512
        guest.close()


def _pool(vfab: Vfab, op: str, **args: Any) -> Any:
    (control,) = (vfab.path / "run").rglob("p0.ctl")
    with Client(str(control), timeout=30) as client:
        return client.call(op, **args)


def _durable(vfab: Vfab) -> int:
    number: int = _pool(vfab, "witness", after=None)["number"]
    return number


def _seen(path: str) -> int:
    store = SqliteStore(path, create=False)
    try:
        return int((store.witness("p0") or {"number": 0})["number"])
    finally:
        store.close()


def _kill_between(vfab: Vfab, files: list[Path]) -> None:
    """A new process for the pool, which finds these files as their backups are. fabricd is kept from being quick."""
    nodes = vfab.json("ps")["nodes"]
    fabricd = _pid_of_fabricd(vfab)
    os.kill(fabricd, signal.SIGSTOP)
    try:
        os.kill(nodes["p0"]["pid"], signal.SIGKILL)
        for file in files:
            os.replace(f"{file}.backup", file)
    finally:
        os.kill(fabricd, signal.SIGCONT)
    until(lambda: vfab.json("ps")["nodes"]["p0"]["pid"] not in (None, nodes["p0"]["pid"]), what="a new process")


def _pid_of_fabricd(vfab: Vfab) -> int:
    (lock,) = (vfab.path / "run").rglob("fabricd.lock")
    return int(lock.read_text().split()[0])
