"""A real virtual machine on a raid5 LUN, plugged in as `vfab attach lun0` says. Members are pulled out under it and cut
short, stord is killed again and again, the host's file system is full: the guest never flushes, and notices nothing.

Knows: what a guest wrote, and what must be read. Refuses to know: how the pool does it (test_stord.py is nearer to it).
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from daemons.client import Client as Control
from storvirt import Pool
from tests.support import peers
from tests.support.command import Vfab
from tests.support.guest.guest import Guest
from tests.support.guest.image import image
from tests.support.nbd_guest import Guest as Client
from tests.support.nbd_guest import Load
from tests.support.waiting import until

needs_qemu = pytest.mark.peer("qemu-system-x86_64")

MIB = 1 << 20
LAB = """
name: disk
storage:
  pools:
    array: {members: [a.img, b.img, c.img, d.img], size: 128MiB}
    small: {members: [small/a.img, small/b.img, small/c.img, small/d.img], size: 64MiB}
  volumes:
    data: {pool: array, raid: raid5, size: 100MiB}
    more: {pool: small, raid: raid5, size: 60MiB}
  luns:
    lun0: {volume: data, nbd: true}
    lun1: {volume: more, nbd: true}
"""
WRITERS = 3
PLACES = 24  # MiB that are written over and over; a multiple of WRITERS, so that each place has one writer
BLOCKS = 256  # numbered blocks of 4 KiB in a batch of 1 MiB

# $1 disk, $2 number of the first batch, $3 its steps, $4 places, $5 where each acknowledged batch's number is noted.
# Block i is the number i and spaces. dd with O_DIRECT never flushes, and ends well when all its writes were answered.
WRITER = """
n=$2
while [ ! -e /tmp/stop ]; do
  case $((n / $3 % 3)) in 0) bs=4k;; 1) bs=64k;; *) bs=512;; esac
  i=$((n * 256)); end=$((i + 256))
  while [ $i -lt $end ]; do printf '%-4095d\\n' $i; i=$((i + 1)); done |
    dd of=$1 bs=$bs iflag=fullblock oflag=direct,seek_bytes conv=notrunc seek=$((n % $4 * 1048576)) 2>/tmp/dd.$2 ||
    { cat /tmp/dd.$2; echo failed $n; exit 1; } >>$5
  echo $n >>$5
  n=$((n + $3))
done
echo ended >>$5
"""


@functools.cache
def batch(number: int) -> str:
    """The MD5 of what the guest writes as this batch."""
    blocks = (f"{i:<4095}\n" for i in range(number * BLOCKS, (number + 1) * BLOCKS))
    return hashlib.md5("".join(blocks).encode(), usedforsecurity=False).hexdigest()


class Drive:
    """A LUN as the guest has it, and what was acknowledged on it."""

    def __init__(self, guest: Guest, device: str) -> None:
        self._guest = guest
        self._device = device
        self._name = device.rpartition("/")[2]
        self.newest: dict[int, int] = {}  # place -> the newest batch there
        self._next = list(range(WRITERS))
        self._rounds = 0

    def begin(self) -> None:
        """All writers, in the background."""
        self._rounds += 1
        self._guest.must("rm -f /tmp/stop")
        for writer, first in enumerate(self._next):
            words = f"{self._device} {first} {WRITERS} {PLACES} {self._notes(writer)}"
            self._guest.must(f"sh /tmp/writer {words} >/dev/null 2>&1 & true")

    def more(self, batches: int = WRITERS) -> None:
        """Wait until so many more were acknowledged."""
        goal = self._acknowledged() + batches
        until(lambda: self._acknowledged() >= goal, 60, f"{batches} more batches from the guest")

    def end(self) -> None:
        """No error, and each number is noted: what was written is known from here on."""
        self._guest.must("touch /tmp/stop")
        for writer in range(WRITERS):
            lines = until(functools.partial(self._ended, writer), 60, "the writer's end")
            numbers = [int(line) for line in lines[:-1]]
            self.newest.update((number % PLACES, number) for number in numbers)
            self._next[writer] = numbers[-1] + WRITERS

    def verify(self) -> None:
        """Every place, read by the guest."""
        assert len(self.newest) >= WRITERS
        places = sorted(self.newest)
        read = f"dd if={self._device} bs=1M skip=$place count=1 iflag=direct 2>/dev/null | md5sum"
        words = self._guest.must(f"for place in {' '.join(map(str, places))}; do {read}; done", 60).split()[::2]
        assert dict(zip(places, words, strict=True)) == {place: batch(self.newest[place]) for place in places}

    def _notes(self, writer: int) -> str:
        return f"/tmp/{self._name}.{self._rounds}.{writer}"

    def _lines(self, writer: int) -> list[str]:
        lines = self._guest.run(f"cat {self._notes(writer)} 2>/dev/null").output.split("\n")
        assert not any("failed" in line for line in lines), lines
        return [line for line in lines if line]

    def _acknowledged(self) -> int:
        return sum(len(self._lines(writer)) for writer in range(WRITERS))

    def _ended(self, writer: int) -> list[str]:
        lines = self._lines(writer)
        return lines if "ended" in lines else []


class Room:
    """The lab and the guest in it; lun0 is `array`, lun1 is `small`."""

    def __init__(self, vfab: Vfab, guest: Guest, mounted: bool) -> None:
        self.vfab = vfab
        self.guest = guest
        self.mounted = mounted
        self.array, self.small = Drive(guest, "/dev/vda"), Drive(guest, "/dev/vdb")
        self.members = {name: vfab.path / name for name in ("a.img", "b.img", "c.img", "d.img")}

    def no_error(self) -> None:
        """The guest's kernel has said nothing about its disks."""
        said = self.guest.must("dmesg").lower()
        assert "vda" in said and "i/o error" not in said and "blk_update_request" not in said, said


