"""inspect: what it prints is what lies in the files. The bytes at the member offsets it names are read without any of
the pool's code and compared with what a guest reads; its equations are computed again by a slow, obvious field."""

from __future__ import annotations

import random
from typing import Any

import pytest

from storvirt.backing.member import PythonMember
from storvirt.backing.overlay import Overlay
from storvirt.pool import format as f
from storvirt.pool.assemble import open_pool
from storvirt.pool.inspection import inspect
from storvirt.pool.pool import Pool, PoolError
from storvirt.raid.layout import PROFILES
from tests.support.crashdisk import CrashDisk
from tests.support.poolrig import MIB, Kind, formatted, reopen, volume
from tests.support.simfile import SimFile

BLOCK = 4096
Value = dict[str, Any]


class Rig:
    def __init__(self, raid: str, grain: int = 32768) -> None:
        self.profile = PROFILES[raid]
        self.kind = Kind(raid, MIB, grain)
        self.disk = CrashDisk(formatted(max(self.profile.members, 2), (self.kind,)))
        self.pool = reopen(self.disk.members)
        self.name, self.dice = f"{raid}-0", random.Random(raid)
        self.volume = volume(self.pool, self.name)
        self.volume.write(0, self.dice.randbytes(5 * grain))
        self.volume.write(grain + 512, self.dice.randbytes(2048))
        self.volume.zero(2 * grain, grain)
        self.volume.zero(3 * grain, 512)
        self.volume.zero(4 * grain, BLOCK)

    def file(self, member: int) -> SimFile:
        return self.disk.files[f"m{member}"]

    def look(self, offset: int, without: frozenset[int] = frozenset()) -> Value:
        return inspect(self.pool, self.name, offset, without)

    def at(self, row: Value) -> bytes:
        """The bytes at a place that was printed."""
        return self.file(row["member"]).read(row["offset"], row["length"])


def from_files(rig: Rig, value: Value) -> bytes:
    """The block as the files have it, by the picture alone."""
    if value["newest"] in ("zeros", "hole"):
        return bytes(BLOCK)
    if value["newest"] == "log":
        copies = [rig.at(copy) for copy in value["log"]["copies"]]
        assert copies and all(copy == copies[0] for copy in copies)
        return copies[0]
    assert value["newest"] == "slot"
    start = value["block"] * BLOCK
    found = bytearray(BLOCK)
    for column in value["slot"]["columns"]:
        if column["role"] == "data":
            first, end = column["holds"]
            for at in range(max(first, start), min(end, start + BLOCK)):
                found[at - start] = rig.at(column)[at - first]
    return bytes(found)


def product(a: int, b: int) -> int:
    found = 0
    for bit in range(8):
        if b >> bit & 1:
            found ^= a << bit
    for bit in range(15, 7, -1):
        if found >> bit & 1:
            found ^= 0x11D << (bit - 8)
    return found


def sum_of(text: str, columns: dict[str, bytes], length: int = 64) -> bytes:
    """The right side of `Q = D0 + 2*D1`."""
    out = bytearray(length)
    for term in text.partition(" = ")[2].split(" + "):
        factor, _, name = term.rpartition("*")
        for i in range(length):
            out[i] ^= product(columns[name][i], int(factor or 1))
    return bytes(out)


@pytest.mark.parametrize("grain", [4096, 32768])
@pytest.mark.parametrize("raid", PROFILES)
def test_the_picture_is_what_lies_in_the_files(raid: str, grain: int) -> None:
    rig = Rig(raid, grain)
    seen = set()
    for moment in range(2):
        for offset in range(0, 6 * grain, BLOCK):
            value = rig.look(offset + rig.dice.randrange(BLOCK))
            seen.add(value["newest"])
            assert from_files(rig, value) == rig.volume.read(offset, BLOCK), (raid, offset, value["newest"])
            if value["slot"] is None:
                continue
            columns = {row["label"]: rig.at(row) for row in value["slot"]["columns"]}
            assert all(row["content"] == "right" for row in value["slot"]["columns"])
            assert len(value["slot"]["equations"]) == value["slot"]["redundant"]
            for equation in value["slot"]["equations"]:
                assert equation["holds"] is True
                name = equation["text"].partition(" = ")[0]
                assert sum_of(equation["text"], columns) == columns[name][:64]
            assert all(block["verifies"] and block["stored"] == block["computed"] for block in value["slot"]["blocks"])
        if not moment:
            for number in range(5):
                rig.pool.engine.destage(rig.pool.disk(rig.name), number)
            rig.pool.checkpoint()
    assert seen == {"log", "slot", "hole", "zeros"} if grain > BLOCK else seen >= {"log", "slot", "hole"}


