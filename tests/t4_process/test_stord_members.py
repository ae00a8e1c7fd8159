"""Members of a real stord that come, go and come back while a guest writes; killed in the middle."""

from __future__ import annotations

import os
import shutil
from typing import Any

import pytest

from daemons.client import Refused
from tests.support.nbd_guest import Guest, Load, Running
from tests.support.pools import MIB, Stord, ended, held_to, members, scrubbed
from tests.support.waiting import until

SIZE = 24 * MIB  # of the part that loads write to


def filled(guest: Guest, seed: int, writes: int = 60) -> Load:
    load = Load(guest, seed, SIZE)
    for _ in range(writes):
        load.step()
    return load


def out_soon(stord: Stord, name: str) -> None:
    until(lambda: members(stord)[name] == "out", 4.0, f"{name} out")


def test_one_more_and_one_less_under_load(stord: Stord, guest: Guest) -> None:
    stord.up()
    load = filled(guest, 1)
    new = f"{stord.folder}/n.img"
    running = Running(load)
    stord.call("add", path=new)
    assert ended(stord)["state"] == "done" and members(stord)["n.img"] == "in"
    stord.call("rebalance")
    task = ended(stord)
    assert task["state"] == "done" and task["done"] == task["total"] > 0
    stord.call("remove", member="b.img")
    stord.kill()
    stord.up()
    until(lambda: members(stord)["b.img"] == "removed", 60, "b.img removed")
    running.more(10)
    running.stop()
    load.verify()
    os.unlink(stord.members[1])
    assert scrubbed(stord) == (0, 0)
    os.unlink(stord.members[2])
    out_soon(stord, "c.img")
    load.verify()
    with pytest.raises(Refused, match="volume v0 of pool p0 does not allow it: raid5 needs at least 3 members, not 2"):
        stord.call("remove", member="c.img")


@pytest.mark.parametrize("back", [False, True], ids=["on", "back"])
def test_a_rebalance_that_is_killed_goes_on_or_is_called_off(stord: Stord, guest: Guest, back: bool) -> None:
    stord.up()
    load = filled(guest, 8, 120)
    stord.call("add", path=f"{stord.folder}/n.img")
    ended(stord)
    held_to(stord, 1 * MIB)
    stord.call("rebalance")
    until(lambda: stord.status()["task"]["done"] > 0, 20, "the first step")
    stord.kill()
    stord.up()
    assert stord.status()["task"]["kind"] == "rebalance" and "rebalance pool p0 goes on" in stord.log.read_text()
    if back:
        stord.call("cancel")
    held_to(stord, 0)
    assert ended(stord)["state"] == ("cancelled" if back else "done")
    stord.kill()
    stord.up()
    assert stord.status()["task"] is None
    load.verify()
    assert scrubbed(stord) == (0, 0)


def test_a_scrub_that_is_killed_begins_again_when_nobody_is_missing(stord: Stord, guest: Guest) -> None:
    stord.up()
    load = filled(guest, 9, 120)
    held_to(stord, 1 * MIB)
    stord.call("scrub")
    until(lambda: stord.status()["task"]["done"] > 0, 20, "the first step")
    stord.kill()
    away = f"{stord.folder}/elsewhere/b.img"
    os.mkdir(os.path.dirname(away))
    os.rename(stord.members[1], away)
    stord.start()
    held_to(stord, 0)
    assert members(stord)["b.img"] == "out" and stord.status()["task"] is None
    os.rename(away, stord.members[1])
    until(lambda: (stord.status()["task"] or {}).get("kind") == "scrub", 30, "the scrub after the rejoin")
    assert ended(stord)["state"] == "done" and members(stord)["b.img"] == "in"
    stord.kill()
    stord.up()
    assert stord.status()["task"] is None
    load.verify()


def test_a_member_that_was_away_comes_back_by_itself(stord: Stord, guest: Guest) -> None:
    stord.up()
    load = filled(guest, 2)
    away = f"{stord.folder}/elsewhere/b.img"
    os.mkdir(os.path.dirname(away))
    os.rename(stord.members[1], away)
    out_soon(stord, "b.img")
    for _ in range(20):
        load.step()
    os.rename(away, stord.members[1])
    until(lambda: members(stord)["b.img"] == "in", 30, "b.img in again")
    task = ended(stord)
    assert task["kind"] == "rejoin" and any("is in again" in words for words in stord.status()["pool"]["events"])
    load.verify()
    assert scrubbed(stord) == (0, 0)
    os.unlink(stord.members[2])
    out_soon(stord, "c.img")
    load.verify()


