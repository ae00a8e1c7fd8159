"""A soak: random requests and random events from one seed, against a model, and at the end everything looked at.

Knows: the order of things. Refuses to know: how anything is done (soak_events), what a pool is.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.pools import scrubbed
from tests.support.soak_account import LOST, OUT
from tests.support.soak_events import EVENTS, comes_back, dismiss_spare, faults_off, rejoin_one, replace_one
from tests.support.soak_plans import PLANS, Plan
from tests.support.soak_rig import Rig
from tests.support.waiting import until

EVENT_ODDS = 0.7
VERIFY_ODDS = 0.1
_ROUNDS = 20  # to mend all: each deals with a member, or finds one more that is out


def plan_of(seed: int) -> Plan:
    return PLANS[seed % len(PLANS)]


def soak(seed: int, steps: int, folder: Path | None = None) -> Rig:
    """Raises AssertionError with the seed, what was done, and what is wrong."""
    with tempfile.TemporaryDirectory(prefix="vf-") as made:
        rig = Rig(folder or Path(made), seed, plan_of(seed))
        try:
            _run(rig, steps)
        except Exception as error:
            done = "\n  ".join(rig.history[-60:])
            raise AssertionError(
                f"soak with seed {seed} ({rig.plan.name}): {error}\nVFAB_SOAK_SEED={seed} does it again. What was "
                f"done at last:\n  {done}\ndoubtful: {rig.account.doubtful}\n{rig.stord.log.read_text()[-3000:]}"
            ) from error
        finally:
            rig.close()
    return rig


def _run(rig: Rig, steps: int) -> None:
    rig.up()
    for _ in range(steps):
        _step(rig)
    mended(rig)
    _looked_at(rig)


def _step(rig: Rig) -> None:
    """Some requests, and something that happens while they are under way."""
    rig.ask()
    if rig.dice.random() < EVENT_ODDS:
        rig.answered(rig.dice.random())
        (event,) = rig.dice.choices(EVENTS, [event.weight for event in EVENTS])
        event.happen(rig)
    rig.answered(1.0)
    assert not any(link.lost for link in rig.all_links), "stord has hung up"
    rig.look()
    if rig.dice.random() < VERIFY_ODDS:
        rig.verify()


def mended(rig: Rig) -> None:
    """Nobody fails, lies or is away any more, and what is bad is made good."""
    rig.note("all is mended")
    faults_off(rig)
    rig.pace(0)
    comes_back(rig)
    for _ in range(_ROUNDS):
        rig.ask()
        rig.answered(1.0)
        rig.wait()
        if rig.whole:
            break
        _mend_one(rig)
    assert rig.whole, f"{rig.account.doubtful} can't be mended"
    rig.verify()


def _mend_one(rig: Rig) -> None:
    doubtful = rig.account.doubtful
    rows = {row["path"]: row["state"] for row in rig.look()["pool"]["members"] if row["state"] != "removed"}
    lost = [path for path in doubtful if LOST in doubtful[path]]
    out = [path for path in doubtful if rows.get(path) == "out"]
    if lost and rows[lost[0]] == "spare":
        dismiss_spare(rig, lost[0])
    elif lost:
        replace_one(rig, lost[0])
    elif out and rig.dice.random() < 0.5:
        rejoin_one(rig, out[0])
    elif out:
        replace_one(rig, out[0])
    elif rig.account.of(OUT):
        until(lambda: not rig.account.of(OUT) or rig.look()["task"], what="the member that was away")
    else:
        rig.note("scrub")
        rig.scrub()


def _looked_at(rig: Rig) -> None:
    """Scrubbed, checked offline after a goodbye or a kill, and opened without as many as all can do without."""
    healed, lost = scrubbed(rig.stord)
    assert lost == 0 and scrubbed(rig.stord) == (0, 0), f"the scrub: {healed} healed, {lost} lost"
    rig.listed()
    rig.ask()
    rig.answered(rig.dice.random())
    paths = rig.rows("in", "spare")
    rig.dice.choice((rig.kill, rig.stop))()
    _fsck(paths)
    rig.up()
    rig.verify()
    rig.stop()
    for path in rig.dice.sample(rig.stord.config["pool"]["members"], rig.plan.budget):
        Path(path).unlink()
        rig.account.add(path, LOST)
    rig.up()
    rig.verify()
    rig.stop()


def _fsck(paths: list[str]) -> None:
    """vfab pool fsck --data: exit code 0 when nothing is found."""
    command = [sys.executable, "-m", "tools.vfab", "pool", "fsck", "--data", *paths]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"fsck: {done.stdout}{done.stderr}"
