"""Trouble on the host under a load, with a real stord: each kind has its sentence, and ends as promised."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.nbd_guest import Guest, Load, Running
from tests.support.nbd_servers import Server, nbdkit
from tests.support.pools import MIB, Stord, ended, members, scrubbed
from tests.support.waiting import until

VOLUME = 16 * MIB


def swapped(victim: str) -> None:
    other = f"{victim}.other"
    Path(other).touch()
    os.truncate(other, os.path.getsize(victim))
    os.replace(other, victim)


def renamed(victim: str) -> None:
    os.rename(victim, f"{victim}.moved")


def shortened(victim: str) -> None:
    os.truncate(victim, 30 * MIB)


def a_folder_instead(victim: str) -> None:
    os.unlink(victim)
    os.mkdir(victim)


HARMS: list[tuple[Callable[[str], None], str]] = [
    (swapped, "was replaced by another file"),
    (renamed, "was renamed or moved"),
    (os.unlink, "was removed"),
    (shortened, "was truncated to "),
    (a_folder_instead, "was replaced by another file"),
]


@pytest.mark.parametrize(("harm", "sentence"), HARMS, ids=[harm.__name__ for harm, _ in HARMS])
def test_what_happens_to_a_members_file(folder: Path, harm: Callable[[str], None], sentence: str) -> None:
    stord = Stord(folder, volume=VOLUME).up()
    guest = Guest(stord.socket, "lun0")
    load = Load(guest, 3, VOLUME)
    try:
        running = Running(load)
        running.more(200)
        harm(stord.members[1])
        until(lambda: members(stord)["b.img"] == "out", 10, "the harmed member out")
        running.more(200)
        running.stop()
        assert f"b.img {sentence}" in stord.log.read_text()
        (problem,) = (problem for problem in stord.status()["problems"] if "is out;" in problem)
        assert f"vfab pool replace p0 {stord.members[1]} NEWFILE" in problem
        load.verify()
        stord.call("replace", member="1", path=f"{folder}/n.img")
        assert ended(stord)["state"] == "done" and scrubbed(stord) == (0, 0)
        load.verify()
    finally:
        guest.close()
        stord.close()


@pytest.mark.parametrize(("harm", "sentence"), HARMS, ids=[harm.__name__ for harm, _ in HARMS])
def test_an_idle_pool_notices_it_too(folder: Path, harm: Callable[[str], None], sentence: str) -> None:
    """Nobody reads or writes: who looks once a second sees it."""
    stord = Stord(folder, volume=VOLUME).up()
    try:
        harm(stord.members[2])
        until(lambda: stord.status()["pool"]["events"], what="the sentence")
        assert f"c.img {sentence}" in stord.status()["pool"]["events"][-1]
        assert members(stord) == {"a.img": "in", "b.img": "in", "c.img": "out"}
        assert len(stord.status()["problems"]) == 1
    finally:
        stord.close()


# --- what the servers of exports answer: errors of real disks, at a moment that a test chooses


class Broken:
    """Exports of nbdkit that answer writes with an error while a file is there."""

    def __init__(self, folder: Path, count: int, error: str) -> None:
        self.triggers = [folder / f"break{number}" for number in range(count)]
        self.servers: list[Server] = [
            nbdkit(
                folder, f"n{number}", "--filter=error", "memory", "96M", f"error-pwrite={error}",
                "error-pwrite-rate=100%", f"error-pwrite-file={trigger}",
            )
            for number, trigger in enumerate(self.triggers)
        ]  # fmt: skip

    def close(self) -> None:
        for server in self.servers:
            server.close()


@pytest.fixture
def broken(folder: Path, request: pytest.FixtureRequest) -> Iterator[Broken]:
    made = Broken(folder, 3, request.param)
    yield made
    made.close()


def over(folder: Path, broken: Broken) -> Stord:
    made = Stord(folder, volume=VOLUME)
    made.members[:] = [server.uri for server in broken.servers]
    return made.up()


@pytest.mark.parametrize("broken", ["EIO"], indirect=True)
@pytest.mark.peer("nbdkit")
def test_one_members_disk_has_an_error(folder: Path, broken: Broken) -> None:
    stord = over(folder, broken)
    guest = Guest(stord.socket, "lun0")
    load = Load(guest, 4, VOLUME)
    try:
        running = Running(load)
        running.more(100)
        broken.triggers[0].touch()
        until(lambda: stord.status()["pool"]["members"][0]["state"] == "out", what="the one with the error out")
        running.more(100)
        running.stop()
        assert "is out: a write failed (EIO)" in stord.log.read_text()
        load.verify()
    finally:
        guest.close()
        stord.close()


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        ("EIO", "pool p0 waits: it can't do without "),
        ("ENOSPC", "pool p0 waits: its members' file system is full; make room and it goes on"),
    ],
    indirect=["broken"],
)
@pytest.mark.peer("nbdkit")
def test_all_have_it_at_once_and_then_not_any_more(folder: Path, broken: Broken, sentence: str) -> None:
    stord = over(folder, broken)
    guest = Guest(stord.socket, "lun0")
    load = Load(guest, 5, VOLUME)
    try:
        running = Running(load)
        running.more(100)
        for trigger in broken.triggers:
            trigger.touch()
        until(lambda: stord.status()["pool"]["suspended"], what="the pool that waits")
        assert any(sentence in problem for problem in stord.status()["problems"])
        for trigger in broken.triggers:
            trigger.unlink()
        until(lambda: not stord.status()["pool"]["suspended"], what="the pool that goes on")
        running.more(100)
        running.stop()
        assert "pool p0 goes on" in stord.log.read_text() and guest.reconnects == 0
        load.verify()
    finally:
        guest.close()
        stord.close()
