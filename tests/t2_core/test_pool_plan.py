"""What a plan says before a pool is made is what the pool does then; and the words of `vfab pool plan`."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

import pytest

from storvirt.backing.member import PythonMember
from storvirt.block import BlockError
from storvirt.pool.assemble import format_pool
from storvirt.pool.errors import PoolError
from storvirt.pool.plan import MOST_PATTERNS, Plan, plan
from storvirt.raid.layout import PROFILES
from tests.support.poolrig import volume
from tests.support.simfile import SimFile
from tools import vfab

MIB, TIB = 1 << 20, 1 << 40


def whole(one: Plan) -> bool:
    return one.capacity + one.redundancy + one.padding + one.kept + one.unused == one.size


@pytest.mark.parametrize("raid", PROFILES)
@pytest.mark.parametrize("sizes", [(64,) * 8, (40, 50, 60, 70, 80, 90, 100, 110), (400, 60, 60, 60, 60, 60, 60, 60)])
def test_every_byte_is_accounted_for(raid: str, sizes: tuple[int, ...]) -> None:
    one = plan([size * MIB for size in sizes], raid)
    assert whole(one) and one.capacity > 0
    assert sum(member.size for member in one.members) == one.size == sum(sizes) * MIB
    assert all(member.size == member.data + member.kept + member.unused for member in one.members)
    assert sum(shape.capacity for shape in one.shapes) == one.capacity
    assert one.tolerance == PROFILES[raid].parity


@pytest.mark.parametrize(
    ("sizes", "raid", "share"),
    [
        ((4, 4, 2), "raid5", 6), ((4, 4, 4, 4), "raid6", 8), ((8, 4, 2, 2), "raid10", 8), ((2, 2, 2, 4), "raid4", 6),
        ((1,) * 6, "raid50", 4), ((4, 2), "raid1", 2), ((4, 2), "raid0", 6), ((1,) * 8, "raid7", 5),
    ],
)  # fmt: skip
def test_what_is_known_from_arithmetic(sizes: tuple[int, ...], raid: str, share: int) -> None:
    """But for what the log and the map are given, and padding under 5 %."""
    one = plan([size * TIB for size in sizes], raid)
    assert 0.9 * share * TIB < one.capacity <= share * TIB


def test_what_survives_more_than_is_promised() -> None:
    six = [TIB] * 6
    assert plan(six, "raid10").survived == (12, 15), "all pairs of members but the three mirrors"
    assert plan(six, "raid50").survived == (9, 15)
    assert plan(six, "raid5").survived == (0, 15)
    assert plan([TIB] * 8, "raid60").survived == (8 * 7 * 6 // 6 - 2 * 4, 56)
    assert plan([TIB // 4] * 64, "raid7").survived is None and MOST_PATTERNS < 635_376


def test_what_no_pool_can_be_is_not_planned() -> None:
    assert plan([4 * TIB] * 4, "raid5").capacity > 10 * TIB
    with pytest.raises(PoolError, match=r"at most 16 TiB in all its members, not 20\.0"):
        plan([4 * TIB] * 5, "raid5")


@pytest.mark.parametrize(("raid", "sizes"), [("raid5", (44, 40, 24)), ("raid10", (60, 40, 24, 24))])
def test_a_pool_holds_what_was_planned(raid: str, sizes: tuple[int, ...]) -> None:
    one = plan([size * MIB for size in sizes], raid, extent=MIB)
    members = [PythonMember(SimFile(size * MIB), f"m{number}") for number, size in enumerate(sizes)]
    ids = [bytes([number]) * 16 for number in range(len(sizes))]
    pool = format_pool(members, name="p", pool_id=bytes(16), member_ids=ids, extent=MIB)
    pool.create_volume("v", one.capacity * 2, raid)
    disk, data, taken = volume(pool, "v"), random.Random(1).randbytes(32768), 0
    with pytest.raises(BlockError, match="is full"):
        for taken in itertools.count(0, 32768):
            disk.write(taken, data)
    assert 0.9 * one.capacity < taken <= 1.1 * one.capacity


@pytest.mark.parametrize(
    ("sizes", "raid", "sentence"),
    [
        ([TIB] * 3, "raid6", "raid6 needs at least 4 members, not 3"),
        ([TIB] * 3, "raid9", "there is no RAID level 'raid9'"),
        ([TIB] * 65, "raid5", "a pool has 1 to 64 members, not 65"),
        ([], "linear", "a pool has 1 to 64 members, not 0"),
        ([TIB, MIB, TIB], "raid5", "a member of 1048576 bytes is too small"),
    ],
)
def test_what_cannot_be_is_said(sizes: list[int], raid: str, sentence: str) -> None:
    with pytest.raises(PoolError, match=sentence):
        plan(sizes, raid)


# --- the command


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = vfab.main(["pool", "plan", *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_it_is_told_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = told(capsys, "--members", "4TiB,4TiB,2TiB", "--raid", "raid5")
    assert code == 0 and "raid5 over 3 members: 5.84 TiB for data, of 10 TiB" in out
    assert "It survives the loss of any one member." in out and "LOG AND MAP" in out
    _, out, _ = told(capsys, "--members", "6x1TiB", "--level", "raid50")
    assert "any one member; of two, 9 of the 15 ways to lose them." in out
    _, out, _ = told(capsys, "--members", "1TiB", "--raid", "linear", "--size", "2TiB")
    assert "linear over 2 members: " in out and "It survives the loss of no member." in out


def test_it_is_told_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = told(capsys, "--members", "4x1TiB", "--raid", "raid6", "--json")
    [value] = json.loads(out)
    assert code == 0 and value["tolerance"] == 2 and value["survived"] == {"survived": 0, "of": 4}
    assert value["capacity"] == plan([TIB] * 4, "raid6").capacity and len(value["members"]) == 4


LAB = """\
name: planned
storage:
  pools:
    p0: {members: [a, b, c, d], size: 1GiB}
  volumes:
    small: {pool: p0, raid: raid6, size: 500MiB}
    wide: {pool: p0, raid: raid1c3, size: 100GiB}
"""


def test_the_volumes_of_a_lab_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "p.fab.yml"
    file.write_text(LAB)
    code, out, _ = told(capsys, str(file))
    assert code == 1, "one of them does not fit when it is full"
    assert "volume small (raid6) in pool p0" in out and "alone in the pool, fits." in out
    assert "volume wide (raid1c3) in pool p0" in out and "does not fit when it is full" in out
    code, out, _ = told(capsys, str(file), "--raid", "raid0", "--size", "1GiB")
    assert code == 0 and "raid0 in pool p0" in out and "of 5 GiB" in out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "give a lab file, the name of a pool, or sizes"),
        (("p0", "--members", "1TiB", "--raid", "linear"), "give a lab file, the name of a pool, or sizes"),
        (("--members", "1TiB"), "say which level"),
        (("--members", "3x1TiB", "--raid", "raid6"), "raid6 needs at least 4 members, not 3"),
    ],
)
def test_mistakes_are_sentences(words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = told(capsys, *words)
    assert code == 2 and sentence in err


@pytest.mark.parametrize(
    "words", [("--members", "0x1TiB"), ("--members", "ax1TiB"), ("--members", "1"), ("--raid", "x")]
)
def test_words_that_are_none(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        told(capsys, *words)
    assert caught.value.code == 2 and "vfab pool plan" in capsys.readouterr().err
