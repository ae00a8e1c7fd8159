"""The crash matrix, of what happens to members: they fail, come back, are replaced, leave, come; the host has trouble.
For every level, with writes, trims and flushes meanwhile, and whoever opens the pool afterwards brings it to an end."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import pytest

from storvirt.backing.member import Member, PythonMember
from storvirt.pool import format as f
from storvirt.pool.evacuate import Evacuate
from storvirt.pool.growth import grow_volume
from storvirt.pool.job import Job
from storvirt.pool.membership import add_member, call_in
from storvirt.pool.pool import Pool, PoolError, Suspended
from storvirt.pool.rejoin import Rejoin
from storvirt.pool.repair import Replace
from storvirt.pool.widen import Add, Rebalance, grow_members
from storvirt.raid.layout import profile_named
from tests.support.crashdisk import CrashDisk
from tests.support.poolcourt import Court, Moments, to_the_end
from tests.support.poolrig import EXTENT, MEMBER, Kind, Story, formatted, reopen, volume
from tests.t3_stack.test_pool_rounds import Rounds

LONG = bool(os.environ.get("VFAB_LONG"))
pytestmark = [pytest.mark.long] if LONG else []  # then they may take long
GRAIN = 16 * 1024
SIZE = 16 * GRAIN
IDENT = b"the new one's id"

REDUNDANT = ("raid1", "raid1c3", "raid10", "raid4", "raid5", "raid6", "raid7", "raid50", "raid60")
EVERY = ("linear", "raid0", *REDUNDANT)


class Play:
    """A pool of one volume with content in grains and in the log, what is asked of it, and what happens to it."""

    def __init__(self, raid: str, seed: str, more: int = 0) -> None:
        self.profile = profile_named(raid)
        kinds = (Kind(raid, SIZE, GRAIN),)
        count = max(self.profile.members, 2) + more
        self.disk = CrashDisk({**formatted(count, kinds), "new": MEMBER}, seed)
        self.story, self.dice = Story(self.disk, kinds), random.Random(seed)
        self.name = next(iter(self.story.kinds))
        self.pool = reopen({name: member for name, member in self.disk.members.items() if name != "new"})
        self.write(0, 6 * GRAIN)
        self.write(8 * GRAIN, 4096)
        self.story.flush(self.pool)
        self.begin = self.disk.boundaries

    def write(self, offset: int, length: int) -> None:
        self.story.write(volume(self.pool, self.name), self.name, offset, self.dice.randbytes(length))

    def stir(self, most: int = 3) -> None:
        """Some requests, and what the pool does by itself."""
        for _ in range(self.dice.randrange(most + 1)):
            call, offset = self.dice.random(), self.dice.randrange(12) * GRAIN
            if call < 0.3:
                self.write(offset, GRAIN * self.dice.choice((1, 1, 2)))
            elif call < 0.6:
                self.write(offset + 512 * self.dice.randrange(20), self.dice.choice((512, 4096, 9 * 512)))
            elif call < 0.75:
                length = self.dice.choice((GRAIN, 4096, 3 * 512))
                self.story.zero(volume(self.pool, self.name), self.name, offset, length)
            elif call < 0.85:
                self.pool.engine.destage(self.pool.disk(self.name), offset // GRAIN)
                self.pool.engine.commit()
            elif call < 0.93:
                self.story.flush(self.pool)
            else:
                self.pool.checkpoint()

    def run(self, job: Job) -> None:
        while job.step():
            self.stir()
        self.stir()

    def lose(self, number: int) -> None:
        """A member fails its next write, and all later ones."""
        self.disk.fail(errno.EIO, f"m{number}", "write", part=self.dice.choice((0, 512, 700)))
        for _ in range(4):
            self.write(self.dice.randrange(12) * GRAIN, GRAIN)
        self.pool.checkpoint()
        assert number not in self.pool.present()

    def present(self) -> int:
        return len(self.pool.present())


# --- what happens


def a_member_fails(play: Play) -> None:
    """In the middle of a write, and it is not replaced."""
    play.disk.fail(errno.EIO, "m1", "write", after=play.dice.randrange(6), part=play.dice.choice((0, 512, 700)))
    for _ in range(4):
        play.stir(4)


def a_member_fails_between_the_halves(play: Play) -> None:
    """Of a checkpoint, one half in a write and the next in an fsync."""
    rounds = Rounds(play.pool, play.story, play.dice, grains=SIZE // GRAIN - 2)
    call = play.dice.choice(("write", "sync"))
    play.disk.fail(errno.EIO, "m1", call, after=play.dice.randrange(6 if call == "write" else 3))
    for _ in range(2):
        rounds.requests()
        play.pool.checkpoints.wanted = True
        while play.pool.checkpoints.pending:
            rounds.round()
    play.pool.apart = False


def one_after_the_other_fails(play: Play) -> None:
    """As many as the level tolerates."""
    for number in range(play.profile.parity):
        play.stir()
        play.lose(number)
    play.stir()


def one_is_replaced(play: Play) -> None:
    play.stir()
    play.run(Replace(play.pool, 1, play.disk.members["new"], IDENT))


def a_lost_one_is_replaced(play: Play) -> None:
    play.lose(1)
    play.stir()
    play.run(Replace(play.pool, 1, play.disk.members["new"], IDENT))


def a_lost_one_is_replaced_and_another_fails(play: Play) -> None:
    play.lose(1)
    job = Replace(play.pool, 1, play.disk.members["new"], IDENT)
    job.step()
    play.stir()
    if play.profile.parity > 1:
        play.lose(2)
    play.run(job)


def a_spare_takes_the_place(play: Play) -> None:
    spare = add_member(play.pool, play.disk.members["new"], IDENT, spare=True)
    play.stir()
    play.lose(1)
    call_in(play.pool, spare, 1)
    play.run(Replace(play.pool, 1, spare))


def one_leaves(play: Play) -> None:
    play.stir()
    play.run(Evacuate(play.pool, 1))


def a_lost_one_leaves(play: Play) -> None:
    play.lose(1)
    play.run(Evacuate(play.pool, 1))


def one_comes_back(play: Play) -> None:
    fault = play.disk.fail(errno.EIO, "m1", "write")
    play.write(0, 2 * GRAIN)
    play.stir(6)
    play.pool.checkpoint()
    play.stir(6)
    fault.times = 0
    play.run(Rejoin(play.pool, PythonMember(play.disk.members["m1"].inner, "m1")))
    assert play.pool.rows[1].state == f.IN


def one_more_and_data_spread(play: Play) -> None:
    play.run(Add(play.pool, play.disk.members["new"], IDENT))
    with suppress(PoolError):  # balanced already: copies are as wide as before
        play.run(Rebalance(play.pool))


def all_grow(play: Play) -> None:
    """The volume, while its map is dirty, and the members."""
    play.stir()
    kind = play.story.kinds[play.name]
    play.story.kinds[play.name] = kind._replace(size=2 * SIZE)
    grow_volume(play.pool, play.name, 2 * SIZE)
    play.stir()
    grow_members(play.pool, dict.fromkeys(play.pool.present(), MEMBER + EXTENT))
    play.stir()


def the_host_is_in_trouble(play: Play) -> None:
    """Writes of some or of all members fail for a while, with this or that error; new requests come when it is over."""
    for _ in range(3):
        # Without redundancy who fails a write first is called out, and out after a crash, until he is called in again.
        errors = (errno.EIO, errno.ENOSPC, errno.EDQUOT)[0 if play.profile.parity else 1 :]
        number, after = play.dice.choice(errors), play.dice.randrange(20)
        part = play.dice.choice((0, 512))
        if number == errno.EIO:  # on all of them at once, else it would be the members' own trouble
            faults = [play.disk.fail(number, None, "write", after=after, part=part)]
        else:
            names = play.dice.sample(sorted(play.disk.files), play.dice.randint(1, len(play.disk.files)))
            faults = [play.disk.fail(number, name, "write", after=after // 3, part=part) for name in names]
        for _ in range(4):
            try:
                play.stir(4)
            except Suspended:
                break
        for fault in faults:
            fault.times = 0
        play.stir(2)


Happening = Callable[[Play], None]


class Row(NamedTuple):
    """raids: levels that this is for; quick: those of them that any run tries; more: members than the level asks for;
    away: files that may be none of the pool's, in the order in which they are left out."""

    raids: Sequence[str]
    quick: Sequence[str]
    more: int = 0
    away: Sequence[Sequence[str]] = (("new",),)


