"""vfab pool fsck as a library: a pool that nobody has open, looked at structure by structure.

Knows: in which order structures depend on each other, what may still be looked at where one of them is bad. Refuses to
know: how each is checked (check_*.py), files. Whatever lies in the members: the answer is a value.

What is free is recorded nowhere: an extent is free if no slab has it, a slot if neither map nor log leads to it. So
free space agrees if nothing is claimed twice, and nothing lies where nothing can be.

Repair writes what is known to belong where something else lies: a superblock by its twin, a commit record, a copy of a
page or of a record of the log by another that is whole, a column by the others of its group if every block verifies. It
guesses nothing: where two histories are, or a member is of another time, nothing is written but superblocks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from storvirt.backing.member import Member
from storvirt.pool import format as f
from storvirt.pool import heads, states
from storvirt.pool.check_grains import GrainCheck
from storvirt.pool.check_log import LogCheck
from storvirt.pool.check_map import MapCheck
from storvirt.pool.check_ring import check_chain, check_ring, check_superblocks
from storvirt.pool.errors import PoolError
from storvirt.pool.findings import Finding, Ledger
from storvirt.pool.survey import Survey, survey
from storvirt.pool.view import View

Tell = Callable[[int, int], None]


class Report(NamedTuple):
    """notes: what the next opening puts in order by itself; counts: what was looked at; more: findings beyond those
    that are kept."""

    pool: str
    commit: int
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    counts: dict[str, int]
    more: int = 0

    @property
    def clean(self) -> bool:
        return not self.findings


def fsck(members: Sequence[Member], data: bool = False, repair: bool = False, tell: Tell | None = None) -> Report:
    """Check a pool, in any order of its members. data: read all grains, too; repair: mend what is certain, and then the
    members must be writable; tell: is told how many grains of how many were read.

    Raises PoolError where there is no pool to check, and nothing else.
    """
    surveys = [survey(member) for member in members]
    ident = _which_pool(surveys)
    ledger = Ledger(repair)
    ours = [one for one in surveys if one.super_ is not None and one.super_.pool == ident]
    for one in surveys:
        _stranger(one, ident, ledger)
        if one in ours:
            check_superblocks(one, ledger)
    found = heads.halves(ours)
    name = found[0].super_.name if found else next(one.super_.name for one in ours if one.super_ is not None)
    if not found:
        ledger.found("ring", f"no member of pool {name} that was given holds a whole commit record")
    elif len(found) > 1:
        _split(found, ledger)
    else:
        _whole(found[0], ledger, data, tell)
    ledger.settle()
    number = found[0].number if found else 0
    return Report(name, number, tuple(ledger.findings), tuple(ledger.notes), ledger.counts, ledger.more)


def _which_pool(surveys: Sequence[Survey]) -> bytes:
    """That of most members."""
    pools = Counter(one.super_.pool for one in surveys if one.super_ is not None)
    if not pools:
        why = "; ".join(f"{one.name}: {one.problem}" for one in surveys[:3])
        raise PoolError(why or "a pool has at least one member, and none was given")
    return pools.most_common(1)[0][0]


def _stranger(one: Survey, ident: bytes, ledger: Ledger) -> None:
    """A file that is none of the pool's members, or can't be used as one."""
    if one.super_ is not None and one.super_.pool != ident:
        ledger.found("member", f"{one.name} belongs to another pool, {one.super_.name}", one.member, 0)
    elif one.problem:
        ledger.found("member", f"{one.name}: {one.problem}", one.member, 0)


def _split(found: Sequence[heads.Half], ledger: Ledger) -> None:
    """Which of them is wanted only a person knows."""
    for half in found[1:]:
        parent = heads.common(found[0], half)
        apart = f"after commit {parent}" if parent >= 0 else "before what their rings still have"
        both = " and ".join(
            f"commit {one.number} ({one.digest.hex()[:12]}) on {', '.join(v.survey.name for v in one.verdicts)}"
            for one in (found[0], half)
        )
        ledger.found("history", f"pool {half.super_.name} has two histories that went apart {apart}: {both}; leave out "
                                "the members of the one that is not wanted")  # fmt: skip


def _whole(half: heads.Half, ledger: Ledger, data: bool, tell: Tell | None) -> None:
    mend, ledger.repair = ledger.repair, False
    for verdict in half.verdicts:
        if verdict.kind == heads.OUT:
            ledger.note(verdict.sentence)
        elif verdict.kind not in heads.BELONGS:
            ledger.found("member", verdict.sentence, verdict.survey.member, 0)
    for number in half.missing:
        hint = half.commit.members[number].hint
        where = f"; it was last seen as {hint}" if hint else ""
        ledger.found("member", f"member number {number} of pool {half.super_.name} is missing{where}")
    if half.problem:
        ledger.found("tables", f"commit record {half.number} can't be true: {half.problem}")
        return
    _under_way(half, ledger)
    ledger.repair = mend and all(one.kind in heads.BELONGS for one in half.verdicts)
    check_chain(half, ledger)
    for one in half.places.values():
        check_ring(one, half, ledger)
    _content(View(half), ledger, data, tell)


def _under_way(half: heads.Half, ledger: Ledger) -> None:
    """What was going on when the pool was open last."""
    for number, row in enumerate(half.commit.members):
        condition = states.condition(row)
        if condition in (states.LEAVING, states.REPLACED, states.ENDED):
            one = half.places.get(number)
            name = one.name if one is not None else row.hint or f"member number {number}"
            ledger.note(states.said(name, condition))
    if half.commit.flags & f.REBALANCING:
        ledger.note("what there is is being spread over all members: the next opening goes on with that")
    if half.commit.flags & f.SCRUBBING:
        ledger.note("a scrub was cut short: the next opening begins it again")


def _content(view: View, ledger: Ledger, data: bool, tell: Tell | None) -> None:
    checks = {row.volume: MapCheck(view, row, ledger) for row in view.commit.volumes}
    total = sum(check.run() for check in checks.values())
    log = LogCheck(view, ledger)
    log.run()
    _log_is_there(view, ledger)
    moved = {row.volume: log.switches(row) for row in view.commit.volumes}
    for row in view.commit.volumes:
        for entry, flushed in moved[row.volume]:
            if not view.claim(entry.slab, entry.slot) and flushed:
                where = f"slab {entry.slab.number}, slot {entry.slot}, which is used twice"
                ledger.found("log", f"grain {entry.grain} of volume {row.name} was flushed to {where}")
    _space(view, ledger)
    if not data:
        return
    total, done = total + sum(map(len, moved.values())), 0
    for row in view.commit.volumes:
        grains = GrainCheck(view, row, ledger)
        for entry in checks[row.volume].entries():
            grains.grain(entry)
            done += 1
            if tell is not None:
                tell(done, total)
        for entry, flushed in moved[row.volume]:
            grains.grain(entry, flushed)
            done += 1


def _log_is_there(view: View, ledger: Ledger) -> None:
    for row in view.commit.segments:
        if view.slabs[row.slab].tolerance < 0:
            where = "on members only that are missing: the newest writes are lost without them"
            ledger.found("log", f"segment {row.slab} of the log is {where}")


def _space(view: View, ledger: Ledger) -> None:
    """Every extent is some slab's or free, every slot is claimed or free."""
    used = Counter(column.member for row in view.commit.slabs for column in row.columns)
    for number, row in enumerate(view.commit.members):
        if row.state == f.REMOVED:
            continue
        ledger.count("extents", max(0, row.size - f.EXTENTS_AT) // view.extent)
        ledger.count("free extents", max(0, row.size - f.EXTENTS_AT) // view.extent - used[number])
    for slab in view.slabs.values():
        if slab.use != f.LOG:
            ledger.count("slots", slab.slots)
            ledger.count("free slots", slab.slots - view.claimed(slab))
