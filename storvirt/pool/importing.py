"""vfab pool import as a library: which pools a heap of files makes, which file is what in it, what can be opened.

Knows: superblocks and rings of many files, in any order and under any name. Refuses to know: folders, locks, what slabs
and log hold. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from storvirt.pool import format as f
from storvirt.pool import heads
from storvirt.pool.survey import Survey
from storvirt.raid.layout import BY_NUMBER


class Row(NamedTuple):
    """One place in the member table. path: "" where nothing of it was found; last: where it was seen last; newest:
    number of its newest record, -1 = none; size: bytes."""

    number: int
    state: str
    path: str
    last: str
    newest: int
    size: int


class History(NamedTuple):
    """One newest record and who has it. opens: yes, degraded, no; apart: the newest record that it has in common with
    the first history, None for that one; -1 = the rings do not reach so far back."""

    commit: int
    digest: str
    opens: str
    sentence: str
    members: tuple[Row, ...]
    volumes: tuple[tuple[str, str, int], ...]  # name, level, bytes
    apart: int | None

    @property
    def paths(self) -> list[str]:
        """For the `members:` line of a lab file: by number, those that are there."""
        return [row.path for row in self.members if row.path and row.state in (heads.IN, heads.OUT)]


class Strange(NamedTuple):
    """A file that is no member, or none that can be used: why. kind: foreign, broken, or one of heads."""

    path: str
    kind: str
    sentence: str


class Importable(NamedTuple):
    """One pool. histories: several are a split brain; strange: files of it that are left out."""

    name: str
    ident: str
    histories: tuple[History, ...]
    strange: tuple[Strange, ...]

    @property
    def newest(self) -> int:
        return max((one.commit for one in self.histories), default=-1)


def importable(surveys: Iterable[Survey]) -> tuple[list[Importable], list[Strange]]:
    """(pools by name, files that belong to none). The files need not be open any more."""
    pools: dict[bytes, list[Survey]] = {}
    foreign = []
    for one in surveys:
        if one.super_ is None:
            kind = "broken" if one.ring else "foreign"
            foreign.append(Strange(one.name, kind, f"{one.name}: {one.problem}"))
        else:
            pools.setdefault(one.super_.pool, []).append(one)
    found = [_pool(ident, group) for ident, group in pools.items()]
    return sorted(found, key=lambda pool: (pool.name, pool.ident)), foreign


def _pool(ident: bytes, group: Sequence[Survey]) -> Importable:
    name = next(one.super_.name for one in group if one.super_ is not None)
    strange = [Strange(one.name, "broken", f"{one.name}: {one.problem}") for one in group if one.problem]
    found = heads.halves(group)
    if not found:
        strange += [
            Strange(one.name, "broken", f"{one.name} holds no whole commit record of pool {name}")
            for one in group if not one.problem
        ]  # fmt: skip
    for half in found:
        strange += [
            Strange(one.survey.name, one.kind, one.sentence) for one in half.verdicts if one.kind not in heads.BELONGS
        ]
    return Importable(name, ident.hex(), tuple(_history(half, found[0]) for half in found), tuple(strange))


def _history(half: heads.Half, first: heads.Half) -> History:
    there = {
        one.survey.super_.number: one.survey
        for one in half.verdicts
        if one.kind in heads.BELONGS and one.survey.super_ is not None
    }
    states = {f.IN: heads.IN, f.OUT: heads.OUT, f.SPARE: heads.SPARE}
    rows = tuple(
        Row(
            number,
            states.get(row.state, "unknown"),
            there[number].name if number in there else "",
            row.hint,
            there[number].newest if number in there else -1,
            row.size,
        )
        for number, row in enumerate(half.commit.members)
        if row.state != f.REMOVED
    )
    volumes = tuple((row.name, _level(row.profile), row.size) for row in half.commit.volumes)
    can = heads.opening(half)
    apart = None if half is first else heads.common(first, half)
    return History(half.number, half.digest.hex(), can.how, can.sentence, rows, volumes, apart)


def _level(profile: int) -> str:
    return BY_NUMBER[profile].name if profile in BY_NUMBER else f"level {profile}"
