"""A running pool is asked where a byte lies: what it names lies in the files, also after members went and were
replaced, and junk is one sentence."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from daemons.client import Refused
from tests.support.nbd_guest import Guest
from tests.support.pools import MIB, Stord, ended, members
from tests.support.waiting import until

GRAIN = 32768
DATA = bytes(range(256)) * (GRAIN // 256)


def look(stord: Stord, offset: int, *without: int) -> dict[str, Any]:
    value: dict[str, Any] = stord.call("inspect", volume="v0", offset=offset, without=list(without))
    return value


def lies(row: dict[str, Any], length: int) -> bytes:
    with open(row["name"], "rb") as file:
        file.seek(row["offset"])
        return file.read(length)


def test_where_it_lies_before_and_after_a_member_goes(stord: Stord, guest: Guest, folder: Path) -> None:
    stord.up()
    guest.write((0, DATA), (MIB, b"small" * 800))
    value = look(stord, 5000)
    assert value["newest"] == "slot" and value["block"] == 1
    data = [row for row in value["slot"]["columns"] if row["role"] == "data"]
    assert b"".join(lies(row, row["length"]) for row in data)[:GRAIN] == DATA
    assert [lies(copy, 4000) for copy in look(stord, MIB)["log"]["copies"]] == [b"small" * 800] * 2
    victim = data[0]
    os.unlink(victim["name"])
    until(lambda: "out" in members(stord).values(), what="the loss")
    value = look(stord, 5000, data[1]["member"])
    (gone,) = (row for row in value["slot"]["columns"] if row["content"] == "missing")
    assert gone["label"] == victim["label"] and gone["state"] == "out" and gone["name"] == victim["name"]
    assert not value["slot"]["without"]["survives"] and all(row["had"] for row in value["slot"]["blocks"])
    stord.call("replace", member=str(victim["member"]), path=f"{folder}/new.img")
    assert ended(stord)["state"] == "done"
    value = look(stord, 5000, data[1]["member"])
    assert {row["content"] for row in value["slot"]["columns"]} == {"right"} and value["slot"]["without"]["verifies"]
    (back,) = (row for row in value["slot"]["columns"] if row["label"] == victim["label"])
    assert back["name"] == f"{folder}/new.img" and lies(back, 512) == DATA[:512]


def test_junk_is_one_sentence(stord: Stord) -> None:
    stord.start()
    with pytest.raises(Refused, match="not open"):
        look(stord, 0)
    stord.configure()
    for args, words in (
        ({}, "inspect wants"), ({"volume": 3, "offset": 0}, "inspect wants"),
        ({"volume": "v0", "offset": "0"}, "wants"),
        ({"volume": "v0", "offset": -1}, "wants"), ({"volume": "v0", "offset": True}, "wants"),
        ({"volume": "v0", "offset": 0, "without": "0"}, "wants"),
        ({"volume": "v0", "offset": 0, "without": [None]}, "wants"),
        ({"volume": "v0", "offset": 0, "without": [7]}, "no member number 7"),
        ({"volume": "v0", "offset": 1 << 70}, "there is no byte"), ({"volume": "w", "offset": 0}, "no volume 'w'"),
    ):  # fmt: skip
        with pytest.raises(Refused, match=words):
            stord.call("inspect", **args)
    assert look(stord, 0)["newest"] == "hole"