@pytest.fixture(scope="module")
def room() -> Iterator[Room]:
    files = image()
    with Vfab(LAB) as vfab:
        small = vfab.path / "small"
        small.mkdir()
        mounted = _mount(small)
        try:
            vfab("up", vfab.file)
            arguments: list[str] = []
            for lun in ("lun0", "lun1"):
                arguments += shlex.split(vfab.json("attach", lun)["for"]["qemu"], comments=True)
            with Guest(files, vfab.path / "guest.log", *arguments) as guest:
                script = base64.b64encode(WRITER.encode()).decode()
                guest.must(f"echo {script} | base64 -d >/tmp/writer")
                yield Room(vfab, guest, mounted)
        finally:
            vfab.run("down")
            if mounted:
                subprocess.run(["umount", "--lazy", small], check=True)


def _mount(folder: Path) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", "size=192m", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def kill(vfab: Vfab, pool: str) -> None:
    """SIGKILL, and wait until a new process lives."""
    before = vfab.json("ps")["nodes"][pool]
    os.kill(before["pid"], signal.SIGKILL)

    until(lambda: vfab.json("ps")["nodes"][pool]["pid"] not in (None, before["pid"]), what=f"a new process for {pool}")


def status(vfab: Vfab, pool: str) -> dict[str, Any]:
    """Whatever its exit code is: that is 1 when something is wrong."""
    found: dict[str, Any] = json.loads(vfab.run("pool", "status", pool, "--json").stdout)["pools"][pool]
    return found


def states(vfab: Vfab, pool: str) -> dict[str, str]:
    """Member -> state."""
    rows = status(vfab, pool).get("pool", {"members": []})["members"]
    return {os.path.basename(row["path"]) or str(row["number"]): row["state"] for row in rows}


def is_out(vfab: Vfab, pool: str, member: str) -> Callable[[], bool]:
    return lambda: states(vfab, pool).get(member) == "out"


# --- without a guest: the same, where a failure is easy to look at


def test_a_client_notices_nothing_while_stord_is_killed_and_a_member_removed() -> None:
    with Vfab(LAB) as vfab:
        (vfab.path / "small").mkdir()
        vfab("up", vfab.file)
        uri = urllib.parse.urlsplit(vfab.json("attach", "lun0")["for"]["nbd"])
        load = Load(Client(urllib.parse.parse_qs(uri.query)["socket"][0], uri.path[1:]), seed=1, size=24 * MIB)
        problems: list[BaseException] = []
        killer = threading.Thread(target=_kills, args=(vfab, load, problems))
        killer.start()
        while killer.is_alive():
            load.step()
        assert not problems, problems
        load.verify()
        assert load.guest.reconnects == 5
        _kill_in_repair(vfab, "b.img", "e.img")
        load.step()
        until(lambda: states(vfab, "array").get("b.img") == "removed", 60, "the repair's end: it goes on by itself")
        load.verify()
        scrub = vfab.json("pool", "scrub", "array")
        assert (scrub["healed"], scrub["lost"]) == (0, 0)
        found = states(vfab, "array")
        assert found == {"a.img": "in", "b.img": "removed", "c.img": "in", "d.img": "in", "e.img": "in"}
        load.guest.close()


def _has_written(load: Load, goal: int) -> bool:
    return load.writes >= goal


