"""Members of a real stord that are told to fail and lie: what one does no guest notices, and it is counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemons.client import Refused
from tests.support.nbd_guest import Guest, Load
from tests.support.pools import MIB, Stord, members, scrubbed
from tests.support.waiting import until

VOLUME = 24 * MIB


@pytest.fixture
def stord(folder: Path) -> Iterator[Stord]:
    made = Stord(folder, volume=VOLUME).up()
    yield made
    made.close()


@pytest.fixture
def load(stord: Stord) -> Iterator[Load]:
    guest = Guest(stord.socket, "lun0")
    yield Load(guest, 7, VOLUME)
    guest.close()


def fault(stord: Stord, member: str, kind: str, **more: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = stord.call("fault", member=member, kind=kind, **more)["faults"]
    return rows


def member(stord: Stord, number: int) -> dict[str, Any]:
    found: dict[str, Any] = stord.status()["pool"]["members"][number]
    return found


def filled(load: Load, steps: int = 30) -> None:
    for _ in range(steps):
        load.step()
    load.guest.flush()


def test_flips_are_healed_and_counted_by_member_and_offset(stord: Stord, load: Load) -> None:
    filled(load)
    stord.call("checkpoint")
    (row,) = fault(stord, "b.img", "flip", rate=0.3, seed=11)
    assert (row["member"], row["seed"], row["rates"]) == (1, 11, {"flip": 0.3})
    load.verify()
    filled(load, 5)
    load.verify()
    (row,) = stord.status()["faults"]
    assert row["struck"]["flip"] > 0
    hurt = member(stord, 1)
    assert hurt["healed"] > 0 and 0 < hurt["healed_at"] < hurt["size"]
    assert [member(stord, other)["healed"] for other in (0, 2)] == [0, 0]
    assert any("given faults on purpose (flip rate=0.3: " in problem for problem in stord.status()["problems"])
    assert fault(stord, "1", "off") == [] and stord.status()["problems"] == []
    assert scrubbed(stord)[1] == 0 and scrubbed(stord) == (0, 0)
    load.verify()


@pytest.mark.parametrize("kind", ["lost", "torn", "misdirected"])
def test_writes_that_go_wrong_are_found_and_mended(stord: Stord, load: Load, kind: str) -> None:
    (row,) = fault(stord, "2", kind, rate=0.3)
    assert 0 <= row["seed"] < 1 << 32
    filled(load)
    load.verify()
    stord.call("checkpoint")
    load.verify()
    assert stord.status()["faults"][0]["struck"][kind] > 0
    fault(stord, "2", "off")
    healed, lost = scrubbed(stord)
    assert lost == 0 and (healed or member(stord, 2)["healed"])
    assert scrubbed(stord) == (0, 0)
    load.verify()


@pytest.mark.parametrize("kind", ["error", "write-error", "flush-error"])
def test_errors_put_the_member_out(stord: Stord, load: Load, kind: str) -> None:
    filled(load, 5)
    fault(stord, "a.img", kind)
    filled(load, 5)
    until(lambda: members(stord)["a.img"] == "out", what="the member that fails is out")
    assert "member" in stord.log.read_text() and "a.img is out: " in stord.log.read_text()
    assert stord.status()["faults"] == [], "there is nothing left that could have faults"
    load.verify()
    with pytest.raises(Refused, match=r"a\.img is out: it can't be given faults"):
        fault(stord, "0", "flip")


def test_read_errors_are_read_around(stord: Stord, load: Load) -> None:
    filled(load)
    stord.call("checkpoint")
    struck = 0
    for number in "012":  # what is in the log is read from one of its copies
        fault(stord, number, "read-error", rate=0.5)
        load.verify()
        struck += stord.status()["faults"][0]["struck"]["read_error"]
        fault(stord, number, "off")
    assert struck > 0 and set(members(stord).values()) == {"in"}


def test_several_at_once_on_several_and_all_off(stord: Stord, load: Load) -> None:
    fault(stord, "0", "latency", ms=1)
    fault(stord, "0", "lying-flush", rate=1)
    rows = fault(stord, "1", "latency", ms=2)
    assert [(row["member"], row["ms"], row["rates"]) for row in rows] == [(0, 1, {"lying_flush": 1}), (1, 2, {})]
    filled(load, 5)
    load.verify()
    assert stord.status()["faults"][0]["struck"]["lying_flush"] > 0
    assert stord.call("fault", member="off") == {"faults": []}
    load.verify()
    assert scrubbed(stord) == (0, 0)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"member": "9", "kind": "flip"}, "has no member '9'"),
        ({"member": "0", "kind": "flop"}, "there is no fault 'flop'; there are error"),
        ({"member": "0", "kind": "flip", "rate": 2}, "rate= is a number from 0 to 1"),
        ({"member": "0", "kind": "flip", "rate": float("nan")}, "rate= is a number from 0 to 1"),
        ({"member": "0", "kind": "flip", "seed": -1}, "a seed is a number"),
        ({"member": "0", "kind": "latency"}, "latency wants ms="),
        ({"member": "0", "kind": "latency", "ms": 5000}, "ms= is a number from 0 to 1000"),
    ],
)
def test_what_is_no_fault(stord: Stord, words: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        stord.call("fault", **words)
    assert stord.status()["faults"] == []
