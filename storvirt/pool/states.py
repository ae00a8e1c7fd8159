"""What the state of a member is called, and what it means: the one table of these words.

Knows: the member table's states and successors. Refuses to know: why a member is in a state, who is told.
"""

from __future__ import annotations

from storvirt.pool import format as f

IN, OUT, SPARE, REMOVED, JOINING = "in", "out", "spare", "removed", "writing only"
AWAY, ENDED, LEAVING, REPLACED = "away", "ended", "leaving", "being replaced"

ORDINARY = frozenset({IN, SPARE, REMOVED})  # nothing is to be done, and nothing is going on
_OF_ROW = {f.IN: IN, f.OUT: OUT, f.SPARE: SPARE, f.REMOVED: REMOVED}

# A condition is a state, or more than that: why it is in it, and what becomes of it. One sentence each, for people.
MEANING = {
    IN: "it is read and written",
    JOINING: "it was away and is being given what it missed: it is written, and read when it has all of it",
    LEAVING: "what it holds moves to the others; then it is a member no more, and may be taken away",
    REPLACED: "another member is taking its place; then it is a member no more, and may be taken away",
    AWAY: "it was there and is not heard of now: it comes back by itself, and is given what it missed",
    ENDED: "an fsync of it failed, so nobody knows what it holds: it is never used again, and another has to take its "
    "place",
    OUT: "it failed, or was not there: it is neither read nor written before it rejoins or another takes its place",
    SPARE: "it is empty, and takes the place of a member that is lost",
    REMOVED: "it is a member no more",
}


def state(row: f.MemberRow, joining: bool = False) -> str:
    """The word for tables: in, out, spare, removed, writing only. joining: it is brought up to date."""
    return JOINING if joining else _OF_ROW.get(row.state, "unknown")


def said(name: str, condition: str) -> str:
    """A sentence about a member whose condition is none of ORDINARY."""
    return f"{name} is {condition}: {MEANING[condition]}"


def condition(row: f.MemberRow, joining: bool = False, away: bool = False) -> str:
    """A key of MEANING. away: somebody looks whether it is there again."""
    if joining or row.state not in (f.IN, f.OUT):
        return state(row, joining)
    if row.successor == f.LEAVING:
        return LEAVING
    if row.successor == f.ENDED:
        return ENDED
    if row.successor != f.NOBODY:
        return REPLACED
    return AWAY if away and row.state == f.OUT else state(row)