NEW = (), ("new",), ("m1",), ("m1", "new")
MORE = tuple(raid for raid in REDUNDANT if profile_named(raid).parity > 1)
ROWS: Mapping[Happening, Row] = {
    a_member_fails: Row(REDUNDANT, ("raid1c3", "raid50")),
    a_member_fails_between_the_halves: Row(REDUNDANT, ("raid5", "raid6")),
    one_after_the_other_fails: Row(REDUNDANT, ("raid7", "raid10")),
    one_is_replaced: Row(EVERY, ("raid0", "raid6"), away=NEW),
    a_lost_one_is_replaced: Row(REDUNDANT, ("raid4", "raid10"), away=NEW),
    a_lost_one_is_replaced_and_another_fails: Row(MORE, ("raid6",), away=NEW),
    a_spare_takes_the_place: Row(REDUNDANT, ("raid1", "raid7"), away=NEW),
    one_leaves: Row(EVERY, ("linear", "raid5"), 1, (("new",), ("m1", "new"))),
    a_lost_one_leaves: Row(REDUNDANT, ("raid6",), 1, (("new",), ("m1", "new"))),
    one_comes_back: Row(REDUNDANT, ("raid5", "raid60", "raid1c3")),
    one_more_and_data_spread: Row(EVERY, ("raid5", "raid7"), away=NEW[:2]),
    all_grow: Row(EVERY, ("raid0", "raid6")),
    the_host_is_in_trouble: Row(EVERY, ("raid5", "raid7", "raid0")),
}
CASES = [(what, raid) for what, row in ROWS.items() for raid in (row.raids if LONG else row.quick)]


def ended(pool: Pool, members: Mapping[str, Member]) -> None:
    """As stord does it: jobs go on, and who is out and can come back comes back."""
    to_the_end(pool)
    back = members.get("m1")
    if back is not None and pool.rows[1].state == f.OUT:
        with suppress(PoolError):
            job = Rejoin(pool, back)
            while job.step():
                pass


@pytest.mark.parametrize(("what", "raid"), CASES, ids=lambda value: getattr(value, "__name__", value))
@pytest.mark.parametrize("number", range(6) if LONG else range(1))
def test_a_crash_at_any_moment_of_it(what: Happening, raid: str, number: int) -> None:
    row, seed = ROWS[what], f"{what.__name__}/{raid}/{number}"
    play = Play(raid, seed, row.more)
    what(play)
    court = Court(play.story, play.profile.parity, without=row.away, turns=8 if LONG else 1, every=LONG, seed=seed)
    moments = Moments(spread=40 if LONG else 16, states=4, samples=2, most=1)
    for crash in moments.of(play.disk, seed, play.begin):
        court.judge(crash, ended)
    print(f"seed {seed}: {court.crashes} crashes, {court.openings} openings")
