"""A real stord on a file system without space: it waits, whatever it was about to do, being born again included."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.nbd_guest import Guest, Load, Running
from tests.support.peers import missing
from tests.support.pools import MIB, Stord, ended, members, scrubbed
from tests.support.waiting import until

VOLUME, STRIDE, PAGES = 16 << 30, 64 * MIB, 200
FULL = "pool p0 waits: its members' file system is full; make room and it goes on"


@pytest.fixture
def small(folder: Path) -> Iterator[Path]:
    """A file system that a test can fill, and enlarge with `_enlarge`."""
    where = folder / "small"
    where.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", where], capture_output=True, check=False)
    if done.returncode:
        missing("the right to mount a small file system")
    yield where
    subprocess.run(["umount", "--lazy", where], check=True)


def _enlarge(where: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=400m", where], check=True)


@pytest.mark.parametrize("killed", [False, True])
def test_a_full_file_system_is_waited_out(folder: Path, small: Path, killed: bool) -> None:
    stord = Stord(folder, where=small).up()
    guest, other = (Guest(stord.socket, "lun0") for _ in range(2))
    try:
        running = Running(Load(guest, 6, 50 * MIB))
        until(lambda: stord.status()["pool"]["suspended"], 60, "the full file system")
        (problem,) = stord.status()["problems"]
        assert problem == FULL
        assert len(other.read(0, 4096)) == 4096, "what is there can be read"
        if killed:
            stord.kill()
            stord.up()
        _enlarge(small)
        running.more(50)
        running.stop()
        running.load.verify()
        until(lambda: stord.status()["problems"] == [], what="no problem any more")
        assert set(members(stord).values()) == {"in"}
        # Each process says it once; the second one perhaps not at all, if it came up into an enlarged file system.
        assert stord.log.read_text().count("make room") in ((1, 2) if killed else (1,))
    finally:
        guest.close()
        other.close()
        stord.close()


def test_a_rebuild_waits_for_space_too(folder: Path, small: Path) -> None:
    stord = Stord(folder, where=small, size=48 * MIB).up()
    guest = Guest(stord.socket, "lun0")
    try:
        load = Load(guest, 7, 10 * MIB)
        for _ in range(40):
            load.step()
        with open(small / "fill", "wb") as fill:
            fill.write(bytes(shutil.disk_usage(small).free - 6 * MIB))
        stord.call("replace", member="a.img", path=f"{small}/n.img")
        until(lambda: stord.status()["pool"]["suspended"], 60, "the full file system")
        os.unlink(small / "fill")
        assert ended(stord)["state"] == "done"
        load.verify()
        assert members(stord) == {"a.img": "removed", "b.img": "in", "c.img": "in", "n.img": "in"}
    finally:
        guest.close()
        stord.close()


def _fill(where: Path) -> None:
    """Not a byte is left."""
    with pytest.raises(OSError, match="No space left"), open(where / "fill", "wb", buffering=0) as fill:
        while True:
            fill.write(bytes(MIB))


def _spread(guest: Guest) -> None:
    """A grain in each of so many pages of the map that a checkpoint finds no room for them in what is there."""
    for place in range(PAGES):
        guest.write((64 * MIB + place * STRIDE, place.to_bytes(2, "big") * 16384))


def _reconnected(guest: Guest, before: int) -> bool:
    return guest.reconnects > before


def _verify_spread(guest: Guest) -> None:
    for place in range(PAGES):
        assert guest.read(64 * MIB + place * STRIDE, 32768) == place.to_bytes(2, "big") * 16384, place


@pytest.mark.parametrize("kills", [1, 3])
def test_a_pool_that_can_not_be_opened_for_want_of_space_keeps_its_guests(
    folder: Path, small: Path, kills: int
) -> None:
    """They connect, are told the size, and wait for their answers; nobody hears of an error."""
    stord = Stord(folder, where=small, size=48 * MIB, volume=VOLUME).up()
    guest, late = (Guest(stord.socket, "lun0") for _ in range(2))
    try:
        load = Load(guest, 9, 3 * MIB)
        load.step()
        _spread(guest)
        _fill(small)
        running = Running(load)
        for _ in range(kills):
            back = partial(_reconnected, guest, guest.reconnects)
            stord.kill()
            stord.up()
            until(back, what="the guest, connected")
        told = stord.status()
        assert "pool" not in told and told["problems"] == [told["waiting"]] and "make room" in told["waiting"]
        writes, read = load.writes, list[bytes]()
        reading = threading.Thread(target=lambda: read.append(late.read(0, 4096)))
        reading.start()
        until(lambda: [lun["clients"] for lun in stord.status()["luns"]] == [2], what="both clients")
        (lun,) = stord.status()["luns"]
        assert lun["listening"] and lun["size"] == VOLUME == late.size == guest.size
        assert load.writes == writes and not read, "nothing is answered"
        os.unlink(small / "fill")
        running.more(20)
        running.stop()
        reading.join(60)
        assert [len(data) for data in read] == [4096]
        assert late.reconnects == 0 and guest.reconnects == kills
        load.verify()
        _verify_spread(late)
        assert stord.status()["problems"] == [] and set(members(stord).values()) == {"in"}
        assert scrubbed(stord) == (0, 0)
        assert "Traceback" not in stord.log.read_text()
    finally:
        guest.close()
        late.close()
        stord.close()


def test_a_pool_that_waits_to_be_opened_ends_when_it_is_told_to(folder: Path, small: Path) -> None:
    stord = Stord(folder, where=small, size=48 * MIB, volume=VOLUME).up()
    guest = Guest(stord.socket, "lun0")
    try:
        _spread(guest)
        _fill(small)
        stord.kill()
        stord.up()
        assert "pool" not in stord.status()
        stord.configure(luns=[])
        assert not os.path.exists(stord.socket)
        stord.stop()
        os.unlink(small / "fill")
        luns = [{"name": "lun0", "volume": "v0", "path": stord.socket, "read_only": False}]
        stord.config["luns"] = luns
        stord.up()
        _verify_spread(guest)
    finally:
        guest.close()
        stord.close()