@pytest.mark.parametrize("raid", [name for name, profile in PROFILES.items() if profile.parity])
def test_without_members_the_reconstruction_is_shown_and_verifies(raid: str) -> None:
    rig = Rig(raid)
    count = len(rig.pool.rows)
    for _ in range(6):
        lost = frozenset(rig.dice.sample(range(count), rig.profile.parity))
        slot = rig.look(rig.kind.grain, lost)["slot"]
        shown, columns = slot["without"], {row["label"]: rig.at(row) for row in slot["columns"]}
        assert shown["survives"] and shown["verifies"] and all(shown["blocks"])
        assert {slot["columns"][i]["member"] for i in shown["lost"]} <= lost
        assert not set(shown["read"]) & set(shown["lost"])
        for equation in shown["equations"]:
            assert equation["same"] is True and not set(equation["read"]) & set(shown["lost"])
            assert sum_of(equation["text"], columns) == columns[equation["label"]][:64]
    group = next(row["group"] for row in slot["columns"])
    together = [row["member"] for row in slot["columns"] if row["group"] == group]
    shown = rig.look(rig.kind.grain, frozenset(together))["slot"]["without"]
    assert not shown["survives"] and not shown["verifies"] and all(one["text"] is None for one in shown["equations"])


@pytest.mark.parametrize("raid", [name for name, profile in PROFILES.items() if profile.parity])
def test_who_lies_is_said(raid: str) -> None:
    rig = Rig(raid)
    for column in rig.look(0)["slot"]["columns"]:
        file, at = rig.file(column["member"]), column["offset"] + rig.dice.randrange(512)
        was = file.read(at, 1)
        file.write(at, bytes([was[0] ^ 1]))
        slot = rig.look(0)["slot"]
        assert [row["label"] for row in slot["columns"] if row["content"] == "wrong"] == [column["label"]]
        broken = [one["text"] for one in slot["equations"] if one["holds"] is False]
        assert broken and all(column["label"] in text.replace("*", " ").split() for text in broken)
        assert all(block["had"] for block in slot["blocks"])
        assert all(block["verifies"] for block in slot["blocks"]) == (column["role"] != "data")
        file.write(at, was)


def test_a_member_that_is_out_and_one_that_gives_errors() -> None:
    rig = Rig("raid6")
    rig.pool.lose(1, "pulled out")
    value = rig.look(0)
    assert {row["content"] for row in value["slot"]["columns"] if row["member"] == 1} == {"missing"}
    states = [(row["state"], row["there"]) for row in value["members"]]
    assert states == [("in", True), ("out", False), ("in", True), ("in", True)]
    assert value["members"][1]["generation"] < value["members"][0]["generation"] == value["commit"]
    assert value["slot"]["tolerance"] == 1
    rig.disk.fail(5, "m2", "read")
    slot = rig.look(0)["slot"]
    assert {row["content"] for row in slot["columns"] if row["member"] == 2} == {"unreadable"}
    assert None in [one["holds"] for one in slot["equations"]] and all(block["had"] for block in slot["blocks"])


def test_an_overlay_does_not_hide_the_files() -> None:
    """Opened for looking only, with what opening writes kept in memory: columns are still read from the files."""
    rig = Rig("raid5")
    rig.pool.flush()
    column = rig.look(0)["slot"]["columns"][0]
    rig.file(column["member"]).write(column["offset"], b"rot")
    raw = [PythonMember(rig.file(number), f"m{number}") for number in range(3)]
    pool = open_pool([PythonMember(Overlay(member), member.name) for member in raw], read_only=True)
    value = inspect(pool, rig.name, 0, members=raw)
    assert value["slot"]["columns"][0]["content"] == "wrong" and not value["slot"]["blocks"][0]["verifies"]
    assert value["slot"]["columns"][0]["offset"] == column["offset"]
    assert value["lba"] == 0 and value["commit"] >= rig.pool.number
    assert inspect(pool, rig.name, rig.kind.grain + 512, members=raw)["newest"] == "log"


def test_what_there_is_not() -> None:
    rig = Rig("raid5")
    for name, offset, without, words in (
        (rig.name, MIB, (), "there is no byte 1048576"),
        (rig.name, -1, (), "there is no byte -1"),
        ("nothing", 0, (), "has no volume 'nothing'"),
        (rig.name, 0, (9,), "has no member number 9"),
    ):
        with pytest.raises(PoolError, match=words):
            inspect(rig.pool, name, offset, frozenset(without))


@pytest.mark.parametrize("seed", range(20))
def test_junk_in_the_columns_raises_nothing(seed: int) -> None:
    dice = random.Random(seed)
    rig = Rig(dice.choice(list(PROFILES)))
    for file in rig.disk.files.values():
        if dice.random() < 0.7:
            file.write(f.EXTENTS_AT + dice.randrange(2 * MIB), dice.randbytes(40_000))
    pool: Pool = rig.pool
    for offset in range(0, 6 * rig.kind.grain, BLOCK):
        value = inspect(pool, rig.name, offset, frozenset({dice.randrange(len(pool.rows))}))
        if value["slot"] is not None:
            assert len(value["slot"]["blocks"]) == rig.kind.grain // BLOCK
