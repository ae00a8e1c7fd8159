"""Checking superblocks and the commit ring of each member.

Knows: what a crash may leave in a ring, and what it may not. Refuses to know: which history is right (heads.py).

Place n % 16 should hold record e, of those up to the newest one, h, the newest of that place. One of them must be there
whole on every member that was in: the one that the newest record says is durable (Commit.durable). Others may have been
lost or torn with the power, or were never written to a member that failed for a while, and nothing needs them: that one
of them is not whole is a note. A newer one may have been torn even over the one that must be there, one that was never
durable, so that nothing of it counts: up to h + 13 (members.NOT_DURABLE), and so never over the last three.
"""

from __future__ import annotations

from storvirt.pool import format as f
from storvirt.pool.findings import Ledger
from storvirt.pool.heads import Half
from storvirt.pool.members import NOT_DURABLE
from storvirt.pool.survey import Place, Survey


def check_superblocks(one: Survey, ledger: Ledger) -> None:
    """Of a file that has at least one."""
    if one.super_ is None:
        return
    good = f.pack_superblock(one.super_)
    for number, copy in enumerate(one.copies):
        at = number * f.SUPER_SIZE
        ledger.count("superblocks")
        if isinstance(copy, str):
            ledger.found(
                "superblock", f"{one.name}: superblock {number + 1} of 2, at {at}: {copy}", one.member, at, good
            )
        elif copy == one.super_._replace(size=copy.size) != one.super_:
            ledger.note(
                f"{one.name}: its superblocks say two sizes: it was being enlarged; the next opening mends that"
            )
        elif copy != one.super_:
            ledger.found(
                "superblock", f"{one.name}: its superblocks differ: the one at {at} says member {copy.number} of pool "
                f"{copy.name}", one.member, at,
            )  # fmt: skip


def check_ring(one: Survey, half: Half, ledger: Ledger) -> None:
    """Of a member that is in."""
    assert one.super_ is not None
    since = half.commit.members[one.super_.number].since
    known = _records(half)
    for place in one.places:
        expected = half.number - (half.number - place.place) % f.RING_PLACES
        ledger.count("commit records", 1 if place.record else 0)
        if place.record and place.number == expected:
            if half.chain.get(expected, f.commit_hash(place.record)) != f.commit_hash(place.record):
                sentence = f"{one.name}: commit record {expected}, at {place.offset}, is of another history"
                ledger.found("history", sentence, one.member, place.offset)
            continue
        required = max(since, 1) <= expected == half.commit.durable
        _not_there(one, place, expected, required, known.get(expected, b""), half, ledger)


def check_chain(half: Half, ledger: Ledger) -> None:
    """Every record that is there names the one before it as its parent, and was made durable after it."""
    known = _records(half)
    for number, record in known.items():
        commit = f.unpack_commit(record)
        if number - 1 in known and commit.parent != half.chain[number - 1]:
            ledger.found("history", f"commit record {number} does not name record {number - 1} as its parent")
        if commit.durable >= number and number > 0:
            ledger.found("history", f"commit record {number} says that record {commit.durable} was durable before it")


def _records(half: Half) -> dict[int, bytes]:
    """Those of the history, by number."""
    return {
        number: record
        for verdict in half.verdicts
        for number, record in verdict.survey.ring.items()
        if half.chain.get(number) == f.commit_hash(record)
    }


def _not_there(
    one: Survey, place: Place, expected: int, required: bool, good: bytes, half: Half, ledger: Ledger
) -> None:
    where = f"{one.name}: commit record {expected}, at {place.offset},"
    if required and (not place.problem or _untouched(place, expected, half)):
        held = place.problem or (f"record {place.number} is there instead" if place.record else "nothing is there")
        sentence = f"{where} had been made durable and is lost: {held}"
        ledger.found("ring", sentence, one.member, place.offset, good)
    elif expected == half.number or (place.problem and expected > 0):
        done = bool(good) and not half.missing and ledger.write(one.member, place.offset, good)
        held = "is not whole (a crash may have torn it, or a newer one)" if place.problem else "is not there"
        then = "the next opening writes it" if expected == half.number else "nothing needs it any more"
        ledger.note(f"{where} {held}: {'it is there now' if done else then}")


def _untouched(place: Place, expected: int, half: Half) -> bool:
    """Whether no newer record can have been written there: a torn one leaves its own number, or that of the old one."""
    foreign = place.number not in (expected, expected + f.RING_PLACES)
    return foreign or expected > half.number + NOT_DURABLE - f.RING_PLACES
