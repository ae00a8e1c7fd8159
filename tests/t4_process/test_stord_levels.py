"""A real stord with levels that survive more than one loss: what it opens without members, and what it refuses to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemons.client import Refused
from tests.support.nbd_guest import Guest
from tests.support.pools import Stord, ended, members, scrubbed


@pytest.fixture
def six(folder: Path) -> Iterator[Stord]:
    stord = Stord(folder, members=4, raid="raid6")
    yield stord
    stord.close()


def aside(stord: Stord, count: int) -> list[tuple[str, str]]:
    """Members taken away, to where they are not found."""
    folder = f"{stord.folder}/elsewhere"
    os.makedirs(folder, exist_ok=True)
    moved = [(member, f"{folder}/{Path(member).name}") for member in stord.members[:count]]
    for member, other in moved:
        os.rename(member, other)
    return moved


def test_two_are_missing_and_replaced_and_then_two_others(six: Stord) -> None:
    six.up()
    guest = Guest(six.socket, "lun0")
    data = os.urandom(300_000 // 512 * 512)
    guest.write((0, data))
    six.stop()
    aside(six, 2)
    six.up()
    assert sorted(members(six).values()) == ["in", "in", "out", "out"]
    assert guest.read(0, len(data)) == data
    for number, name in ((0, "n0.img"), (1, "n1.img")):
        six.call("replace", member=str(number), path=f"{six.folder}/{name}")
        assert ended(six)["state"] == "done"
    assert scrubbed(six) == (0, 0)
    six.stop()
    six.members[:2] = [f"{six.folder}/n0.img", f"{six.folder}/n1.img"]
    for member in six.members[2:]:
        os.unlink(member)
    six.up()
    assert guest.read(0, len(data)) == data
    guest.close()


def test_three_are_too_many(six: Stord) -> None:
    six.up()
    six.stop()
    moved = aside(six, 3)
    six.start()
    with pytest.raises(Refused, match=r"can do without two members: bring them back"):
        six.configure()
    for member, other in moved:
        os.rename(other, member)
    six.configure()
    assert six.status()["problems"] == []


def test_two_are_out_and_a_third_goes(six: Stord) -> None:
    six.up()
    guest = Guest(six.socket, "lun0")
    guest.write((0, b"x" * 65536))
    guest.close()
    six.stop()
    aside(six, 2)
    six.up()
    six.stop()
    os.rename(six.members[2], f"{six.folder}/elsewhere/c.img")
    six.start()
    with pytest.raises(Refused, match=r"can do without two members, and 2 others are out already: bring it back"):
        six.configure()


def test_a_level_stays_what_it_is(six: Stord) -> None:
    six.up()
    volume = {**six.config["volumes"][0], "raid": "raid7"}
    six.configure(volumes=[volume])
    assert any("has RAID level raid6, which can't become raid7" in problem for problem in six.status()["problems"])
