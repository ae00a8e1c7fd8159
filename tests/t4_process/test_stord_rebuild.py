"""A real stord that is killed while a member is replaced: what was begun goes on by itself, wherever its files lie."""

from __future__ import annotations

import os
import random

from daemons.control import encode
from tests.support.nbd_guest import Guest, Load, Running
from tests.support.pools import MIB, Stord, ended, held_to, members, scrubbed
from tests.support.waiting import until

SIZE = 24 * MIB  # of the part that loads write to
KILLS = 12


def filled(guest: Guest, seed: int, writes: int = 60) -> Load:
    load = Load(guest, seed, SIZE)
    for _ in range(writes):
        load.step()
    return load


def test_a_rebuild_goes_on_by_itself(stord: Stord, guest: Guest) -> None:
    """Its new file is in a folder of its own, and the lab file knows nothing of it."""
    stord.up()
    load = filled(guest, 1)
    os.unlink(stord.members[1])
    until(lambda: members(stord)["b.img"] == "out", 2.0, "the removed member out")
    os.mkdir(f"{stord.folder}/elsewhere")
    new = f"{stord.folder}/elsewhere/n.img"
    held_to(stord, 1 << 20)
    told = stord.call("replace", member="b.img", path=new)
    assert told["total"] > 0 and not told["resumed"]
    stord.kill()
    stord.up()
    task = stord.status()["task"]
    assert (task["old"], task["path"], task["resumed"]) == (stord.members[1], new, True)
    assert stord.call("replace", member="b.img", path=new)["path"] == new, "to ask again is no mistake"
    assert stord.status()["problems"] == [], "nothing is to be done by hand"
    held_to(stord, 0)
    assert ended(stord)["sentence"] == f"{new} has taken the place of {stord.members[1]}"
    (problem,) = stord.status()["problems"]
    assert problem == f"in the lab file write {new} in the place of {stord.members[1]}, which it replaced in pool p0"
    load.verify()
    for _ in range(2):  # nothing of it is forgotten by the next process
        stord.kill()
        stord.up()
        assert stord.status()["problems"] == [problem]
    os.unlink(stord.members[0])
    until(lambda: members(stord)["a.img"] == "out", 2.0, "another member out")
    load.step()
    load.verify()
    stord.kill()
    listed = {**stord.config["pool"], "members": [stord.members[0], new, stord.members[2]]}
    stord.start()
    stord.configure(pool=listed)
    problems = stord.status()["problems"]
    assert not any("lab file" in sentence for sentence in problems) and any("a.img" in words for words in problems)


def test_a_rebuild_is_interrupted_in_an_orderly_way(stord: Stord, guest: Guest) -> None:
    stord.up()
    load = filled(guest, 2)
    stord.call("replace", member="c.img", path="n.img")
    stord.stop()
    stord.up()
    assert ended(stord)["state"] == "done"
    load.verify()
    assert members(stord) == {"a.img": "in", "b.img": "in", "c.img": "removed", "n.img": "in"}
    assert scrubbed(stord) == (0, 0)


def test_the_new_file_is_lost_while_nobody_looks(stord: Stord, guest: Guest) -> None:
    """Half of the rebuild is on it, and the old member is gone as well: no slab lacks two columns."""
    stord.up()
    load = filled(guest, 3)
    os.unlink(stord.members[1])
    until(lambda: members(stord)["b.img"] == "out", 2.0, "the removed member out")
    stord.call("replace", member="b.img", path="n.img")
    stord.kill()
    os.unlink(f"{stord.folder}/n.img")
    stord.up()
    load.verify()
    assert members(stord)["n.img"] == "out" and stord.status()["task"] is None
    assert [f"vfab pool replace p0 {stord.folder}/{name} NEWFILE" in " ".join(stord.status()["problems"])
            for name in ("b.img", "n.img")] == [True, True]  # fmt: skip
    stord.call("replace", member="n.img", path="o.img")
    assert ended(stord)["state"] == "done"
    # What n.img was to take the place of is o.img's now, and that begins by itself.
    until(lambda: members(stord)["b.img"] == "removed", 60, "the other place taken")
    load.verify()
    assert scrubbed(stord) == (0, 0)
    assert sorted(members(stord).values()).count("in") == 3


def test_killed_at_any_moment_of_many_rebuilds_under_load(stord: Stord, guest: Guest) -> None:
    """From before the new file is a member to after the old one is none: each ends by itself."""
    dice = random.Random(4)
    stord.up()
    running = Running(filled(guest, 4, 40))
    old, kills, files = "b.img", 0, 0
    for _ in range(10 * KILLS):
        if kills == KILLS:
            break
        task = stord.status()["task"]
        if task is None or task["state"] != "running":
            assert task is None or task["state"] == "done", task
            old = next(name for name, state in sorted(members(stord).items()) if state == "in")
            files += 1
            if dice.random() < 0.3:
                _ask_and_kill(stord, old, f"n{files}.img")
                kills += 1
                running.more(1)
            else:
                stord.call("replace", member=old, path=f"n{files}.img")
        elif _far_enough(stord, dice.random()):
            stord.kill()
            stord.up()
            kills += 1
            running.more(1)
    assert kills == KILLS
    running.more(20)
    if stord.status()["task"] is not None:
        assert ended(stord)["state"] == "done"
    running.more(20)
    running.stop()
    running.load.verify()
    assert guest.reconnects == KILLS, "it was there between any two of them"
    assert scrubbed(stord) == (0, 0)
    assert sorted(set(members(stord).values())) == ["in", "removed"]
    running.load.verify()


def _ask_and_kill(stord: Stord, old: str, new: str) -> None:
    """Killed as soon as the new file is there: nobody knows whether the pool has heard of it."""
    stord.client._socket.sendall(encode({"id": 1, "op": "replace", "args": {"member": old, "path": new}}))
    until(lambda: os.path.exists(f"{stord.folder}/{new}"), what="the new file")
    stord.kill()
    stord.up()


def _far_enough(stord: Stord, share: float) -> bool:
    """Wait until so much of the rebuild is done; False if it ended before."""

    def look() -> str:
        task = stord.status()["task"]
        return task["state"] if task["state"] != "running" or task["done"] >= share * task["total"] else ""

    return until(look, 60, "the rebuild's progress") == "running"
