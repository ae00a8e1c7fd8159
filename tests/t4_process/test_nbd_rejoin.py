"""Members elsewhere that come back by themselves: killed, stopped, there again with a new process above them."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemons.client import Client, Unreachable
from tests.support.nbd_guest import Guest, Load, Running
from tests.support.nbd_servers import Server, nbdkit, ours
from tests.support.pools import MIB, Stord, ended, scrubbed
from tests.support.waiting import until

VOLUME = 24 * MIB


class Over:
    """A stord over three exports of other stords; the one that is harmed is the second."""

    def __init__(self, folder: Path, patience: float = 0.5) -> None:
        self.below = []
        for name in "abc":
            (folder / name).mkdir()
            self.below.append(Stord(folder / name, raid="linear", members=1, size=160 * MIB, volume=80 * MIB))
        (folder / "over").mkdir()
        self.over = Stord(folder / "over", raid="raid5", volume=VOLUME)
        self.over.members[:] = [f"{stord.uri()}&patience={patience}" for stord in self.below]
        for stord in (*self.below, self.over):
            stord.up()

    def row(self, number: int = 1) -> dict[str, Any]:
        found: dict[str, Any] = self.over.status()["pool"]["members"][number]
        return found

    def events(self) -> str:
        return "\n".join(self.over.status()["pool"]["events"])

    def wait_for(self, state: str, number: int = 1) -> None:
        until(lambda: self.row(number)["state"] == state, 60, f"member {number} {state}")

    def close(self) -> None:
        self.over.close()
        for stord in self.below:
            stord.close()


@pytest.fixture
def over(folder: Path) -> Iterator[Over]:
    made = Over(folder)
    yield made
    made.close()


@pytest.fixture
def load(over: Over) -> Iterator[Load]:
    guest = Guest(over.over.socket, "lun0")
    yield Load(guest, 11, VOLUME)
    guest.close()


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL], ids=["stopped", "killed"])
def test_cut_off_under_load_and_back(over: Over, load: Load, how: signal.Signals) -> None:
    running = Running(load)
    running.more(100)
    if how == signal.SIGKILL:
        over.below[1].kill()
    else:
        over.below[1].signal(how)
    over.wait_for("out")
    row = over.row()
    assert row["condition"] == "away" and "comes back by itself" in row["meaning"], row
    assert ("has not answered for 0.5 seconds" if how == signal.SIGSTOP else "hung up") in over.events()
    running.more(100)
    until(lambda: (over.row()["away"] or {"tries": 0})["tries"] >= 2, what="the second try")
    (problem,) = over.over.status()["problems"]
    assert "it comes back by itself, and is asked again" in problem and "vfab pool replace p0" in problem
    assert ("does not answer" if how == signal.SIGSTOP else "can't be reached") in problem
    if how == signal.SIGKILL:
        over.below[1].up()
    else:
        over.below[1].signal(signal.SIGCONT)
    over.wait_for("in")
    running.more(50)
    running.stop()
    assert "is in again: " in over.events() and over.over.status()["problems"] == []
    assert over.row()["away"] is None and over.row()["condition"] == "in" and load.guest.reconnects == 0
    load.verify()
    assert scrubbed(over.over) == (0, 0)
    over.below[0].kill()  # now what came back must hold it all
    over.wait_for("out", 0)
    load.verify()


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL], ids=["stopped", "killed"])
def test_all_are_cut_off_and_back(over: Over, load: Load, how: signal.Signals) -> None:
    """The pool can't go on, and says so; its guests wait, and go on when it does."""
    running = Running(load)
    running.more(100)
    for stord in over.below:
        if how == signal.SIGKILL:
            stord.kill()
        else:
            stord.signal(how)
    until(lambda: over.over.status().get("waiting"), 60, "the pool that waits")
    assert "it can't do without" in over.over.log.read_text()
    (lun,) = over.over.status()["luns"]
    assert lun["listening"] and lun["size"] == VOLUME
    for stord in over.below:
        if how == signal.SIGKILL:
            stord.up()
        else:
            stord.signal(signal.SIGCONT)
    running.more(100)
    running.stop()
    until(lambda: [row["state"] for row in over.over.status()["pool"]["members"]] == ["in"] * 3, 60, "all in again")
    load.verify()
    assert scrubbed(over.over) == (0, 0) and over.over.status()["problems"] == []
    assert load.guest.reconnects == 1


def test_only_what_it_missed_is_copied(over: Over, load: Load) -> None:
    guest = load.guest
    for place in range(16):
        guest.write((place * MIB, bytes([place + 1]) * MIB))
    guest.flush()
    over.over.call("checkpoint")
    over.below[1].kill()
    over.wait_for("out")
    guest.write((3 * MIB, b"new" * 65536))
    over.below[1].up()
    over.wait_for("in")
    task = ended(over.over)
    assert task["kind"] == "rejoin" and 0 < task["total"] < 16 * 32 / 4, task
    assert guest.read(3 * MIB, 3 * 65536) == b"new" * 65536


def test_it_comes_back_to_a_new_process(over: Over, load: Load) -> None:
    for _ in range(30):
        load.step()
    over.below[1].kill()
    over.wait_for("out")
    over.over.kill()
    over.over.up()  # without it, after a while
    assert over.row()["state"] == "out"
    until(lambda: over.row()["away"], what="the member that is waited for")
    for _ in range(30):
        load.step()
    over.below[1].up()
    over.wait_for("in")
    load.verify()
    assert scrubbed(over.over) == (0, 0)


