"""The soak: members fail, lie, go, come back and are replaced, stord is killed, and guests never see a difference.

All of it follows from a seed, but for what the machine decides: how far a job or a request is when something happens.
VFAB_SOAK_SEED=N takes that seed alone, VFAB_SOAK_STEPS=N as many steps. With VFAB_LONG=1 it goes on with ever new seeds
for an hour, or for VFAB_SOAK_SECONDS.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.soak import soak
from tests.support.soak_account import AWAY, FAILS, LIES, OUT, TAINTED, Account
from tests.support.soak_model import SECTOR, Change, Model

SEED = os.environ.get("VFAB_SOAK_SEED")
STEPS = int(os.environ.get("VFAB_SOAK_STEPS", "20"))
LONG_STEPS = int(os.environ.get("VFAB_SOAK_STEPS", "150"))
SECONDS = float(os.environ.get("VFAB_SOAK_SECONDS", "3600"))
A_SEED = 1200  # seconds that one seed may take with LONG_STEPS, however slow the machine is


@pytest.mark.parametrize("seed", [int(SEED)] if SEED else [1, 8])
def test_no_difference(seed: int) -> None:
    rig = soak(seed, STEPS)
    assert len(rig.account.doubtful) == rig.plan.budget, "at the end as many are lost as may be"


@pytest.mark.long
def test_no_difference_for_long() -> None:
    signal.alarm(int(SECONDS) + A_SEED)
    ends = time.monotonic() + SECONDS
    first = seed = int(SEED) if SEED else random.SystemRandom().randrange(1 << 32)
    while seed == first or time.monotonic() < ends:
        print(f"soak with seed {seed}", flush=True)
        soak(seed, LONG_STEPS)
        seed += 1


# --- what judges is judged


@pytest.fixture
def model(tmp_path: Path) -> Iterator[Model]:
    made = Model(str(tmp_path / "model"), 8 * SECTOR)
    yield made
    made.close()


A, B, C = (bytes([letter]) * SECTOR for letter in b"ABC")
ZERO = bytes(SECTOR)


def test_what_was_answered_is_so(model: Model) -> None:
    model.done(Change(SECTOR, A + B))
    assert model.judge(0, ZERO + A + B + ZERO) == "" and model.judge(SECTOR + 5, A[5:] + B[:7]) == ""
    assert "2 sectors of 2048 bytes at 0 differ, the first is 1" in model.judge(0, ZERO + B + A + ZERO)
    assert "the first is 2" in model.judge(SECTOR + 5, A[5:] + C[:1])


def test_what_was_not_answered_is_old_or_new_by_the_sector_until_it_is_read(model: Model) -> None:
    model.done(Change(0, A * 4))
    model.maybe(Change(SECTOR, B * 2))
    assert "nor what it may be as well" in model.judge(SECTOR, C)
    assert model.judge(0, A + B + A + A) == ""
    assert "the first is 1" in model.judge(0, A + A + A + A), "it was new when it was read"
    assert "the first is 2" in model.judge(0, A + B + B + A), "it was old when it was read"


def test_a_part_of_a_sector_over_what_is_not_known(model: Model) -> None:
    model.done(Change(0, A))
    model.maybe(Change(0, B))
    model.done(Change(100, b"x" * 10))
    either = [old[:100] + b"x" * 10 + old[110:] for old in (A, B)]
    assert model.judge(90, either[1][90:120]) == "" and "differ" in model.judge(0, either[0])
    assert model.judge(0, either[1]) == ""
    model.maybe(Change(500, b"y" * 20))
    assert model.judge(510, b"yy") == "" and model.judge(SECTOR, b"y" * 8) == ""
    assert "differ" in model.judge(500, B[500:])


def test_an_answered_write_ends_all_doubt(model: Model) -> None:
    model.maybe(Change(0, A))
    model.maybe(Change(0, B))
    model.done(Change(0, C))
    assert "differ" in model.judge(0, A) and model.judge(0, C) == ""


def test_the_account_bears_so_many_and_no_more() -> None:
    account = Account(1)
    account.add("a", LIES)
    assert account.bears("a") and not account.bears("b")
    account.faults_end("a")
    assert account.doubtful == {"a": {TAINTED}}
    account.scrubbed(["a", "b"])
    assert account.bears("b")
    account.add("b", FAILS)
    assert account.sync([{"path": "b", "state": "out"}, {"path": "a", "state": "in"}]) == ""
    account.faults_end("b")
    assert account.of(OUT) == ["b"]
    assert "a is out, and nobody has done anything" in account.sync([{"path": "a", "state": "out"}])
    assert account.doubtful == {"b": {OUT}}
    assert account.sync([{"path": "a", "state": "in"}]) == "" and not account.doubtful


def test_one_that_failed_when_the_process_was_killed_may_be_out() -> None:
    account = Account(1)
    account.add("a", FAILS)
    account.faults_end("a")
    assert account.doubtful == {"a": {OUT}}
    assert account.sync([{"path": "a", "state": "out"}]) == "" and account.sync([{"path": "a", "state": "in"}]) == ""
    assert not account.doubtful


def test_one_that_is_away_is_doubtful_until_it_is_back_and_in() -> None:
    account = Account(2)
    account.add("a", AWAY)
    account.sync([{"path": "a", "state": "out"}])
    account.drop("a", AWAY)
    assert "a" in account
    account.sync([{"path": "a", "state": "writing only"}])
    assert "a" in account
    account.sync([{"path": "a", "state": "in"}])
    assert "a" not in account
