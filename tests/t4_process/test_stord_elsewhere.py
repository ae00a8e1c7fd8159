"""Pools whose members are elsewhere: over the LUNs of other pools, and over other people's NBD servers."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemons.client import Refused
from tests.support.nbd_guest import Guest
from tests.support.nbd_servers import Server, nbdkit, ours, qemu_nbd
from tests.support.pools import MIB, Stord, ended, scrubbed
from tests.support.waiting import until

PATIENCE = 0.5


class Over(Stord):
    """A stord over exports."""

    def __init__(self, folder: Path, uris: list[str], raid: str = "raid1", volume: int = 32 * MIB) -> None:
        folder.mkdir()
        super().__init__(folder, raid=raid, volume=volume)
        self.members[:] = uris

    def states(self) -> list[str]:
        return [row["state"] for row in self.status()["pool"]["members"]]

    def wait_out(self, number: int) -> None:
        until(lambda: self.states()[number] == "out", what=f"member {number} out")


@pytest.fixture
def below(folder: Path) -> Iterator[list[Stord]]:
    """Three pools with a LUN of 80 MiB each."""
    made = []
    for name in "abc":
        (folder / name).mkdir()
        made.append(Stord(folder / name, raid="linear", members=1, size=160 * MIB, volume=80 * MIB))
    for stord in made:
        stord.up()
    yield made
    for stord in made:
        stord.close()


def uri(stord: Stord) -> str:
    return f"{stord.uri()}&patience={PATIENCE}"


def data(seed: int, size: int = 3 * MIB) -> bytes:
    return b"".join(seed.to_bytes(4, "big") + i.to_bytes(4, "big") for i in range(size // 8))


@pytest.mark.parametrize(
    ("raid", "how"),
    [
        pytest.param("raid1", signal.SIGSTOP, id="raid1-stopped"),
        pytest.param("raid5", signal.SIGKILL, id="raid5-killed"),
        pytest.param("raid1", signal.SIGKILL, id="raid1-killed", marks=pytest.mark.long),
        pytest.param("raid5", signal.SIGSTOP, id="raid5-stopped", marks=pytest.mark.long),
    ],
)
def test_a_pool_over_the_luns_of_others_of_which_one_is_cut_off_and_back(
    folder: Path, below: list[Stord], raid: str, how: signal.Signals
) -> None:
    over = Over(folder / "over", [uri(stord) for stord in below], raid)
    try:
        over.up()
        guest = Guest(over.socket, "lun0")
        guest.write((0, data(1)))
        guest.flush()
        if how == signal.SIGKILL:
            below[1].kill()
        else:
            below[1].signal(how)
        guest.write((MIB, data(2)))  # acknowledged: then the loss is recorded
        guest.flush()
        until(lambda: over.states() == ["in", "out", "in"], what="the member that was cut off is out")
        said = over.log.read_text()
        assert "is out: " in said and ("hung up" in said or "has not answered for 0.5 seconds" in said)
        assert guest.read(0, MIB) == data(1)[:MIB] and guest.read(MIB, 3 * MIB) == data(2)
        guest.close()
        over.kill()
        over.up()  # with two of three, after a while
        guest = Guest(over.socket, "lun0")
        assert guest.read(MIB, 3 * MIB) == data(2)
        if how == signal.SIGKILL:
            below[1].up()
        else:
            below[1].signal(signal.SIGCONT)
        until(lambda: over.states() == ["in", "in", "in"], 60, "it in again, by itself")
        assert scrubbed(over) == (0, 0)
        below[0].kill()  # now what came back must hold it all
        until(lambda: "out" in over.states(), what="the killed one out")
        assert guest.read(0, MIB) == data(1)[:MIB] and guest.read(MIB, 3 * MIB) == data(2)
        guest.close()
        over.stop()
    finally:
        over.close()


def test_an_idle_pool_notices_within_two_seconds(folder: Path, below: list[Stord]) -> None:
    over = Over(folder / "over", [uri(stord) for stord in below])
    try:
        over.up()
        below[2].kill()
        until(lambda: over.states()[2] == "out", 10, "the killed server noticed")
        below[0].signal(signal.SIGSTOP)
        until(lambda: over.states()[0] == "out", 10, "the stopped server noticed")
        said = over.status()["pool"]["events"]
        assert [words.rpartition(": ")[2] for words in said] == [
            "its NBD server hung up", "its NBD server has not answered for 0.5 seconds",
        ], said  # fmt: skip
        assert any("vfab pool replace p0" in problem for problem in over.status()["problems"])
        below[0].signal(signal.SIGCONT)
    finally:
        over.close()


def test_two_that_were_away_one_after_the_other(folder: Path, below: list[Stord]) -> None:
    """Only what it missed is written; its server was cut off while nothing was made durable on it."""
    over = Over(folder / "over", [uri(stord) for stord in below])
    try:
        over.up()
        guest = Guest(over.socket, "lun0")
        guest.write((0, data(6)))
        guest.flush()
        below[1].kill()
        until(lambda: over.states()[1] == "out", what="the killed one out")
        guest.write((8 * MIB, data(7)))
        guest.flush()
        with pytest.raises(Refused, match="can't be reached"):
            over.call("rejoin", member="1")
        below[1].up()
        until(lambda: over.states() == ["in", "in", "in"], 60, "it in again")
        assert scrubbed(over) == (0, 0)
        for number in (0, 2):
            below[number].kill()
            over.wait_out(number)
            if number == 0:
                below[0].up()
                until(lambda: over.states()[0] == "in", 60, "the other one in again")
        assert guest.read(0, 3 * MIB) == data(6) and guest.read(8 * MIB, 3 * MIB) == data(7)
        guest.close()
    finally:
        over.close()


def test_exports_that_the_configuration_does_not_name_are_found_again(folder: Path, below: list[Stord]) -> None:
    """By what the member table says of where they were last: one that took a place, and a spare."""
    server = ours(folder, "spare", 96)
    over = Over(folder / "over", [uri(stord) for stord in below[:2]])
    over.config["pool"]["spare_after"] = 0
    try:
        over.up()
        guest = Guest(over.socket, "lun0")
        guest.write((0, data(8)))
        over.call("replace", member="1", path=uri(below[2]))
        assert ended(over)["state"] == "done"
        assert over.call("add", path=server.uri, spare=True) is None
        with pytest.raises(Refused, match="holds something"):
            over.call("add", path=server.uri, spare=True)
        over.kill()
        over.up()
        assert over.states() == ["in", "spare", "in"], "the spare has the number that was free"
        below[0].kill()
        until(lambda: over.states() == ["removed", "in", "in"], 60, "the spare in its place")
        assert guest.read(0, 3 * MIB) == data(8) and scrubbed(over) == (0, 0)
        guest.close()
    finally:
        over.close()
        server.close()


def test_servers_that_begin_later_are_waited_for(folder: Path, below: list[Stord]) -> None:
    """As in one lab, whose pools begin in any order."""
    for stord in below[:2]:
        stord.stop()
    over = Over(folder / "over", [uri(stord) for stord in below])
    try:
        over.start()
        configuring = threading.Thread(
            target=over.configure
        )  # answered when they are there, or not waited for any more
        configuring.start()
        until(lambda: "pool p0 waits: member" in over.log.read_text(), what="the pool that waits")
        assert "can't be reached" in over.log.read_text()
        for stord in below[:2]:
            stord.up()
        configuring.join(timeout=60)
        assert over.states() == ["in", "in", "in"] and over.status()["pool"]["new"]
        over.stop()
        below[1].stop()
        over.start()
        configuring = threading.Thread(target=over.configure)
        configuring.start()
        until(lambda: over.log.read_text().count("pool p0 waits: member") == 2, what="the pool that waits again")
        below[1].up()
        configuring.join(timeout=60)
        assert over.states() == ["in", "in", "in"] and not over.status()["pool"]["new"]
    finally:
        over.close()


@pytest.mark.peer("nbdkit", "qemu-nbd")
def test_over_other_peoples_servers(folder: Path) -> None:
    """Two files served by qemu-nbd, with blocks of 4096 bytes only from nbdkit; one of them killed and back."""
    servers: list[Server] = [
        qemu_nbd(folder, "q0", 96 * MIB, "--discard=unmap"),
        nbdkit(
            folder, "n0", "--filter=blocksize-policy", "memory", "96M", "blocksize-minimum=4096",
            "blocksize-preferred=4096", "blocksize-maximum=65536", "blocksize-error-policy=error",
        ),
        qemu_nbd(folder, "q1", 96 * MIB),
    ]  # fmt: skip
    over = Over(folder / "over", [server.uri for server in servers], "raid5")
    try:
        over.up()
        guest = Guest(over.socket, "lun0")
        guest.write((512, data(3)), (9 * MIB, data(4)))
        guest.flush()
        guest.trim(9 * MIB, MIB)
        servers[2].signal(signal.SIGKILL)
        guest.write((20 * MIB, data(5)))
        until(lambda: over.states()[2] == "out", what="the killed one out")
        servers[2].start()
        until(lambda: over.states()[2] == "in", 60, "it in again")
        assert scrubbed(over) == (0, 0)
        servers[0].signal(signal.SIGKILL)
        assert guest.read(512, 3 * MIB) == data(3)
        assert guest.read(10 * MIB, 2 * MIB) == data(4)[MIB:] and guest.read(9 * MIB, MIB) == bytes(MIB)
        assert guest.read(20 * MIB, 3 * MIB) == data(5)
        guest.close()
    finally:
        over.close()
        for server in servers:
            server.close()


@pytest.mark.peer("qemu-nbd")
def test_an_export_that_holds_something_is_never_formatted_over(folder: Path) -> None:
    servers = [qemu_nbd(folder, name, 96 * MIB) for name in ("q0", "q1")]
    for place in (65536, 96 * MIB - 512):
        with (folder / "q1.raw").open("r+b") as file:
            file.seek(place)
            file.write(b"LABELONE")
        over = Over(folder / f"over{place}", [server.uri for server in servers])
        try:
            over.start()
            with pytest.raises(Refused, match=r"is no member of a pool|holds something|superblock"):
                over.configure()
        finally:
            over.close()
        with (folder / "q1.raw").open("r+b") as file:
            file.seek(place)
            assert file.read(8) == b"LABELONE"
            os.pwrite(file.fileno(), bytes(8), place)
        assert not any((folder / "q0.raw").read_bytes()), "the blank one was left alone"
    for server in servers:
        server.close()


def test_the_size_of_an_export_is_its_own(folder: Path, below: list[Stord]) -> None:
    over = Over(folder / "over", [uri(stord) for stord in below])
    try:
        over.up()
        rows: list[dict[str, Any]] = over.status()["pool"]["members"]
        assert [row["size"] for row in rows] == [80 * MIB] * 3 and [row["path"] for row in rows] == over.members
    finally:
        over.close()
