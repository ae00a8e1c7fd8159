"""A round of fsyncs in two halves, so that they may run in another thread while requests go on.

Knows: what must be durable before a flush is answered. Refuses to know: threads, checkpoints, who waits.

begin() and end() belong to the pool's thread; only sync() may run elsewhere. What is written between them belongs to
the next round, and there is never more than one.
"""

from __future__ import annotations

from typing import NamedTuple

from storvirt.backing.errors import MemberError
from storvirt.backing.member import Member
from storvirt.pool.pool import Pool


class Flush(NamedTuple):
    """below: entries of the log that become durable; number: the newest commit record that does; members by number."""

    below: int
    number: int
    members: dict[int, Member]


def begin(pool: Pool) -> Flush:
    """What was acknowledged so far is about to become durable, and what `pool.checkpoints.before_round()` wrote just
    before. Raises Suspended, BlockError."""
    with pool.here():
        pool.engine.commit()
        pool.agree()
    return Flush(pool.engine.sequence, pool.written, pool.present())


def sync(flush: Flush) -> dict[int, MemberError]:
    """fsync every member; returns those that failed. Touches nothing else of the pool."""
    failed = {}
    for number, member in flush.members.items():
        try:
            member.sync()
        except MemberError as error:
            failed[number] = error
    return failed


def end(pool: Pool, flush: Flush, failed: dict[int, MemberError]) -> bool:
    """True: all of it is durable. False: members were lost meanwhile, and the record of that must be durable, too, so
    begin again. Raises Suspended, and then begin again later.

    After True comes `pool.checkpoints.after_round()`, when the flush is answered.
    """
    still = {number: error for number, error in failed.items() if pool.members[number] is flush.members[number]}
    if still:
        pool.durable_now(flush.number, still)
    if any(pool.members[number] is not member for number, member in flush.members.items()):
        return False
    pool.durable_now(flush.number, {})
    pool.engine.flushed(flush.below)
    return True