def test_guests_are_served_while_a_server_hangs_that_is_dialled(folder: Path) -> None:
    """It takes the connection, and says nothing: for longer than this test takes."""
    made = Over(folder, patience=300)
    guest = Guest(made.over.socket, "lun0")
    try:
        guest.write((0, b"x" * MIB))
        made.below[1].kill()
        made.wait_for("out")
        made.below[1].start()  # listens at no socket before it is configured
        made.below[1].configure()
        made.below[1].signal(signal.SIGSTOP)
        until(lambda: made.row()["away"] and made.row()["away"]["asking"], 60, "the dial")
        tries = made.row()["away"]["tries"]
        for place in range(50):
            guest.write((place * 65536, place.to_bytes(2, "big") * 32768))
            assert guest.read(place * 65536, 65536) == place.to_bytes(2, "big") * 32768
        guest.flush()
        assert made.row()["away"] == {**made.row()["away"], "tries": tries, "asking": True}
        made.over.stop()  # not held up either
    finally:
        guest.close()
        made.close()


def test_a_pool_that_is_opened_says_how_it_is_going_while_a_server_hangs(folder: Path) -> None:
    """Its server takes the connection and says nothing, for longer than this test takes."""
    made = Over(folder, patience=300)
    try:
        made.over.kill()
        made.below[1].signal(signal.SIGSTOP)
        made.over.start()

        def configure() -> None:
            with contextlib.suppress(Unreachable):  # stord ends before it can answer
                made.over.configure()

        configuring = threading.Thread(target=configure)
        configuring.start()
        with Client(f"{made.over.folder}/p0.ctl", timeout=60) as other:
            until(lambda: other.call("status").get("waiting"), what="the pool that waits")
            assert "the servers of its members are being asked" in other.call("status")["problems"][0]
        made.over.signal(signal.SIGTERM)
        made.over.wait_for_end()
        configuring.join(timeout=60)
        assert not configuring.is_alive() and "Traceback" not in made.over.log.read_text()
        made.over.client.close()
    finally:
        made.close()


def test_another_export_in_its_place_is_not_taken(over: Over, load: Load, folder: Path) -> None:
    load.step()
    over.below[1].kill()
    over.wait_for("out")
    stranger = ours(folder, "stranger", 80)
    try:
        over.below[1].socket = ""
        (folder / "b" / "p0-lun0.nbd").unlink(missing_ok=True)
        (folder / "b" / "p0-lun0.nbd").symlink_to(stranger.socket)
        until(lambda: "no export of that name" in over.over.status()["problems"][0], 60, "what is said of it")
        load.step()
        assert over.row()["state"] == "out"
        load.verify()
    finally:
        stranger.close()


def test_what_is_replaced_or_removed_is_not_asked_any_more(over: Over, load: Load, folder: Path) -> None:
    for _ in range(10):
        load.step()
    over.below[1].kill()
    over.wait_for("out")
    until(lambda: over.row()["away"], what="the member that is waited for")
    over.over.call("replace", member="1", path=f"{folder}/new.img")
    assert ended(over.over)["state"] == "done"
    over.below[1].up()
    rows = over.over.status()["pool"]["members"]
    assert [row["state"] for row in rows] == ["in", "removed", "in", "in"] and not any(row["away"] for row in rows)
    assert scrubbed(over.over) == (0, 0)
    assert [lun["clients"] for lun in over.below[1].status()["luns"]] == [0]
    load.verify()


def _a_second(stord: Stord) -> None:
    begun = stord.status()["uptime_s"]
    until(lambda: stord.status()["uptime_s"] > begun + 1, what="a second")


@pytest.mark.peer("nbdkit")
def test_one_that_answers_with_errors_stays_out(folder: Path) -> None:
    """It was heard all the time: to ask it again and again would bring the same error back."""
    trigger = folder / "break"
    servers: list[Server] = [
        nbdkit(
            folder, f"n{number}", "--filter=error", "memory", "96M", "error-pwrite=EIO", "error-pwrite-rate=100%",
            f"error-pwrite-file={trigger}{number}",
        )
        for number in range(3)
    ]  # fmt: skip
    stord = Stord(folder, volume=VOLUME)
    stord.members[:] = [server.uri for server in servers]
    stord.up()
    guest = Guest(stord.socket, "lun0")
    load = Load(guest, 12, VOLUME)
    try:
        Path(f"{trigger}1").touch()
        load.step()
        assert stord.status()["pool"]["members"][1]["state"] == "out"
        Path(f"{trigger}1").unlink()
        for _ in range(3):  # three looks of the one who would ask for it
            _a_second(stord)
        row = stord.status()["pool"]["members"][1]
        assert row["state"] == row["condition"] == "out" and row["away"] is None
        assert "put a new file in its place" in stord.status()["problems"][0]
        stord.call("rejoin", member="1")  # somebody says that it is mended
        assert ended(stord)["state"] == "done"
        load.verify()
        Path(f"{trigger}1").touch()
        load.step()
        assert stord.status()["pool"]["members"][1]["state"] == "out"
        Path(f"{trigger}1").unlink()
        stord.call("replace", member="1", path=servers[1].uri)  # or that all of it is to be written anew
        task = ended(stord)
        assert (task["kind"], task["state"]) == ("replace", "done")
        load.verify()
        assert scrubbed(stord) == (0, 0)
    finally:
        guest.close()
        stord.close()
        for server in servers:
            server.close()
