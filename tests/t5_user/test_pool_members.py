"""Members that come and go as a user has it: vfab pool add, rebalance, remove, rejoin, grow, cancel, set, spares."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.support.nbd_guest import Guest
from tests.support.user import vfab
from tests.support.waiting import until
from tests.t5_user import test_storage

MIB = 1 << 20
CONTENT = bytes(range(256)) * 4096 * 20
folder, disk, change = test_storage.folder, test_storage.disk, test_storage.change


def states() -> dict[str, str]:
    told = json.loads(vfab("pool", "show", "p0", "--json").out)
    return {Path(row["path"]).name: row["state"] for row in told["pool"]["members"]}


def test_one_more_and_one_less(folder: Path, disk: Guest) -> None:
    vfab("up", "disks")
    disk.write((0, CONTENT))
    assert "add " in vfab("pool", "add", "p0", "n.img").out and states()["n.img"] == "in"
    assert "rebalance pool p0: done" in vfab("pool", "rebalance", "p0").out
    assert vfab("pool", "rebalance", "p0", code=1).err.strip().endswith("pool p0 is balanced")
    assert "b.img: done" in vfab("pool", "remove", "p0", "b.img").out and states()["b.img"] == "removed"
    refused = vfab("pool", "remove", "p0", "c.img", code=1).err
    assert "volume v0 of pool p0 does not allow it: raid5 needs at least 3 members, not 2" in refused
    assert disk.read(0, len(CONTENT)) == CONTENT
    said = vfab("pool", "status", code=1)
    assert f"{folder}/n.img is a member of pool p0 and not in the lab file; list it there" in said.err
    change(folder, "[a.img, b.img, c.img]", "[a.img, c.img, n.img]")
    vfab("up", "disks")
    assert vfab("pool", "status").err == "" and disk.read(0, len(CONTENT)) == CONTENT


def test_spares_of_the_file(folder: Path, disk: Guest) -> None:
    vfab("up", "disks")
    disk.write((0, CONTENT))
    change(folder, "c.img], size: 64MiB}", "c.img], size: 64MiB, spares: [s.img], spare-after: 0}")
    vfab("up", "disks")
    assert states()["s.img"] == "spare"
    os.unlink(folder / "b.img")
    until(lambda: states()["b.img"] == "removed", 60, "the spare in its place")
    assert states()["s.img"] == "in" and disk.read(0, len(CONTENT)) == CONTENT
    assert "s.img in the place of" in vfab("pool", "status", code=1).err


def test_a_job_is_held_back_and_called_off(folder: Path, disk: Guest) -> None:
    vfab("up", "disks")
    disk.write((0, CONTENT))
    assert vfab("pool", "set", "p0", "repair-rate=1MiB/s").out == "p0 repair-rate: no limit -> 1 MiB/s\n"
    assert "Nothing to change" in vfab("pool", "set", "p0", "repair-rate=1MiB").out
    vfab("pool", "remove", "p0", "c.img", code=1)
    vfab("pool", "replace", "p0", "c.img", "n.img", "--no-wait")
    said = until(lambda: (lambda out: out if "s left" in out else "")(vfab("pool", "status", code=None).out), 20)
    assert "held to 1 MiB/s, about" in said
    os.kill(vfab("ps", "--json").json["nodes"]["p0"]["pid"], signal.SIGKILL)
    until(lambda: "held to 1 MiB/s" in vfab("pool", "status", code=None).out, 30, "the job held back as before")
    assert "  p0 repair-rate: no limit -> 1 MiB/s" in vfab("status", code=None).out
    assert "It is called off" in vfab("pool", "cancel", "p0").out
    assert "took back p0 repair-rate: 1 MiB/s -> no limit\n" in vfab("up", "disks", code=None).out
    assert "Nothing to change" in vfab("pool", "set", "p0", "repair-rate=0").out
    until(lambda: states() == {"a.img": "in", "b.img": "in", "c.img": "in", "n.img": "removed"}, 60, "as before")
    assert "nothing is under way in pool p0" in vfab("pool", "cancel", "p0", code=1).err
    assert disk.read(0, len(CONTENT)) == CONTENT


def test_away_and_larger(folder: Path, disk: Guest) -> None:
    vfab("up", "disks")
    disk.write((0, CONTENT))
    os.mkdir(folder / "away")
    os.rename(folder / "b.img", folder / "away" / "b.img")
    until(lambda: states()["b.img"] == "out", 10, "b.img out")
    disk.write((MIB, b"meanwhile" * 1000))
    assert "rejoin" in vfab("pool", "rejoin", "p0", "b.img", "--file", "away/b.img").out and states()["b.img"] == "in"
    assert "0 mended, 0 lost" in vfab("pool", "scrub", "p0").out
    assert vfab("pool", "grow", "p0", "--size", "128MiB").out.count(".img") == 3
    assert "has grown by an extent" in vfab("pool", "grow", "p0", code=1).err
    assert disk.read(MIB, 9000) == b"meanwhile" * 1000


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("set", "p0", "speed=1"), "'speed=1' is no setting of a pool; write repair-rate=100MiB/s"),
        (("set", "p0", "repair-rate=fast"), "'fast' is no rate; write it like 100MiB/s"),
        (("add", "p9", "x.img"), "lab disks has no pool 'p9'"),
        (("add", "p0", "a.img"), "a.img"),
        (("remove", "p0", "x.img"), "pool p0 has no member 'x.img'"),
        (("rejoin", "p0", "a.img"), "busy|open|not out"),
    ],
)
def test_wrong_usage_is_one_sentence(folder: Path, words: tuple[str, ...], sentence: str) -> None:
    vfab("up", "disks")
    said = vfab("pool", *words, code=None)
    assert said.code != 0 and "Traceback" not in said.err and len(said.err.strip().splitlines()) == 1
    assert any(part in said.err for part in sentence.split("|")), said.err