def test_it_comes_back_when_stord_began_without_it_and_was_killed(stord: Stord, guest: Guest) -> None:
    stord.up()
    load = filled(guest, 3)
    stord.kill()
    away = f"{stord.folder}/elsewhere/b.img"
    os.mkdir(os.path.dirname(away))
    os.rename(stord.members[1], away)
    stord.up()
    assert members(stord)["b.img"] == "out"
    for _ in range(20):
        load.step()
    held_to(stord, 1 * MIB)
    os.rename(away, stord.members[1])
    until(lambda: members(stord)["b.img"] in ("writing only", "in"), 30, "b.img coming")
    stord.kill()
    held_to(stord, 0)
    until(lambda: members(stord)["b.img"] == "in", 30, "b.img in again")
    load.verify()
    assert scrubbed(stord) == (0, 0)


def test_a_stranger_in_its_place_is_not_taken(stord: Stord, guest: Guest) -> None:
    stord.up()
    load = filled(guest, 4, 10)
    os.unlink(stord.members[1])
    out_soon(stord, "b.img")
    shutil.copy(stord.members[2], stord.members[1])
    with pytest.raises(Refused, match="is not out"):
        stord.call("rejoin", member="b.img")
    assert members(stord)["b.img"] == "out"
    load.verify()


def test_a_spare_takes_over_after_a_while(stord: Stord, guest: Guest) -> None:
    spare = f"{stord.folder}/s.img"
    stord.config["pool"] = {**stord.config["pool"], "spares": [spare], "spare_after": 0}
    stord.up()
    assert members(stord)["s.img"] == "spare" and stord.status()["problems"] == []
    load = filled(guest, 5)
    stord.kill()
    stord.up()
    assert members(stord)["s.img"] == "spare"
    running = Running(load)
    os.unlink(stord.members[0])
    until(lambda: members(stord)["a.img"] == "removed", 60, "a.img replaced")
    running.more(10)
    running.stop()
    load.verify()
    status = stord.status()
    assert members(stord)["s.img"] == "in" and any("spare" in words for words in status["pool"]["events"])
    assert status["problems"] == [
        f"in the lab file write {spare} in the place of {stord.members[0]}, which it replaced in pool p0"
    ]
    assert scrubbed(stord) == (0, 0)


def test_a_spare_by_hand_and_not_any_more(stord: Stord, guest: Guest) -> None:
    stord.up()
    assert stord.call("add", path=f"{stord.folder}/s.img", spare=True) is None
    assert members(stord)["s.img"] == "spare"
    stord.kill()
    stord.up()
    assert members(stord)["s.img"] == "spare", "found though the configuration does not name it"
    os.unlink(f"{stord.folder}/s.img")
    os.unlink(stord.members[0])
    out_soon(stord, "a.img")
    assert f"spare {stord.folder}/s.img was removed; vfab pool remove p0 takes it out" in stord.status()["problems"]
    assert stord.call("remove", member="s.img") is None
    assert members(stord)["s.img"] == "removed"


def test_a_job_is_held_to_a_rate_and_called_off(stord: Stord, guest: Guest) -> None:
    stord.up()
    load = filled(guest, 6, 200)
    held_to(stord, 1 * MIB)
    stord.call("replace", member="b.img", path=f"{stord.folder}/n.img")

    def estimated() -> dict[str, Any]:
        found: dict[str, Any] = stord.status()["task"]
        return found if found["left"] else {}

    task = until(estimated, 10, "an estimate")
    assert task["state"] == "running" and task["limit"] == MIB and "held to 1 MiB/s, about" in task["sentence"]
    stord.call("cancel")
    held_to(stord, 0)
    until(lambda: members(stord)["b.img"] == "in" and members(stord)["n.img"] == "removed", 60, "all as before")
    load.verify()
    with pytest.raises(Refused, match="nothing is under way in pool p0"):
        stord.call("cancel")


def test_larger_files(stord: Stord, guest: Guest) -> None:
    stord.up()
    load = filled(guest, 7)
    before = stord.status()["pool"]["size"]
    with pytest.raises(Refused, match="no member of pool p0 has grown"):
        stord.call("grow")
    os.truncate(stord.members[0], 128 * MIB)
    assert stord.call("grow") == [stord.members[0]]
    assert stord.call("grow", size=128 * MIB) == stord.members[1:]
    assert stord.status()["pool"]["size"] == before + 3 * 64 * MIB
    load.step()
    stord.kill()
    stord.up()
    load.verify()
    assert stord.status()["pool"]["size"] == 3 * 128 * MIB and stord.status()["problems"] == []
