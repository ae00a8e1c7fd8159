"""vfab pool fault, as a user types it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.nbd_guest import Guest
from tests.support.user import vfab

LAB = """\
name: faults
storage:
  pools:
    p0: {members: [m0.img, m1.img, m2.img], size: 64MiB}
  volumes:
    v0: {pool: p0, raid: raid5, size: 16MiB}
  luns:
    lun0: {volume: v0, nbd: true}
"""


@pytest.fixture
def folder(work: Path) -> Path:
    (work / "faults.fab.yml").write_text(LAB)
    vfab("up", "faults")
    return work


def test_a_member_that_flips_bits(folder: Path) -> None:
    assert vfab("pool", "fault", "p0").out == "No member of pool p0 is given faults.\n"
    guest = Guest(vfab("lun", "show", "lun0", "--json").json["path"], "lun0")
    data = os.urandom(4 << 20)
    guest.write((0, data))
    struck = 0
    for member in ("m0.img", "m1.img", "m2.img"):
        told = vfab("pool", "fault", "p0", member, "flip", "rate=0.5", "seed=42").out.splitlines()
        assert told[0].split() == ["MEMBER", "PATH", "FAULT", "RATE", "STRUCK", "SEED"]
        assert told[1].split()[2:] == ["flip", "0.5", "0", "42"]
        assert guest.read(0, 4 << 20) == data
        (row,) = vfab("pool", "fault", "p0", "--json").json["faults"]
        assert row["path"] == str(folder / member)
        struck += row["struck"]["flip"]
        assert f"vfab pool fault p0 {row['member']} off ends that" in vfab("pool", "status", "p0", code=1).err
        vfab("pool", "fault", "p0", member, "off")
    assert struck > 0
    vfab("pool", "fault", "p0", "m2.img", "latency", "ms=3")
    assert "latency  3 ms" in vfab("pool", "fault", "p0").out
    assert vfab("pool", "fault", "p0", "off").out == "No member of pool p0 is given faults.\n"
    assert vfab("pool", "status", "p0").err == ""
    guest.close()


MISTAKES = [
    (("p0", "m0.img"), "say which fault m0.img is to have"),
    (("p0", "m0.img", "flip", "often"), "'often' is none of rate=, ms= and seed="),
    (("p0", "m0.img", "flip", "rate=often"), "rate= is a number"),
    (("p0", "m0.img", "flop"), "there is no fault 'flop'"),
    (("p0", "m7.img", "flip"), "has no member 'm7.img'"),
    (("p9",), "has no pool 'p9'"),
]


def test_mistakes(folder: Path) -> None:
    for words, sentence in MISTAKES:
        told = vfab("pool", "fault", *words, code=None)
        assert told.code and sentence in told.sentence, words
