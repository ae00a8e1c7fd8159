"""Faults that somebody asked for: members of an open pool that fail and lie at given rates, until told to stop.

Knows: the kinds by name, dice and clocks. Refuses to know: how a fault is made (storvirt.wrappers), what the pool makes
of it: that is what is to be seen.

A fault lives as long as the process, and no longer than the member is in. Each row has the seed of its dice.
"""

from __future__ import annotations

import os
import random
import time
from typing import Any, NamedTuple

from daemons import stord_jobs
from daemons.errors import UserError
from daemons.stord_keeper import Keeper
from storvirt.backing.member import Member
from storvirt.wrappers.delay import Delay, Times
from storvirt.wrappers.faulty import Faulty, Rates
from storvirt.wrappers.member import MemberBlock, wrapped

# What people say -> the odds that it sets. A rate is per call, 0 to 1.
KINDS: dict[str, tuple[str, ...]] = {
    "error": ("read_error", "write_error", "flush_error"),
    "read-error": ("read_error",),
    "write-error": ("write_error",),
    "flush-error": ("flush_error",),
    "flip": ("flip",),
    "torn": ("torn",),
    "lost": ("lost",),
    "misdirected": ("misdirected",),
    "lying-flush": ("lying_flush",),
}
LATENCY = "latency"
OFF = "off"
MOST_MS = 1000.0  # the pool's one thread waits as long
_WORDS = ", ".join((*KINDS, LATENCY))


class _Fault(NamedTuple):
    """below: the member as it was; above: what the pool has in its place."""

    below: Member
    above: Member
    faulty: Faulty
    delay: Delay
    seed: int


class Faults:
    """Of one pool, by the member's number."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._on: dict[int, _Fault] = {}

    def answer(self, args: dict[str, Any]) -> dict[str, Any]:
        """`{member, kind, rate, ms, seed}`: see ARCHITECTURE.md. Raises UserError."""
        member, kind = str(args.get("member") or ""), str(args.get("kind") or "")
        if member == OFF and not kind:
            for number in list(self._on):
                self._end(number)
        elif kind == OFF:
            self._end(stord_jobs.find(self._keeper, member))
        elif kind:
            self._set(stord_jobs.find(self._keeper, member), kind, args)
        return {"faults": self.rows()}

    def rows(self) -> list[dict[str, Any]]:
        """What is on: kinds with their rates, how often each has struck, the seed."""
        self._forget_gone()
        return [self._row(number, fault) for number, fault in self._on.items()]

    def problems(self) -> list[str]:
        name = self._keeper.pool.name
        return [
            f"member {row['path']} of pool {name} is given faults on purpose ({row['sentence']});"
            f" vfab pool fault {name} {row['member']} off ends that"
            for row in self.rows()
        ]

    def _row(self, number: int, fault: _Fault) -> dict[str, Any]:
        struck = fault.faulty.statistics()
        rates = {kind: rate for kind, rate in fault.faulty.rates._asdict().items() if rate}
        ms = fault.delay.times.read / 1e6
        words = [f"{kind.replace('_', '-')} rate={rate:g}: {struck[kind]} so far" for kind, rate in rates.items()]
        words += [f"latency {ms:g} ms"] if ms else []
        return {
            "member": number,
            "path": stord_jobs.path_of(self._keeper, number),
            "rates": rates,
            "ms": ms,
            "struck": {kind: struck[kind] for kind in struck if struck[kind] or kind in rates},
            "seed": fault.seed,
            "sentence": "; ".join(words) + f"; seed {fault.seed}",
        }

    def _forget_gone(self) -> None:
        """Members that are out, or that somebody else has the place of."""
        members = self._keeper.pool.members
        self._on = {number: fault for number, fault in self._on.items() if members[number] is fault.above}

    def _set(self, number: int, kind: str, args: dict[str, Any]) -> None:
        rate, ms = _number(args, "rate", 1.0, 1.0), _number(args, "ms", 0.0, MOST_MS)
        if kind != LATENCY and kind not in KINDS:
            raise UserError(f"there is no fault {kind!r}; there are {_WORDS}; and off")
        if kind == LATENCY and not ms:
            raise UserError(f"latency wants ms=, milliseconds up to {MOST_MS:g}")
        seed = args.get("seed")
        if seed is not None and (type(seed) is not int or not 0 <= seed < 1 << 64):
            raise UserError(f"a seed is a number from 0 on, not {seed!r}")
        self._forget_gone()
        fault = self._on.get(number)
        if fault is None or seed is not None:
            fault = self._wrap(number, int.from_bytes(os.urandom(4)) if seed is None else seed)
        if kind == LATENCY:
            each = int(ms * 1e6)
            fault.delay.times = Times(each, each, each)
        else:
            fault.faulty.rates = fault.faulty.rates._replace(**dict.fromkeys(KINDS[kind], rate))

    def _wrap(self, number: int, seed: int) -> _Fault:
        if number in self._on:
            self._end(number)
        pool = self._keeper.pool
        below = pool.members[number]
        if below is None or number not in pool.present():
            raise UserError(f"member {stord_jobs.path_of(self._keeper, number)} is out: it can't be given faults")
        delay = Delay(MemberBlock(below), lambda nanoseconds: time.sleep(nanoseconds / 1e9), Times())
        faulty = Faulty(delay, random.Random(seed).random, Rates())
        fault = _Fault(below, wrapped(faulty, below), faulty, delay, seed)
        pool.exchange_member(number, fault.above)
        self._on[number] = fault
        return fault

    def _end(self, number: int) -> None:
        self._forget_gone()
        fault = self._on.pop(number, None)
        if fault is not None:
            self._keeper.pool.exchange_member(number, fault.below)


def _number(args: dict[str, Any], key: str, otherwise: float, most: float) -> float:
    value = args.get(key, otherwise)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
        raise UserError(f"{key}= is a number from 0 to {most:g}, not {value!r}")
    return float(value)
