"""Members and spares that the lab file does not name yet: lost, they are lost as others are."""

from __future__ import annotations

import os

from tests.support.nbd_guest import Guest, Load
from tests.support.pools import MIB, Stord, ended, members


def test_the_new_one_is_lost_while_nobody_looks(stord: Stord, guest: Guest) -> None:
    """The old one's file is still there, and no listed file is missing."""
    stord.up()
    load = Load(guest, 1, 8 * MIB)
    for _ in range(10):
        load.step()
    stord.call("replace", member="b.img", path="n.img")
    assert ended(stord)["state"] == "done"
    stord.kill()
    os.unlink(f"{stord.folder}/n.img")
    stord.up()
    load.verify()
    assert members(stord)["n.img"] == "out" and members(stord)["a.img"] == members(stord)["c.img"] == "in"
    assert any(f"vfab pool replace p0 {stord.folder}/n.img NEWFILE" in words for words in stord.status()["problems"])


def test_another_one_is_not_blamed_for_it(stord: Stord, guest: Guest) -> None:
    """The file of the one that was replaced is gone as well, and still listed."""
    stord.up()
    load = Load(guest, 2, 8 * MIB)
    load.step()
    stord.call("replace", member="b.img", path="n.img")
    assert ended(stord)["state"] == "done"
    stord.kill()
    os.unlink(f"{stord.folder}/n.img")
    os.unlink(stord.members[1])
    stord.up()
    load.verify()
    assert (members(stord)["n.img"], members(stord)["b.img"]) == ("out", "removed")
    problems = stord.status()["problems"]
    assert [f"put a new file in its place: vfab pool replace p0 {stord.folder}/{name}" in " ".join(problems)
            for name in ("n.img", "b.img")] == [True, False]  # fmt: skip


def test_a_spare_is_lost_while_nobody_looks(stord: Stord) -> None:
    """It is said, and it can be taken out of the table."""
    spare = f"{stord.folder}/s.img"
    stord.up()
    stord.call("add", path=spare, spare=True)
    stord.stop()
    os.unlink(spare)
    stord.up()
    assert members(stord)["s.img"] == "spare"
    words = f"spare {spare} was not there when the pool was opened; vfab pool remove p0 takes it out"
    assert words in stord.status()["problems"]
    assert stord.call("remove", member="s.img") is None
    assert members(stord)["s.img"] == "removed" and stord.status()["problems"] == []
    stord.kill()
    stord.up()
    assert members(stord)["s.img"] == "removed"
