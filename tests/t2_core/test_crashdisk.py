"""CrashDisk itself: it gives every state it should, none that cannot be, and catches logs broken on purpose."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from typing import Any

import pytest

from storvirt.backing.errors import MemberError
from storvirt.backing.member import Member
from tests.support.contracts_member import CHECKS
from tests.support.crashdisk import Crash, CrashDisk, crashes
from tests.support.simfile import PAGE, SECTOR, SimFile
from tests.support.tinylog import BROKEN, SIZE, Log

S = SECTOR


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_its_members_are_members(check: Callable[[Member], None]) -> None:
    check(CrashDisk({"m": 65_536}).members["m"])


def contents(disk: CrashDisk, kind: str = "power", **options: Any) -> list[bytes]:
    """What the one file may hold after the last call."""
    found = list(disk.crashes(kinds=(kind,), **options))
    return [_all(crash) for crash in found if crash.boundary == found[-1].boundary]


def _all(crash: Crash, name: str = "m") -> bytes:
    return crash.files[name].read(0, crash.files[name].size)


# --- the states ------------------------------------------------------------------------------------------------------


def test_every_sector_is_there_or_not() -> None:
    disk = CrashDisk({"m": 4 * S})
    disk.members["m"].write(S, b"a" * 2 * S)
    found = contents(disk)
    o, a = bytes(S), b"a" * S
    assert sorted(found) == sorted([o + o + o + o, o + a + o + o, o + o + a + o, o + a + a + o])


def test_writes_to_one_sector_apply_in_the_order_they_were_issued() -> None:
    disk = CrashDisk({"m": S})
    disk.members["m"].write(0, b"1" * 100)
    disk.members["m"].write(50, b"2" * 100)
    one = b"1" * 100 + bytes(S - 100)
    both = b"1" * 50 + b"2" * 100 + bytes(S - 150)
    assert sorted(contents(disk)) == sorted([bytes(S), one, both])


def test_what_was_synced_is_there_whatever_happens() -> None:
    disk = CrashDisk({"m": 2 * S, "n": S})
    disk.members["m"].write(0, b"a" * 2 * S)
    disk.members["m"].sync()
    disk.members["n"].write(0, b"n")
    disk.members["m"].write(S - 1, b"bb")
    found = contents(disk)
    assert len(found) == 8  # two sectors of m, one of n
    assert {data[0] + data[-1] for data in found} == {2 * ord("a")}
    assert {(data[S - 1], data[S]) for data in found} == {(x, y) for x in b"ab" for y in b"ab"}


def test_files_are_independent() -> None:
    disk = CrashDisk({"m": S, "n": S})
    disk.members["m"].write(0, b"m")
    disk.members["n"].write(0, b"n")
    disk.members["n"].sync()
    found = {(_all(c)[0], _all(c, "n")[0]) for c in disk.crashes(kinds=("power",)) if c.boundary == 3}
    assert found == {(0, ord("n")), (ord("m"), ord("n"))}


def test_a_killed_process_leaves_all_writes_and_a_piece_of_the_last() -> None:
    disk = CrashDisk({"m": 2 * S})
    disk.members["m"].write(0, b"ab")
    disk.members["m"].write(5, b"cde")
    found = [(crash.boundary, _all(crash)[:9]) for crash in disk.crashes(kinds=("kill",))]
    first = [(0, b"".ljust(9, b"\0")), (0, b"a".ljust(9, b"\0")), (0, b"ab".ljust(9, b"\0"))]
    second = [(1, b"ab\0\0\0" + b"cde"[:cut].ljust(4, b"\0")) for cut in range(4)]
    assert found == [*first, *second, (2, b"ab\0\0\0cde\0")]


def test_a_large_write_is_cut_at_sampled_bytes_with_the_edges() -> None:
    disk = CrashDisk({"m": 65_536})
    disk.members["m"].write(1000, b"x" * 60_000)
    cuts = {_all(crash).count(b"x") for crash in disk.crashes(kinds=("kill",), samples=5) if crash.boundary == 0}
    assert cuts >= {0, 1, 511, 512, 513, PAGE - 1000, 59_999, 60_000}
    assert 8 < len(cuts) <= 13


def test_many_pending_writes_are_sampled_within_what_can_be() -> None:
    """Held against an independent rule: each sector holds one of the contents that it had since the last sync."""
    dice = random.Random(5)
    disk = CrashDisk({"m": 8 * PAGE})
    member = disk.members["m"]
    member.write(0, dice.randbytes(8 * PAGE))
    member.sync()
    image = bytearray(member.read(0, 8 * PAGE))
    had = [{bytes(image[s * S : s * S + S])} for s in range(8 * PAGE // S)]
    for _ in range(30):
        offset = dice.randrange(8 * PAGE - 3000)
        data = dice.randbytes(dice.randint(1, 3000))
        member.write(offset, data)
        image[offset : offset + len(data)] = data
        for s, contents_of in enumerate(had):
            contents_of.add(bytes(image[s * S : s * S + S]))
    found = contents(disk, samples=60)
    for data in found:
        assert all(data[s * S : s * S + S] in contents_of for s, contents_of in enumerate(had))
    assert len(set(found)) > 35
    assert bytes(image) in found
    assert any(all(data[s * S : s * S + S] != image[s * S : s * S + S] for s in (0, 20)) for data in found)


def test_whole_writes_are_exhaustive_where_sectors_are_too_many() -> None:
    disk = CrashDisk({"m": 64 * S})
    for n in range(3):
        disk.members["m"].write(n * 20 * S, bytes([n + 1]) * 20 * S)
    found = {
        tuple(data[n * 20 * S : (n + 1) * 20 * S] == bytes([n + 1]) * 20 * S for n in range(3))
        for data in contents(disk)
    }
    assert len(found) == 8


def test_a_size_may_be_lost_too() -> None:
    disk = CrashDisk({"m": S})
    disk.members["m"].resize(3 * S)
    disk.members["m"].write(2 * S, b"x")
    found = {(crash.files["m"].size, _all(crash).count(b"x")) for crash in disk.crashes(kinds=("power",))}
    assert found == {(S, 0), (3 * S, 0), (3 * S, 1)}
    disk.members["m"].sync()
    assert {len(data) for data in contents(disk)} == {3 * S}


def test_a_punch_is_pending_like_a_write() -> None:
    disk = CrashDisk({"m": 2 * S})
    disk.members["m"].write(0, b"x" * 2 * S)
    disk.members["m"].sync()
    disk.members["m"].punch(0, S)
    assert {data[0] for data in contents(disk)} == {0, ord("x")}
    assert {data[S] for data in contents(disk)} == {ord("x")}


def test_simfile_is_a_file() -> None:
    dice, file, model = random.Random(9), SimFile(30_000), bytearray(30_000)
    for _ in range(400):
        offset = dice.randrange(30_000)
        data = dice.choice((dice.randbytes, bytes))(dice.randint(0, min(9000, 30_000 - offset)))
        file.write(offset, data)
        model[offset : offset + len(data)] = data
        if dice.random() < 0.1:
            file.sync()
            assert file.after_power_loss({}).read(0, 30_000) == model
        assert file.copy().read(0, 30_000) == model
    everything = file.choices()
    assert file.after_power_loss(everything).read(0, 30_000) == model


# --- seeds, marks, keys ----------------------------------------------------------------------------------------------


def busy(disk: CrashDisk) -> None:
    dice = random.Random(1)
    for n in range(12):
        disk.members["mn"[n % 2]].write(dice.randrange(50_000), dice.randbytes(9000))
        if n % 5 == 4:
            disk.members["m"].sync()
            disk.mark(n)


def test_the_same_seed_gives_the_same_crashes() -> None:
    def run(seed: int) -> list[tuple[str, bytes, bytes]]:
        found = crashes(busy, {"m": 65_536, "n": 65_536}, seed=seed)
        return [(crash.story, _all(crash), _all(crash, "n")) for crash in found]

    assert run(7) == run(7)
    assert [story for story, _, _ in run(7)] != [story for story, _, _ in run(8)]


def test_a_crash_can_be_had_again_by_its_key() -> None:
    disk = CrashDisk({"m": 65_536, "n": 65_536}, seed=3)
    busy(disk)
    every = list(disk.crashes())
    assert len({crash.key for crash in every}) == len(every) > 200
    for crash in random.Random(1).sample(every, 10):
        (again,) = disk.crashes(only=crash.key)
        assert (again.story, _all(again), _all(again, "n")) == (crash.story, _all(crash), _all(crash, "n"))


def test_marks_are_what_had_been_said_by_then() -> None:
    disk = CrashDisk({"m": 65_536, "n": 65_536})
    busy(disk)
    seen = {crash.boundary: crash.marks for crash in disk.crashes(kinds=("kill",))}
    assert seen[5] == () and seen[6] == (4,) and seen[11] == (4,) and seen[14] == (4, 9)
    assert sorted(seen) == list(range(15))  # 12 writes, 2 syncs, the end


def test_a_failure_names_its_crash() -> None:
    def fail() -> None:
        for crash in crashes(busy, {"m": 65_536, "n": 65_536}, seed=11):
            with crash:
                assert crash.boundary < 9

    with pytest.raises(AssertionError) as caught:
        fail()
    (note,) = caught.value.__notes__
    assert note.startswith("crash power:9:0 (seed 11), before ")
    assert "the last mark is 4" in note


def test_a_story_says_which_sectors_survived() -> None:
    disk = CrashDisk({"m": 16 * S})
    disk.members["m"].write(2 * S, b"a" * 4 * S)
    disk.members["m"].write(9 * S, b"b")
    disk.members["m"].write(4 * S, b"c" * S)
    stories = [crash.story for crash in disk.crashes(kinds=("power",), exhaustive_below=8)]
    assert any(story.endswith("sectors that survive: m 2-3 4v2 5 9") for story in stories)
    assert stories[0].endswith("sectors that survive: none")


def test_crashes_do_not_disturb_each_other() -> None:
    disk = CrashDisk({"m": 2 * S})
    disk.members["m"].write(0, b"a" * 2 * S)
    before = contents(disk)
    for crash in disk.crashes():
        one, other = crash.members()["m"], crash.members()["m"]
        one.write(0, b"zz")
        one.sync()
        assert other.read(0, 2) == crash.files["m"].read(0, 2) != b"zz"
    assert contents(disk) == before
    assert disk.members["m"].read(0, 2 * S) == b"a" * 2 * S


def test_members_can_be_lost_on_top() -> None:
    disk = CrashDisk({"a": S, "b": S, "c": S})
    crash = next(disk.crashes())
    assert list(crash.losses(1)) == [(), ("a",), ("b",), ("c",)]
    assert len(list(crash.losses(2))) == 7
    assert list(crash.members(without=("b",))) == ["a", "c"]
    assert list(crash.disk(without=("a", "c")).members) == ["b"]


def test_after_a_kill_nothing_has_become_durable() -> None:
    """The trap for whoever syncs only what he wrote himself: a killed process leaves pages that no one has synced."""
    disk = CrashDisk({"m": S, "n": S})
    disk.members["m"].write(0, b"m")
    *_, crash = disk.crashes(kinds=("kill",))
    again = crash.disk()
    assert again.members["m"].read(0, 1) == b"m"
    again.members["n"].write(0, b"n")
    again.members["n"].sync()
    assert {(_all(c)[:1], _all(c, "n")[:1]) for c in again.crashes(kinds=("power",)) if c.boundary == 2} == {
        (b"\0", b"n"),
        (b"m", b"n"),
    }
    again.members["m"].sync()
    assert {_all(c)[:1] for c in again.crashes(kinds=("power",)) if c.boundary == 3} == {b"m"}


# --- faults ----------------------------------------------------------------------------------------------------------


def test_calls_fail_when_they_are_told_to() -> None:
    disk = CrashDisk({"m": 4 * S, "n": 4 * S})
    m, n = disk.members["m"], disk.members["n"]
    disk.fail(errno.ENOSPC, "m", "write", after=1, times=2, part=3)
    m.write(0, b"first")
    for _ in range(2):
        with pytest.raises(MemberError) as caught:
            m.write(S, b"second")
        assert caught.value.errno == errno.ENOSPC
    n.write(0, b"other")
    assert m.read(S, 6) == b"sec\0\0\0"
    m.write(S, b"second")
    assert m.read(S, 6) == b"second"
    fault = disk.fail(errno.EIO)
    for call in (lambda: m.read(0, 1), lambda: n.read(0, 1), lambda: n.write(0, b"x"), lambda: m.punch(0, 1)):
        with pytest.raises(MemberError) as caught:
            call()
        assert caught.value.errno == errno.EIO
    fault.times = 0
    assert n.read(0, 5) == b"other"


def test_a_failed_sync_forgets_and_the_next_one_lies() -> None:
    disk = CrashDisk({"m": 3 * S})
    disk.fail(errno.EIO, "m", "sync", times=1)
    m = disk.members["m"]
    m.write(0, b"a")
    m.write(S, b"b")
    with pytest.raises(MemberError):
        m.sync()
    file = disk.files["m"]
    file.write(S, b"B")  # dirty again, so it is written by the next sync; the first sector is not
    file.write(2 * S, b"c")
    file.sync()
    assert file.read(0, 1) == b"a"
    lost = file.after_power_loss({})
    assert [lost.read(place, 1) for place in (0, S, 2 * S)] == [b"\0", b"B", b"c"]
    assert file.choices() == {0: 1}
    assert m.ended == errno.EIO


def test_a_lying_sync_is_caught_by_the_power() -> None:
    disk = CrashDisk({"m": S})
    disk.lie("m")
    disk.members["m"].write(0, b"x")
    disk.members["m"].sync()
    assert {data[0] for data in contents(disk)} == {0, ord("x")}


# --- a log, right and wrong ------------------------------------------------------------------------------------------


def workload(kind: type[Log], sizes: list[int]) -> Callable[[CrashDisk], None]:
    """Appends records of these sizes, flushes after every third; marks (records acknowledged, records flushed)."""

    def run(disk: CrashDisk) -> None:
        log = kind(disk.members["m"])
        flushed = 0
        for number, size in enumerate(sizes, 1):
            log.append(payload(number, size))
            disk.mark((number, flushed))
            if number % 3 == 0:
                log.flush()
                flushed = number
                disk.mark((number, flushed))

    return run


def payload(number: int, size: int) -> bytes:
    return random.Random(number).randbytes(size)


def check(crash: Crash, kind: type[Log], sizes: list[int]) -> None:
    found = kind.recover(crash.members()["m"])
    acknowledged, flushed = crash.marks[-1] if crash.marks else (0, 0)
    assert found == [payload(number + 1, sizes[number]) for number in range(len(found))]
    assert len(found) >= (acknowledged if crash.kind == "kill" else flushed)


def run_all(kind: type[Log], sizes: list[int], seed: int) -> int:
    count = 0
    for crash in crashes(workload(kind, sizes), {"m": SIZE}, seed=seed):
        with crash:
            check(crash, kind, sizes)
            count += 1
    return count


SMALL = [10, 300, 5, 700, 0, 90, 40, 512, 496]  # few sectors: exhaustive
LARGE = [5000, 9000, 3000, 1, 7000, 5000, 8000]  # sampled


@pytest.mark.parametrize("sizes", [SMALL, LARGE], ids=["small", "large"])
def test_the_correct_log_survives(sizes: list[int]) -> None:
    assert run_all(Log, sizes, seed=1) > 150


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sizes", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_every_broken_log_is_caught(kind: type[Log], sizes: list[int], seed: int) -> None:
    with pytest.raises(AssertionError) as caught:
        run_all(kind, sizes, seed)
    assert caught.value.__notes__[0].startswith("crash ")


def test_a_log_that_keeps_records_back_is_caught_by_the_kill_alone() -> None:
    kind = BROKEN[2]
    for crash in crashes(workload(kind, SMALL), {"m": SIZE}, kinds=("power",)):
        with crash:
            check(crash, kind, SMALL)
    with pytest.raises(AssertionError):
        for crash in crashes(workload(kind, SMALL), {"m": SIZE}, kinds=("kill",)):
            check(crash, kind, SMALL)


def test_a_crash_while_recovering() -> None:
    """Recover from each crash, append on, and let the power fail again: what was flushed by either is there."""
    sizes = [100, 900, 30, 30]
    for first in crashes(workload(Log, sizes), {"m": SIZE}, samples=2, exhaustive_below=4):
        disk = first.disk()
        member = disk.members["m"]
        before = Log.recover(member)
        log = Log(member)
        log.count, log.end = len(before), sum(16 + len(record) for record in before)
        log.append(b"second life")
        log.flush()
        disk.mark("flushed")
        for second in disk.crashes(kinds=("power",), samples=2):
            with first, second:
                found = Log.recover(second.members()["m"])
                assert found[: len(before)] == before or not second.marks
                assert not second.marks or found[len(before)] == b"second life"
