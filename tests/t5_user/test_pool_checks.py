"""A pool's files in a user's hands: found again wherever they went, checked, mended, and looked into byte by byte."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from daemons.paths import LabPaths, lab_id
from storvirt import Pool
from tests.support.nbd_guest import Guest
from tests.support.user import inside, vfab

pytestmark = pytest.mark.usefixtures("activated")

MIB = 1 << 20
LAB = """\
name: disks
storage:
  pools:
    p0: {members: [a.img, b.img, c.img], size: 64MiB}
  volumes:
    v0: {pool: p0, raid: raid5, size: 20MiB}
  luns:
    lun0: {volume: v0, nbd: true}
"""
FILES = ["a.img", "b.img", "c.img"]


@pytest.fixture
def pool(work: Path) -> Path:
    """A pool without a lab, with something in it."""
    with Pool.create(FILES, 64 * MIB, "p0") as made:
        disk = made.create_volume("v0", 20 * MIB, "raid5")
        disk.write(0, b"grain" * 20_000)
        disk.write(200_000 // 4096 * 4096, b"block" * 1000)
        disk.flush()
    return work


def test_files_that_went_elsewhere_are_a_pool_again(pool: Path) -> None:
    away = pool / "attic"
    away.mkdir()
    for old, new in zip(FILES, ("third", "first", "second"), strict=True):
        shutil.move(pool / old, away / new)
    (away / "letter.txt").write_text("Dear Sir, " * 1000)
    told = vfab("pool", "import", "attic")
    assert re.search(r"^Pool p0 \([0-9a-f]{12}\), commit \d+", told.out) and "pool p0 can be opened." in told.out
    assert "Volumes: v0 (raid5, 20 MiB)" in told.out
    assert "letter.txt: it does not begin with a virtfab superblock; it is no member of a pool" in told.err
    line = f"members: [{away}/third, {away}/first, {away}/second]"
    assert line in told.out.splitlines()
    value = vfab("pool", "import", "attic/first", "attic/third", "attic/second", "--json").json
    (history,) = value["pools"][0]["histories"]
    assert history["opens"] == "yes" and [row["number"] for row in history["members"]] == [0, 1, 2]
    (pool / "disks.fab.yml").write_text(LAB.replace("members: [a.img, b.img, c.img]", line))
    vfab("up", "disks")
    vfab("status")


def test_what_is_missing_doubled_or_old(pool: Path) -> None:
    shutil.copy(pool / "a.img", pool / "copy.img")
    os.rename(pool / "b.img", pool.parent / "b.img")
    told = vfab("pool", "import", ".")
    assert "opens degraded, with all its data" in told.out
    assert re.search(r"^1 +missing .*\(last seen: .*b.img\)$", told.out, re.MULTILINE)
    assert "same member twice" in told.err and "copy.img" in told.err
    os.unlink(pool / "c.img")
    (history,) = vfab("pool", "import", ".", "--json").json["pools"][0]["histories"]
    assert history["opens"] == "degraded" and "a part of its data can't be read" in history["sentence"]


def test_two_halves_are_both_shown(work: Path) -> None:
    with Pool.create(["x.img", "y.img"], 64 * MIB, "twins") as made:
        made.create_volume("v", MIB, "raid1")
    for name in ("x.img", "y.img"):
        with Pool.open([name], degraded=True) as half:
            half.volume("v").write(0, name.encode() * 1000)
    told = vfab("pool", "import", ".", code=1)
    assert told.out.count("Pool twins") == 2 and "two histories" in told.err and "never joined" in told.err
    assert "two histories" in vfab("pool", "fsck", "x.img", "y.img", "--repair", code=1).out


def test_a_pool_that_runs(work: Path) -> None:
    (work / "disks.fab.yml").write_text(LAB)
    vfab("up", "disks")
    guest = Guest(LabPaths(lab_id("disks", work / "disks.fab.yml")).nbd("p0", "lun0"), "lun0")
    guest.write((0, b"whole" * 20_000), (8 * MIB, b"bits" * 1024))
    told = vfab("pool", "import", ".")
    assert "It is in use: its files are open in process" in told.out
    for words in (["p0"], FILES, ["p0", "--repair"]):
        assert "is open in process" in vfab("pool", "fsck", *words, code=1).sentence
    live = vfab("pool", "inspect", "v0", "--offset", "8MiB", "--json").json
    assert live["newest"] == "log" and len(live["log"]["copies"]) == 2
    for copy in live["log"]["copies"]:
        with open(copy["name"], "rb") as file:
            file.seek(copy["offset"])
            assert file.read(4096) == b"bits" * 1024
    shown = vfab("pool", "inspect", "v0", "--lba", "8", "--without", "a.img").out
    assert re.search(r"^P = D0 \+ D1: holds$", shown, re.MULTILINE)
    assert "Without member 0:" in shown and "8 of 8 blocks that verify" in shown
    assert (
        vfab("pool", "inspect", "v0", "--lba", "8", "--without", "m1,2", "--json").json["slot"]["without"]["verifies"]
        is False
    )
    assert "open in process" in vfab("pool", "inspect", "v0", *FILES, "--lba", "0", code=1).sentence
    for wrong, code in (
        (("inspect", "v9", "--lba", "0"), 1), (("inspect", "v0", "--lba", "99999999"), 1), (("inspect", "v0"), 2),
        (("inspect", "v0", "--lba", "x"), 2), (("inspect", "v0", "--lba", "1", "--offset", "0"), 2),
        (("inspect", "v0", "--lba", "0", "--without", "z.img"), 2), (("inspect", "\x1b[2J", "--lba", "0"), 1),
    ):  # fmt: skip
        answer = inside("pool", *wrong)
        assert answer.code == code and answer.out == "" and answer.sentence, answer.told
    guest.close()
    vfab("status")
    vfab("down")
    assert "clean." in vfab("pool", "fsck", "p0", "--data").out
    assert vfab("pool", "fsck", "p0", "-l", "disks.fab.yml", "--json").json["clean"] is True


def test_a_bit_flips_and_is_found_and_mended(pool: Path) -> None:
    clean = vfab("pool", "fsck", *FILES, "--data").out
    words = r"Pool p0, commit \d+: 2 pages, 3 grains, 2 records of the log; all data read: clean\.\n"
    assert re.fullmatch(words, clean), clean
    value = vfab("pool", "inspect", "v0", *FILES, "--lba", "0", "--json").json
    assert value["newest"] == "slot" and all(one["holds"] for one in value["slot"]["equations"])
    column = value["slot"]["columns"][1]
    with open(column["name"], "r+b") as file:
        file.seek(column["offset"] + 77)
        byte = file.read(1)[0]
        file.seek(column["offset"] + 77)
        file.write(bytes([byte ^ 4]))
        file.seek(4096 + 20)
        file.write(b"rot")
    assert "superblock 2 of 2" in vfab("pool", "fsck", *FILES, code=1).out
    told = vfab("pool", "fsck", *FILES, "--data", code=1).out
    assert f"{column['name']}: D1 of grain 0 of volume v0" in told and str(column["offset"]) in told
    assert "2 findings." in told
    shown = vfab("pool", "inspect", "v0", *FILES, "--lba", "0").out
    assert re.search(r"^D1 .* wrong ", shown, re.MULTILINE) and "P = D0 + D1: does not hold" in shown
    mended = vfab("pool", "fsck", *FILES, "--data", "--repair", code=1).out
    assert mended.count("(mended)") == 2 and "2 findings, 2 mended." in mended
    assert "clean." in vfab("pool", "fsck", *FILES, "--data").out
    with Pool.open(FILES) as again:
        assert again.volume("v0").read(0, 100_000) == b"grain" * 20_000


def test_names_of_any_bytes(pool: Path) -> None:
    strange = os.fsdecode(b"\xff\x1b[2J, a: b")
    os.rename("b.img", strange)
    told = vfab("pool", "import", ".")
    assert "pool p0 can be opened." in told.out and "\x1b" not in told.out and "rename the files" in told.out
    (pool_value,) = vfab("pool", "import", ".", "--json").json["pools"]
    assert [os.path.basename(path) for path in pool_value["histories"][0]["paths"]] == ["a.img", strange, "c.img"]
    assert vfab("pool", "fsck", "a.img", strange, "c.img", "--json").json["clean"] is True
    assert "\x1b" not in vfab("pool", "inspect", "v0", "a.img", strange, "c.img", "--lba", "0").out


def test_without_a_file(pool: Path) -> None:
    shown = json.loads(vfab("pool", "inspect", "v0", "a.img", "c.img", "--offset", "4096", "--json").out)
    assert [row["content"] for row in shown["slot"]["columns"]].count("missing") == 1
    assert "member number 1 of pool p0 is missing" in vfab("pool", "fsck", "a.img", "c.img", code=1).out


def test_wrong_usage_is_one_sentence(pool: Path) -> None:
    (pool / "letter").write_text("Dear Sir")
    os.mkfifo(pool / "pipe")
    for words, code in (
        (("import",), 2), (("import", "none"), 2), (("import", "--degraded"), 2),
        (("import", "a", "b", "--degraded"), 2), (("import", "x\0y"), 2), (("import", "\x1b[2J"), 2),
        (("fsck",), 2), (("fsck", "p9"), 2), (("fsck", "letter"), 1), (("fsck", "a.img", "none/b.img"), 1),
        (("fsck", "pipe"), 1), (("fsck", "."), 1), (("fsck", "\x1b[2J"), 2), (("fsck", "p0", "-l", "nowhere"), 2),
        (("inspect", "v0", "letter", "--lba", "0"), 1), (("inspect", "v1", *FILES, "--lba", "0"), 1),
        (("inspect", "v0", *FILES, "--lba", str(1 << 40)), 1),
    ):  # fmt: skip
        answer = inside("pool", *words)
        assert answer.code == code and answer.out == "" and answer.sentence, answer.told
    for number in range(1100):  # more than a process may have open, by default
        (pool / f"letter {number}").write_bytes(bytes(9000))
    assert "1081 more files are no members" in vfab("pool", "import", ".").err
    empty = pool / "empty"
    empty.mkdir()
    assert vfab("pool", "import", "empty", code=1).out == "There is no member of any pool.\n"
    assert "neither a file nor a block device" in vfab("pool", "import", "pipe", code=1).err
