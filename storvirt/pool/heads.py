"""Which files of a pool belong together: its newest record, who is of its time, who is a copy, an old one, another
half.

Knows: histories, the member table, what can be opened without whom. It judges as assemble.open_pool() does, but says of
every file what it is instead of refusing at the first. Refuses to know: what the slabs and the log hold, files' names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from storvirt.pool import format as f
from storvirt.pool.assemble import history
from storvirt.pool.space import survives
from storvirt.pool.survey import Survey
from storvirt.pool.tables import check

# What a file is for its pool
IN, OUT, SPARE, FORMER, OLD, TWIN, BROKEN = "in", "out", "spare", "former", "old copy", "copy", "broken"
BELONGS = frozenset({IN, OUT, SPARE})
_STATES = {f.IN: IN, f.OUT: OUT, f.SPARE: SPARE}


class Verdict(NamedTuple):
    """One file: what it is, and a sentence that says why ("" for one that is in)."""

    survey: Survey
    kind: str
    sentence: str


class Half(NamedTuple):
    """A newest record and the files of its history. chain: number -> hash of it and those before, as far as the rings
    lead; problem: why its tables can't be true, or ""."""

    number: int
    record: bytes
    commit: f.Commit
    chain: dict[int, bytes]
    super_: f.Superblock
    verdicts: tuple[Verdict, ...]
    problem: str

    @property
    def digest(self) -> bytes:
        return self.chain[self.number]

    @property
    def places(self) -> dict[int, Survey]:
        """The files that are in, by number."""
        return {_super(one.survey).number: one.survey for one in self.verdicts if one.kind == IN}

    @property
    def missing(self) -> list[int]:
        """Numbers that the record calls in and that are not there."""
        there = self.places
        return [n for n, row in enumerate(self.commit.members) if row.state == f.IN and n not in there]


def _super(one: Survey) -> f.Superblock:
    assert one.super_ is not None
    return one.super_


def halves(surveys: Iterable[Survey]) -> list[Half]:
    """The histories that the files of one pool tell, the one with the newest record first: one, but for a split brain.
    None where no file has a whole record. Files that can't be members are in none."""
    usable = sorted((one for one in surveys if not one.problem), key=lambda one: -one.newest)
    groups: list[tuple[Survey, f.Commit, dict[int, bytes], list[Survey]]] = []
    for one in usable:
        for _newest, commit, chain, members in groups:
            if _agrees(one, commit, chain):
                members.append(one)
                break
        else:
            if one.newest >= 0:
                found = [other.found for other in usable]
                groups.append((one, f.unpack_commit(one.ring[one.newest]), history(found, one.found), [one]))
    return [_half(*group) for group in groups]


def common(left: Half, right: Half) -> int:
    """The newest record that both histories have; -1 where the rings do not reach so far back."""
    return max((n for n, digest in left.chain.items() if right.chain.get(n) == digest), default=-1)


def _agrees(one: Survey, commit: f.Commit, chain: dict[int, bytes]) -> bool:
    if one.newest < 0:
        return True
    own, row = f.commit_hash(one.ring[one.newest]), _row(one, commit)
    # A member that is out gets no record from then on: if it has one, others went on without the rest.
    apart = row is not None and row.state == f.OUT and one.newest >= row.since
    return own == chain.get(one.newest, b"" if apart else own)


def _row(one: Survey, commit: f.Commit) -> f.MemberRow | None:
    super_ = _super(one)
    row = commit.members[super_.number] if super_.number < len(commit.members) else None
    return row if row is not None and row.member == super_.member and row.state != f.REMOVED else None


def _half(newest: Survey, commit: f.Commit, chain: dict[int, bytes], members: Sequence[Survey]) -> Half:
    super_ = _super(newest)
    try:
        check(commit, super_.extent)
        problem = ""
    except f.FormatError as error:
        problem = str(error)
    taken: dict[int, Survey] = {}
    # Of two copies of a member the newer one is it; of equal ones the one that is where the member was seen last.
    order = sorted(members, key=lambda one: (-one.newest, one.name != _hint(one, commit)))
    verdicts = tuple(_judge(one, commit, taken) for one in order)
    return Half(newest.newest, newest.ring[newest.newest], commit, chain, super_, verdicts, problem)


def _hint(one: Survey, commit: f.Commit) -> str:
    row = _row(one, commit)
    return row.hint if row is not None else ""


def _judge(one: Survey, commit: f.Commit, taken: dict[int, Survey]) -> Verdict:
    super_, row = _super(one), _row(one, commit)
    if row is None:
        why = f"{one.name} is no member of pool {super_.name} any more: it was replaced or removed"
        return Verdict(one, FORMER, why)
    if row.state == f.IN and one.newest < commit.durable and row.since <= commit.durable:
        return Verdict(
            one, OLD,
            f"{one.name} is an old copy of member {super_.number}, or lost writes: its newest record is {one.newest}, "
            f"and {commit.durable} had been made durable on it",
        )  # fmt: skip
    twin = taken.setdefault(super_.number, one)
    if twin is not one:
        return Verdict(one, TWIN, f"{one.name} and {twin.name} are the same member twice: leave out the copy")
    if row.state == f.OUT:
        why = f"{one.name} is out since commit {row.since}: it is not read before another one has taken its place"
        return Verdict(one, OUT, why)
    if row.state not in _STATES:
        return Verdict(one, BROKEN, f"{one.name} has a state in the member table that is not known")
    return Verdict(one, _STATES[row.state], "")


# --- what can be opened


class Opening(NamedTuple):
    """how: yes, degraded, no; sentence: with which consequences."""

    how: str
    sentence: str


def opening(half: Half) -> Opening:
    """What open_pool() will say of these files, but for the log, which is not read here."""
    name = half.super_.name
    if half.problem:
        return Opening("no", f"pool {name} can't be opened: {half.problem}")
    rows = half.commit.members
    missing = half.missing
    if not missing:
        return Opening("yes", f"pool {name} can be opened")
    gone = {number for number, row in enumerate(rows) if row.state != f.IN} | set(missing)
    lost = [row for row in half.commit.slabs if not survives(row, gone)]
    who = ", ".join(f"{number} ({rows[number].hint or 'nobody knows where it was'})" for number in missing)
    lacks = f"it lacks member{'s' if len(missing) > 1 else ''} number {who}"
    for use, what in ((f.LOG, "log"), (f.META, "map")):
        if any(row.use == use for row in lost):
            return Opening("no", f"pool {name} can't be opened: {lacks}, and a part of its {what} is on these alone")
    if lost:
        return Opening(
            "degraded", f"pool {name} opens degraded only: {lacks}, and a part of its data can't be read without them"
        )
    return Opening("degraded", f"pool {name} opens degraded, with all its data: {lacks}")
