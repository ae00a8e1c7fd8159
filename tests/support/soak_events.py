"""What happens to a soak's pool while guests use it: members harmed and mended, jobs, and what becomes of the process.

Knows: how each is done, what the account must hear of it. Refuses to know: whether guests notice (soak_rig).

Each event is a function of the rig, and a row with its weight. One that can't be now does nothing.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from tests.support.soak_account import AWAY, FAILS, LIES, LOST, OUT
from tests.support.soak_plans import MIB
from tests.support.soak_rig import Rig, sizes

_LIES = ("flip", "torn", "lost", "misdirected")
_FAILS = ("error", "read-error", "write-error", "flush-error")
_HARMLESS = ("lying-flush", "latency")  # while no power is lost
_MOST_MEMBERS = 9


class Event(NamedTuple):
    """weight: how often, beside the others."""

    weight: int
    happen: Callable[[Rig], None]


# --- members are harmed


def lies(rig: Rig) -> None:
    path = _victim(rig)
    if path:
        kind, rate = rig.dice.choice(_LIES), rig.dice.choice((0.01, 0.1, 0.5))
        if _fault(rig, path, kind, rate):
            rig.account.add(path, LIES)
            rig.scrubbing = False


def fails(rig: Rig) -> None:
    path = _victim(rig)
    if path and _fault(rig, path, rig.dice.choice(_FAILS), rig.dice.choice((0.02, 0.3, 1.0))):
        rig.account.add(path, FAILS)


def harmless(rig: Rig) -> None:
    _fault(rig, rig.dice.choice(rig.rows("in")), rig.dice.choice(_HARMLESS), 0.5)


def _fault(rig: Rig, path: str, kind: str, rate: float) -> bool:
    rig.note(f"{path}: {kind} {rate:g}")
    return rig.call("fault", member=path, kind=kind, rate=rate, ms=0.5, seed=rig.dice.randrange(1 << 32)) is not None


def faults_off(rig: Rig) -> None:
    rig.note("faults off")
    rig.call("fault", member="off")
    rig.look()  # who is out is out, before it is forgotten why
    for path in rig.account.doubtful:
        rig.account.faults_end(path)


def goes_away(rig: Rig) -> None:
    path = _victim(rig)
    if path and AWAY not in rig.account.doubtful.get(path, ()) and os.path.exists(path):
        rig.note(f"{path} goes away")
        os.rename(path, _elsewhere(path))
        rig.account.add(path, AWAY)


def comes_back(rig: Rig) -> None:
    for path in rig.account.of(AWAY):
        if not os.path.exists(path):
            rig.note(f"{path} comes back")
            os.rename(_elsewhere(path), path)
        rig.account.add(path, OUT)  # until the pool says that it is in
        rig.account.drop(path, AWAY)


def _elsewhere(path: str) -> str:
    """In another folder: beside the others it would be found."""
    folder, name = os.path.split(path)
    os.makedirs(f"{folder}/away", exist_ok=True)
    return f"{folder}/away/{name}"


def is_destroyed(rig: Rig) -> None:
    """Its file is removed, cut short, or another one in its place; that of a spare, too."""
    path = _victim(rig, "in", "spare")
    if not path or not os.path.exists(path):
        return
    how = rig.dice.choice(("removed", "truncated", "replaced"))
    rig.note(f"{path} is {how}")
    rig.account.add(path, LOST)
    if how == "removed":
        os.unlink(path)
    elif how == "truncated":
        os.truncate(path, rig.dice.choice((0, 5000, 30 * MIB)))
    else:
        with open(f"{path}.other", "wb") as other:
            other.truncate(os.path.getsize(path))
        os.rename(f"{path}.other", path)


def _victim(rig: Rig, *states: str) -> str:
    """One that may be harmed; "" if none may."""
    inside = [path for path in rig.rows(*(states or ("in",))) if rig.account.bears(path)]
    return rig.dice.choice(inside) if inside else ""


# --- members are mended, and come and go


def mend(rig: Rig) -> None:
    """Something for one doubtful member, or for all of them."""
    if rig.dice.random() < 0.3:
        comes_back(rig)
    spares = rig.rows("spare")
    out = rig.account.of(OUT, LOST)
    if out and rig.dice.random() < 0.8:
        path = rig.dice.choice(out)
        if path in spares:
            dismiss_spare(rig, path)
            return
        ways = [replace_one, remove_one] if LOST in rig.account.doubtful[path] else [replace_one, rejoin_one]
        rig.dice.choice(ways)(rig, path)
    elif rig.tainted:
        rig.note("scrub")
        rig.scrub()


def replace_one(rig: Rig, path: str) -> None:
    new = rig.new_file()
    rig.note(f"replace {path} {new}")
    rig.call("replace", member=path, path=new)


def remove_one(rig: Rig, path: str) -> None:
    if len(rig.rows("in", "out")) > rig.plan.least:
        rig.note(f"remove {path}")
        rig.call("remove", member=path)


def dismiss_spare(rig: Rig, path: str) -> None:
    rig.note(f"remove spare {path}")
    rig.call("remove", member=path)


def rejoin_one(rig: Rig, path: str) -> None:
    rig.note(f"rejoin {path}")
    rig.call("rejoin", member=path)


def replace_any(rig: Rig) -> None:
    replace_one(rig, rig.dice.choice(rig.rows("in", "out")))


def remove_any(rig: Rig) -> None:
    remove_one(rig, rig.dice.choice(rig.rows("in")))


def add(rig: Rig) -> None:
    if len(rig.rows("in", "out", "spare")) < _MOST_MEMBERS:
        new, spare = rig.new_file(), rig.dice.random() < 0.5
        rig.note(f"add {new}, {spare=}")
        rig.call("add", path=new, spare=spare)


def rebalance(rig: Rig) -> None:
    rig.note("rebalance")
    rig.call("rebalance")


def grow(rig: Rig) -> None:
    size = sizes(rig) + rig.dice.choice((0, 4, 20)) * MIB
    rig.note(f"grow {size}")
    rig.call("grow", size=min(size, 256 * MIB))


def cancel(rig: Rig) -> None:
    rig.note("cancel")
    rig.call("cancel")
    rig.scrubbing = False


def rate(rig: Rig) -> None:
    wanted = rig.dice.choice((0, 0, MIB, 8 * MIB))
    rig.note(f"rate {wanted}")
    rig.pace(wanted)


def scrub(rig: Rig) -> None:
    rig.note("scrub")
    rig.scrub()


def small_things(rig: Rig) -> None:
    """What changes nothing."""
    what = rig.dice.choice(("checkpoint", "flush", "inspect"))
    name, model = rig.dice.choice(list(rig.models.items()))
    place = {"volume": name, "offset": rig.dice.randrange(model.size)} if what == "inspect" else {}
    rig.note(what)
    assert rig.call(what, **place) is not None or what != "inspect", f"{what} was refused"


def hangs_up(rig: Rig) -> None:
    """A client goes while its requests are under way, and another one comes."""
    name, links = rig.dice.choice(list(rig.links.items()))
    link = rig.dice.choice(links)
    rig.note(f"a client of {name} hangs up")
    link.send()
    rig.dismiss(name, link)


def witness(rig: Rig) -> None:
    """What fabricd remembers for the next start: the newest commit record that is durable."""
    rig.note("witness")
    rig.stord.config["witness"] = rig.call("witness", after=None)


# --- the process


def restart(rig: Rig) -> None:
    rig.forget_missing_names()
    rig.note("restart")
    rig.stop()
    rig.up()


def kill(rig: Rig) -> None:
    rig.forget_missing_names()
    rig.answered(rig.dice.random())
    rig.note("kill")
    rig.kill()
    rig.up()


def kill_in_an_operation(rig: Rig) -> None:
    """Nobody knows how far it came."""
    rig.forget_missing_names()
    inside = rig.rows("in")
    ways: list[tuple[str, dict[str, Any]]] = [
        ("replace", {"member": rig.dice.choice(inside), "path": rig.new_file()}),
        ("add", {"path": rig.new_file(), "spare": rig.dice.random() < 0.5}),
        ("checkpoint", {}),
        ("grow", {"size": sizes(rig) + 4 * MIB}),
        ("cancel", {}),
        ("rebalance", {}),
        ("scrub", {}),
    ]
    op, args = rig.dice.choice(ways)
    rig.note(f"kill in {op} {args}")
    rig.say(op, **args)
    _moment(rig)
    rig.kill()
    rig.up()


def kill_while_it_opens(rig: Rig) -> None:
    rig.forget_missing_names()
    rig.note("kill, and again while it opens")
    rig.kill()
    for _ in range(rig.dice.randint(1, 3)):
        rig.stord.start()
        rig.say("configure", config=rig.stord.config)
        _moment(rig)
        rig.stord.kill()
    rig.up()


def kill_when_stopped(rig: Rig) -> None:
    rig.forget_missing_names()
    rig.note("stopped, then killed")
    rig.answered(1.0)
    rig.signal(signal.SIGSTOP)
    rig.ask_one_who_stopped()
    rig.kill()
    rig.up()


def stopped(rig: Rig) -> None:
    rig.note("stopped, goes on")
    rig.answered(1.0)
    rig.signal(signal.SIGSTOP)
    rig.ask_one_who_stopped()
    rig.signal(signal.SIGCONT)


def _moment(rig: Rig) -> None:
    """Until the control socket answers, or less."""
    with suppress(OSError):
        select.select([rig.stord.client._socket], [], [], rig.dice.choice((0.0, 0.003, 0.03, 0.3)))


# For a pool without redundancy the account bears no harm, and these do nothing.
EVENTS = (
    Event(5, lies), Event(4, fails), Event(2, harmless), Event(3, faults_off), Event(4, goes_away),
    Event(3, comes_back), Event(4, is_destroyed), Event(14, mend), Event(4, replace_any), Event(3, remove_any),
    Event(4, add), Event(3, rebalance), Event(2, grow), Event(3, cancel), Event(2, rate), Event(4, scrub),
    Event(4, small_things), Event(2, hangs_up), Event(1, witness), Event(2, restart), Event(6, kill),
    Event(3, kill_in_an_operation), Event(1, kill_while_it_opens), Event(1, kill_when_stopped), Event(2, stopped),
)  # fmt: skip