def _kills(vfab: Vfab, load: Load, problems: list[BaseException]) -> None:
    """Five, the later ones without a member."""
    try:
        for turn in range(5):
            until(partial(_has_written, load, load.writes + 80), 60, "the load's progress")
            if turn == 2:
                os.unlink(vfab.path / "b.img")
                until(is_out(vfab, "array", "b.img"), what="the removed member out")
            kill(vfab, "array")
    except BaseException as error:
        problems.append(error)


def _kill_in_repair(vfab: Vfab, member: str, new: str) -> None:
    """Its beginning and the kill come from one process: the repair takes no longer than a command does."""
    pid = vfab.json("ps")["nodes"]["array"]["pid"]
    (control,) = (vfab.path / "run").rglob("array.ctl")
    with Control(str(control), timeout=30) as stord:
        stord.call("replace", member=member, path=str(vfab.path / new))
        os.kill(pid, signal.SIGKILL)
    until(lambda: vfab.json("ps")["nodes"]["array"]["pid"] not in (None, pid), what="a new process for array")
    until(lambda: "pool" in status(vfab, "array"), what="the pool, open again")


# --- with a guest


def _remove(path: Path) -> None:
    path.unlink()


def _cut_short(path: Path) -> None:
    os.truncate(path, 20 * MIB)


@needs_qemu
@pytest.mark.parametrize(
    ("harm", "member", "new"),
    [
        pytest.param(_remove, "b.img", "e.img", id="removed"),
        pytest.param(_cut_short, "c.img", "f.img", id="cut", marks=pytest.mark.long),
    ],
)
def test_the_guest_notices_nothing_and_the_pool_is_repaired(
    room: Room, harm: Callable[[Path], None], member: str, new: str
) -> None:
    vfab, drive = room.vfab, room.array
    before = vfab.json("ps")["nodes"]["array"]["restarts"]
    drive.begin()
    drive.more()
    kill(vfab, "array")
    drive.more()
    harm(vfab.path / member)
    until(is_out(vfab, "array", member), what=f"{member} out")
    for _ in range(4):
        drive.more()
        kill(vfab, "array")
    drive.more(1)
    drive.end()
    drive.verify()
    room.no_error()
    assert vfab.json("ps")["nodes"]["array"]["restarts"] == before + 5
    drive.begin()  # the repair is under load, too
    task = vfab.json("pool", "replace", "array", member, new)
    assert task["state"] == "done" and task["done"] == task["total"] > 0
    room.members[new] = vfab.path / new
    del room.members[member]
    drive.more(1)
    drive.end()
    drive.verify()
    assert status(vfab, "array")["nbd"]["flush"] == 0, "the guest never flushed"
    assert vfab("pool", "scrub", "array") == "scrub pool array: 0 mended, 0 lost\n"
    drive.verify()
    room.no_error()
    assert {name for name, state in states(vfab, "array").items() if state == "in"} == set(room.members)


@needs_qemu
def test_a_full_host_is_waited_out_and_no_member_is_failed_for_it(room: Room) -> None:
    if not room.mounted:
        peers.missing("the right to mount a small file system")
    vfab, drive = room.vfab, room.small
    fill = vfab.path / "small" / "fill"
    with open(fill, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(fill.parent).free - 6 * MIB)
    drive.begin()
    until(lambda: status(vfab, "small").get("pool", {}).get("suspended"), 30, "the full file system")
    sentence = "pool small waits: its members' file system is full; make room and it goes on"
    assert status(vfab, "small")["problems"] == [sentence]
    assert sentence in vfab.run("status").stdout + vfab.run("status").stderr
    assert set(states(vfab, "small").values()) == {"in"}
    kill(vfab, "small")
    until(lambda: status(vfab, "small")["problems"] == [sentence], what="the same sentence from the new process")
    assert "\nsmall  waiting " in vfab("pool"), "whether it is open by now or not"
    fill.unlink()
    drive.more(2 * WRITERS)
    drive.end()
    drive.verify()
    room.no_error()
    until(lambda: status(vfab, "small")["problems"] == [], what="no problem any more")
    assert set(states(vfab, "small").values()) == {"in"}


@needs_qemu
def test_what_the_guest_wrote_is_in_the_files(room: Room) -> None:
    """The guest's disks are taken away for good here: this one is the last."""
    room.array.begin()
    room.array.more()
    room.array.end()
    room.vfab("down")
    with Pool.open([str(path) for path in room.members.values()]) as pool:
        volume = pool.volume("data")
        for place, number in room.array.newest.items():
            content = volume.pread(MIB, place * MIB)
            assert hashlib.md5(content, usedforsecurity=False).hexdigest() == batch(number), (place, number)
